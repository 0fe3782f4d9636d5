"""The registry's part of the table of routes. Called by app.py. Pure but for building the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from registry.records import KINDS, STATES
from registry.search import MAX_LIMIT, MAX_QUERY_CHARS, By
from runtime.api.registry import RegistrySurface
from runtime.api.registry_models import NewAlias, NewArtifact, NewFork, NewReview, NewSnapshot, NewStar, NewState
from runtime.api.registry_reads import MAX_LISTED, RegistryReads
from runtime.api.routes import Endpoint, RouteSpec, in_path, in_query

_OBJECT: dict[str, Any] = {"type": "object"}
_MADE: dict[int, dict[str, Any] | None] = {201: _OBJECT}
_REFERENCE = in_path("reference")
_TEXT = {"type": "string", "maxLength": 128}
_FILTERS = (
    in_query("query", {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_CHARS}),
    in_query("by", {"type": "string", "enum": list(get_args(By))}),
    in_query("kind", {"type": "string", "enum": list(KINDS)}),
    in_query("state", {"type": "string", "enum": [*STATES, "any"]}),
    in_query("author", _TEXT),
    in_query("locale", _TEXT),
    in_query("min_quality", {"type": "number", "minimum": 0, "maximum": 1}),
    in_query("versions", {"type": "string", "enum": ["best", "all"]}),
    in_query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "description": f"{MAX_LISTED} without a query"}),
    in_query("after", _TEXT),
)
_READS = (400, 401, 403, 404, 429, 500, 503)
_CHANGES = (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)


def registry_routes(surface: RegistrySurface, reads: RegistryReads) -> Sequence[RouteSpec]:
    """Everything under /v1/registry."""
    base = "/v1/registry"
    one = f"{base}/artifacts/{{reference}}"
    versions = (in_query("from", _TEXT), in_query("to", _TEXT))
    moment = (in_query("time", {"type": "string", "maxLength": 64}), in_query("snapshot", _TEXT))
    rows: list[tuple[str, str, Endpoint, str, dict[str, Any]]] = [
        ("GET", base, reads.report, "What the network has written: totals, use, breakthroughs, quality", {}),
        ("GET", f"{base}/artifacts", reads.artifacts, "Search, or list", {"parameters": _FILTERS}),
        ("GET", one, reads.show, "An artifact and one of its versions with its content", {"parameters": (_REFERENCE,)}),
        ("GET", f"{one}/log", reads.log, "What happened to an artifact", {"parameters": (_REFERENCE,)}),
        ("GET", f"{one}/lineage", reads.lineage, "What a version descends from and what of it", {"parameters": (_REFERENCE,)}),
        ("GET", f"{base}/diff", reads.diff, "What differs between two versions", {"parameters": versions}),
        ("GET", f"{base}/at", reads.at, "States and aliases as they stood", {"parameters": moment}),
        ("GET", f"{base}/snapshots", reads.snapshots, "Named moments", {}),
        ("POST", f"{base}/artifacts", surface.publish, "Check and publish, or keep a draft", _made(NewArtifact)),
        ("POST", f"{one}/fork", surface.fork, "A new artifact that descends from this version", _made(NewFork, _REFERENCE)),
        ("POST", f"{one}/reviews", surface.review, "Review a version", _made(NewReview, _REFERENCE)),
        ("POST", f"{one}/stars", surface.star, "Star a version after measured reuse", _made(NewStar, _REFERENCE)),
        ("POST", f"{one}/state", surface.state, "Deprecate, archive or restore", _changed(NewState)),
        ("POST", f"{one}/alias", surface.alias, "Move champion or challenger", _changed(NewAlias)),
        ("POST", f"{base}/snapshots", surface.snapshot, "Name this moment", _made(NewSnapshot)),
        (
            "POST",
            f"{base}/snapshots/{{name}}/restore",
            surface.restore,
            "States and aliases as they were",
            {"parameters": (in_path("name"),)},
        ),
    ]
    return [
        RouteSpec(
            path=path,
            methods=(method,),
            endpoint=endpoint,
            summary=summary,
            tag="operator",
            errors=_READS if method == "GET" else _CHANGES,
            **more,
        )
        for method, path, endpoint, summary, more in rows
    ]


def _made(model: Any, *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"body": model.model_json_schema(), "ok": _MADE, "parameters": parameters}


def _changed(model: Any) -> dict[str, Any]:
    return {"body": model.model_json_schema(), "parameters": (_REFERENCE,)}
