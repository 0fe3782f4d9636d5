"""The registry's endpoints that change something: publish, fork, review, star, move, snapshot.

Mounted by registry_routes.py; sees the daemon only through ``Service``. All of them need the operator key.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from registry import history
from registry.records import OPERATOR, NewVersion, Review, VersionId
from registry.versions import split_reference
from runtime.api.registry_models import NewAlias, NewArtifact, NewFork, NewReview, NewSnapshot, NewStar, NewState, TrialCase
from runtime.api.registry_params import answer, body_of, reference_of
from runtime.api.registry_views import standing_view, version_view
from runtime.records import Service
from sandbox.records import Case


class RegistrySurface:
    """The endpoints. ``{reference}`` is name, name@1.2.3, name@latest, name@champion or name@challenger."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def publish(self, http: HttpRequest) -> Response:
        """POST /v1/registry/artifacts: 201 with the version; the same content handed in again is the same version."""
        body = await body_of(http, NewArtifact, self._service.settings.server)

        async def act() -> Any:
            values = body.model_dump(exclude={"cases", "draft", "parents", "improvements"})
            parents = tuple(VersionId(each) for each in body.parents)
            return await self._hand_in(
                NewVersion(**values, parents=parents, improvements=tuple(body.improvements)), body.cases, draft=body.draft
            )

        return await answer(http, act, status=201)

    async def fork(self, http: HttpRequest) -> Response:
        """POST …/fork: a new artifact that descends from this version."""
        body = await body_of(http, NewFork, self._service.settings.server)

        async def act() -> Any:
            registry = self._service.registry.registry
            parent = await registry.content(registry.find(reference_of(http)).version_id)
            new = NewVersion(
                name=body.name,
                kind=parent.kind,
                content=parent.content if body.content is None else body.content,
                problem=body.problem or parent.problem,
                author=body.author,
                description=parent.description,
                locale=parent.locale if body.locale is None else body.locale,
                parameters=parent.parameters,
                relation="modify" if body.name == parent.name else "fork",
                parents=(parent.version_id,),
                improvements=tuple(body.improvements),
            )
            return await self._hand_in(new, body.cases, draft=body.draft)

        return await answer(http, act, status=201)

    async def _hand_in(self, new: NewVersion, cases: list[TrialCase], *, draft: bool) -> Any:
        registry = self._service.registry.registry
        tried = [
            Case(inputs=case.inputs, expected=case.expected, has_expected="expected" in case.model_fields_set, name=case.name)
            for case in cases
        ]
        version = await (registry.draft(new, tried) if draft else registry.publish(new, tried))
        return version_view(registry.catalog, version)

    async def review(self, http: HttpRequest) -> Response:
        """POST …/reviews: 201 with what was decided with it."""
        body = await body_of(http, NewReview, self._service.settings.server)

        async def act() -> Any:
            registry = self._service.registry.registry
            version_id = registry.find(reference_of(http)).version_id
            values: dict[str, Any] = {
                name: tuple(each) if isinstance(each, list) else each for name, each in body.model_dump().items()
            }
            decision = await registry.review(Review(version_id=version_id, at=registry.clock(), **values))
            standing = registry.catalog.standings[version_id]
            return {**asdict(decision), "version": version_id, "standing": standing_view(standing)}

        return await answer(http, act, status=201)

    async def star(self, http: HttpRequest) -> Response:
        """POST …/stars: 201; refused without measured reuse."""
        body = await body_of(http, NewStar, self._service.settings.server)

        async def act() -> Any:
            return asdict(await self._service.registry.registry.star(reference_of(http), by=body.by))

        return await answer(http, act, status=201)

    async def state(self, http: HttpRequest) -> Response:
        """POST …/state: deprecate, archive or restore a version, or every version of a bare name."""
        body = await body_of(http, NewState, self._service.settings.server)

        async def act() -> Any:
            registry, reference = self._service.registry.registry, reference_of(http)
            if body.to == "restored":
                done = await history.restore(registry, reference, by=OPERATOR, reason=body.reason)
            else:
                successor = registry.find(body.successor).version_id if body.successor else None
                done = await registry.move(reference, body.to, by=OPERATOR, reason=body.reason, successor=successor)
            return {"data": [standing_view(each) for each in done]}

        return await answer(http, act)

    async def alias(self, http: HttpRequest) -> Response:
        """POST …/alias: let champion or challenger point at a published version."""
        body = await body_of(http, NewAlias, self._service.settings.server)

        async def act() -> Any:
            name = split_reference(reference_of(http))[0]
            return asdict(await self._service.registry.registry.point(name, body.alias, body.version))

        return await answer(http, act)

    async def snapshot(self, http: HttpRequest) -> Response:
        """POST /v1/registry/snapshots: 201; a name that is taken moves."""
        body = await body_of(http, NewSnapshot, self._service.settings.server)
        return await answer(http, lambda: self._snapshot(body.name), status=201)

    async def _snapshot(self, name: str) -> Any:
        return asdict(await history.snapshot(self._service.registry.registry, name, by=OPERATOR))

    async def restore(self, http: HttpRequest) -> Response:
        """POST /v1/registry/snapshots/{name}/restore: states and aliases as they were; nothing that was published is lost."""

        async def act() -> Any:
            name = http.path_params["name"][:200]
            changed = await history.restore_snapshot(self._service.registry.registry, name, by=OPERATOR)
            return {"snapshot": name, "changed": changed}

        return await answer(http, act)
