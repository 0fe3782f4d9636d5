"""The registry's endpoints that change nothing: report, search, contents, lineage, history.

Mounted by registry_routes.py; sees the daemon only through ``Service``. All of them need the operator key, because code holds
what clients asked for.
"""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import asdict
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from registry import history, lineage
from registry.inspect import inspect
from registry.records import KINDS, VersionId
from registry.versions import split_reference
from runtime.api.errors import bad_request
from runtime.api.query import choice
from runtime.api.registry_params import answer, number_of, query_of, reference_of, state_of, time_of
from runtime.api.registry_views import artifact_view, hit_view, standing_view, version_view
from runtime.records import Service

MAX_LISTED = 500
MAX_DIFF_LINES = 20_000


class RegistryReads:
    """The endpoints. ``{reference}`` is name, name@1.2.3, name@latest, name@champion or name@challenger."""

    def __init__(self, service: Service) -> None:
        self._service = service

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def report(self, http: HttpRequest) -> Response:
        """GET /v1/registry: what ``registry inspect`` prints."""
        return await answer(http, lambda: inspect(self._service.registry.registry))

    async def artifacts(self, http: HttpRequest) -> Response:
        """GET /v1/registry/artifacts: with ``query`` the best hits first, else all by name."""

        async def find() -> Any:
            desk = self._service.registry
            catalog = desk.registry.catalog
            query = query_of(http)
            if query is not None:
                found = await desk.search.find(query)
                return {"data": [hit_view(catalog, hit) for hit in found.hits], "mode": found.mode}
            limit = number_of(http, "limit", 50, 1, MAX_LISTED)
            kind = choice(http, "kind", KINDS)
            after = http.query_params.get("after", "")
            names = [name for name, each in catalog.artifacts.items() if name > after and kind in (None, each.kind)]
            rows = [asdict(catalog.artifacts[name]) for name in sorted(names)[: int(limit)]]
            return {"data": [{**row, "state": state_of(desk.registry, row["name"])} for row in rows]}

        return await answer(http, find)

    async def show(self, http: HttpRequest) -> Response:
        """GET /v1/registry/artifacts/{reference}: the artifact, and one version of it with its content, reviews and stars."""

        async def find() -> Any:
            registry = self._service.registry.registry
            version = await registry.content(registry.find(reference_of(http)).version_id)
            catalog = registry.catalog
            shown = version_view(catalog, version, content=True)
            shown["reviews"] = [asdict(each) for each in catalog.reviews.get(version.version_id, ())]
            shown["stars"] = [asdict(each) for each in catalog.stars.get(version.version_id, ())]
            return {"artifact": artifact_view(registry, version.name), "version": shown}

        return await answer(http, find)

    async def log(self, http: HttpRequest) -> Response:
        """GET …/log: what happened to an artifact, the newest first."""

        async def find() -> Any:
            registry = self._service.registry.registry
            return {"data": await history.log_of(registry, split_reference(reference_of(http))[0])}

        return await answer(http, find)

    async def lineage(self, http: HttpRequest) -> Response:
        """GET …/lineage: ancestors, descendants, contributors, and the family drawn as lines of text."""

        async def find() -> Any:
            registry = self._service.registry.registry
            catalog = registry.catalog
            version = registry.find(reference_of(http))

            def label(version_id: VersionId) -> str:
                each, standing = catalog.versions.get(version_id), catalog.standings.get(version_id)
                return f"{version_id} ({each.author}, {standing.state})" if each and standing else str(version_id)

            return {
                "version": version.version_id,
                "depth": version.depth,
                "contributors": list(version.contributors),
                "ancestors": lineage.ancestors(catalog.parents, version.version_id),
                "descendants": lineage.descendants(catalog.parents, version.version_id),
                "drawing": lineage.draw(catalog.parents, version.version_id, label),
            }

        return await answer(http, find)

    async def diff(self, http: HttpRequest) -> Response:
        """GET /v1/registry/diff?from=&to=: a unified diff of two contents."""

        async def find() -> Any:
            registry = self._service.registry.registry
            sides = []
            for name in ("from", "to"):
                reference = http.query_params.get(name)
                if not reference:
                    raise bad_request(f"'{name}' is missing: a version such as name@1.0.0", param=name)
                sides.append(await registry.content(registry.find(reference).version_id))
            old, new = (side.content.splitlines(keepends=True) for side in sides)
            if len(old) + len(new) > MAX_DIFF_LINES:
                raise bad_request(f"together they have more than {MAX_DIFF_LINES} lines", param="to")
            lines = difflib.unified_diff(old, new, sides[0].version_id, sides[1].version_id)
            text = await asyncio.to_thread("".join, (line if line.endswith("\n") else f"{line}\n" for line in lines))
            return {"from": sides[0].version_id, "to": sides[1].version_id, "diff": text}

        return await answer(http, find)

    async def at(self, http: HttpRequest) -> Response:
        """GET /v1/registry/at?time= or ?snapshot=: states and aliases as they stood."""

        async def find() -> Any:
            registry = self._service.registry.registry
            snapshot = http.query_params.get("snapshot")
            heads = await (history.heads_of(registry, snapshot) if snapshot else history.heads_at(registry, time_of(http)))
            return {
                "at": heads.at,
                "source": heads.source,
                "artifacts": [asdict(each) for _, each in sorted(heads.artifacts.items())],
                "standings": [standing_view(each) for _, each in sorted(heads.standings.items())],
            }

        return await answer(http, find)

    async def snapshots(self, http: HttpRequest) -> Response:
        """GET /v1/registry/snapshots."""

        async def find() -> Any:
            taken = self._service.registry.registry.catalog.snapshots.values()
            return {"data": [asdict(each) for each in sorted(taken, key=lambda each: -each.at)]}

        return await answer(http, find)
