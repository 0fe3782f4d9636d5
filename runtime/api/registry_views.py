"""The registry's records as JSON. Called by registry.py of this room. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from registry.artifacts import Registry
from registry.catalog import Catalog
from registry.evidence import Usage
from registry.records import Standing, Version
from registry.search import Hit

Json = Any


def version_view(catalog: Catalog, version: Version, *, content: bool = False) -> dict[str, Json]:
    """One version with how it stands and what it did."""
    standing = catalog.standings.get(version.version_id)
    view = asdict(version)
    if not content:
        del view["content"]
    view["standing"] = standing_view(standing) if standing is not None else None
    view["usage"] = usage_view(catalog.usage.get(version.version_id))
    view["stars"] = len(catalog.stars.get(version.version_id, ()))
    view["reviews"] = len(catalog.reviews.get(version.version_id, ()))
    return view


def standing_view(standing: Standing) -> dict[str, Json]:
    return asdict(standing)


def usage_view(usage: Usage | None) -> dict[str, Json] | None:
    """Rates and means; None where it was never run."""
    if usage is None or not usage.runs:
        return None
    return {
        "executions": usage.runs,
        "success_rate": usage.success_rate,
        "latency_s": usage.latency_s,
        "quality": usage.quality,
        "active_nodes": usage.nodes,
        "last_at": usage.last_at,
    }


def hit_view(catalog: Catalog, hit: Hit) -> dict[str, Json]:
    """One search result."""
    view = version_view(catalog, hit.version)
    return {**view, "score": hit.score, "similarity": hit.similarity, "bad_evidence": hit.bad}


def artifact_view(registry: Registry, name: str) -> dict[str, Json]:
    """An artifact with its versions, newest first, without contents. Raises UnknownArtifact."""
    catalog = registry.catalog
    artifact = catalog.artifact(name)
    versions = [version_view(catalog, version) for version in reversed(registry.versions_of(name))]
    return {**asdict(artifact), "versions": versions}
