"""The guidance that routers are written by, as an artifact of the registry: which version is next, and better ones.

Called by evolve.py. Which version is taken is decided purely (prompting.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import numpy as np

from agents.llm.prompts import prompt
from registry.records import NewVersion, UnknownArtifact, Version, VersionId
from registry.review import asked_changes
from registry.versions import readable
from runtime.programs.asks import Asks
from runtime.programs.desk import SIMULATED
from runtime.programs.registry_desk import RegistryDesk
from runtime.routers import prompting
from runtime.routers.records import Round
from runtime.routers.writing import GUIDANCE_SCHEMA, guidance_of, reflection
from runtime.routing.records import RoutingError

log = logging.getLogger(__name__)

WRITER: Final = "router-writer"
"""The author, where no node is named."""
PROBLEM: Final = "how to write a better router"
MAX_TRIED: Final = 12
MAX_WANTED: Final = 6


class Guiding:
    """``reviews``: whether reviewers decide on drafts; else new guidance holds at once."""

    def __init__(self, registry: RegistryDesk, asks: Asks, *, reviews: bool, rng: np.random.Generator) -> None:
        self._registry, self._asks, self._reviews, self._rng = registry, asks, reviews, rng

    async def chosen(self, rounds: Sequence[Round]) -> Version:
        """The version to write by; the first one is the project's own."""
        registry = self._registry.registry
        if prompting.GUIDANCE not in registry.catalog.artifacts:
            new = NewVersion(
                name=prompting.GUIDANCE, kind="prompt", content=prompt("router_guidance") + "\n", problem=PROBLEM,
                author="morphogen",
            )  # fmt: skip
            await registry.publish(new)
        published = [each.version_id for each in registry.versions_of(prompting.GUIDANCE, "published")]
        if not published:
            raise UnknownArtifact(f"{prompting.GUIDANCE} has no published version: restore one")
        return await registry.content(VersionId(prompting.choose(published, rounds, self._rng)))

    def tried(self, rounds: Sequence[Round]) -> list[str]:
        """What ``rounds`` tried without success, and what reviewers of those that they turned down want, for the next author."""
        reviews = self._registry.registry.catalog.reviews
        refused = [VersionId(each.version) for each in rounds if each.stage == "rejected" and each.version]
        wanted = [f"reviewers want: {change}" for each in refused for change in asked_changes(reviews.get(each, ()))]
        edits = [edit for each in rounds for edit in each.data.get("edits", ())]
        return [*edits[: MAX_TRIED - len(wanted[:MAX_WANTED])], *wanted[:MAX_WANTED]]

    async def improve(self, rounds: Sequence[Round]) -> None:
        """Have better guidance written where the newest one's routers were not all good; reviewers look at it as at any text."""
        registry = self._registry.registry
        if prompting.GUIDANCE not in registry.catalog.artifacts:
            return
        versions = registry.versions_of(prompting.GUIDANCE)
        newest = versions[-1].version_id
        if registry.catalog.standings[newest].state != "published" or not prompting.to_improve(newest, rounds):
            return
        content = (await registry.content(newest)).content
        outcomes = [prompting.outcome(each) for each in rounds if each.prompt == newest]
        said = await self._asks.ask(reflection(content, outcomes), node=None, need="code", schema=GUIDANCE_SCHEMA)
        if said is None:
            return
        try:
            text = readable(guidance_of(said.data), 4_000) + "\n"
        except RoutingError as error:
            log.info("new guidance cannot be used: %s: %s", error.field, error)
            return
        new = NewVersion(
            name=prompting.GUIDANCE, kind="prompt", content=text, problem=PROBLEM,
            author=said.node or WRITER, relation="modify", parents=(newest,),
        )  # fmt: skip
        made = await registry.draft(new, tags=(SIMULATED,) if said.simulated else ())
        if not self._reviews:
            await registry.release(made.version_id, (), by=WRITER)
