"""What reviewers want changed goes back to its author: a program that must pass its runs again, a text that keeps its rules.

Called by reviewing.py, which says when; ``registry.review`` says how often at most. Must not import dispatch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from agents.code_review import TEXT_SCHEMA, Unusable, revise_task, revise_text_task, revised_code, revised_text
from agents.llm.prompts import render
from registry.artifacts import Registry
from registry.records import CODE_KINDS, NewVersion, Version, VersionId
from registry.versions import MAX_IMPROVEMENT_CHARS, MAX_IMPROVEMENTS, readable
from runtime.cluster import Cluster
from runtime.programs.advising import ADVISOR, machine_part
from runtime.programs.asks import Asks, Said
from runtime.programs.desk import SIMULATED
from runtime.programs.trial import Runner, Trial, tried
from sandbox.records import Case

log = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 1_000
MEND: Final = ("mend what reviewers object to",)


class Revising:
    """One for all drafts. What was asked of authors is known until a restart: then one of them may be asked once more."""

    def __init__(self, asks: Asks, runner: Runner, cluster: Cluster) -> None:
        self._asks, self._runner, self._cluster = asks, runner, cluster
        self._asked: set[tuple[VersionId, int]] = set()

    def owed(self, registry: Registry, version: Version, trial: Trial | None) -> tuple[str, ...]:
        """The changes that the last round of reviews requires of a version and that its author was not asked for yet: nobody
        could be asked then, or the daemon ended. Empty where nothing is owed."""
        revisions = registry.catalog.standings[version.version_id].revisions
        if not revisions or (version.version_id, revisions) in self._asked or not self._can_be_revised(version, trial):
            return ()
        reviews = registry.catalog.reviews.get(version.version_id, ())
        if any(each.round == revisions for each in reviews):
            return ()
        last = [each for each in reviews if each.round == revisions - 1 and each.opinion != "accept"]
        wanted = tuple(dict.fromkeys(change for each in last for change in each.required_changes))
        return wanted or (MEND if last else ())

    async def revise(self, registry: Registry, version: Version, changes: Sequence[str], trial: Trial | None) -> bool:
        """Send the draft back; what comes back and holds takes its place, to be reviewed in its turn.

        What does not hold leaves it as it is: the next look at it counts as the next revision. False where nobody could be asked:
        then it waits, and is sent back later.
        """
        if not self._can_be_revised(version, trial):
            return True
        code = version.kind in CODE_KINDS
        said = await self._back_to_author(version, tuple(changes) or MEND)
        if said is None:
            return False
        revisions = registry.catalog.standings[version.version_id].revisions
        if len(self._asked) >= MAX_REMEMBERED:
            self._asked.clear()
        self._asked.add((version.version_id, revisions))
        try:
            content = revised_code(said.text) if code else revised_text(said.data, machine_part(version.content))
        except Unusable as error:
            log.info("the revision of %s cannot be used: %s", version.version_id, error)
            return True
        if content.strip() == version.content.strip():
            log.info("the revision of %s changes nothing", version.version_id)
            return True
        if trial is not None and code and not (found := await tried(self._runner, content, trial)).good:
            log.info("the revision of %s fails: %s", version.version_id, found)
            return True
        await _take_its_place(registry, version, content, changes, trial, said)
        return True

    def _can_be_revised(self, version: Version, trial: Trial | None) -> bool:
        """Code whose runs were not kept cannot be held against them again, and where no backend is able nobody ever can be asked:
        it is looked at as it is."""
        if version.kind in CODE_KINDS:
            return trial is not None and self._asks.able("code") is not None
        return self._asks.able("critique") is not None

    async def _back_to_author(self, version: Version, changes: Sequence[str]) -> Said | None:
        """The author where it is live, or can be woken; else whoever answers clients."""
        author = version.author if any(each.spec.name == version.author for each in self._cluster.nodes()) else None
        if version.kind in CODE_KINDS:
            task = revise_task(problem=version.problem, code=version.content, changes=changes)
            return await self._asks.ask(task, node=author, need="code")
        if version.author == ADVISOR and await self._asks.awake(ADVISOR, "advisor", "code", render("advisor")):
            author = ADVISOR
        prose = version.content.removesuffix(machine_part(version.content))
        task = revise_text_task(problem=version.problem, text=prose, changes=changes)
        return await self._asks.ask(task, node=author, need="critique", schema=TEXT_SCHEMA)


async def _take_its_place(
    registry: Registry, version: Version, content: str, changes: Sequence[str], trial: Trial | None, said: Said
) -> None:
    new = NewVersion(
        name=version.name,
        kind=version.kind,
        content=readable(content, 16_000) + "\n" if version.kind not in CODE_KINDS else content,
        problem=version.problem,
        description=version.description,
        author=said.node or version.author,
        locale=version.locale,
        parameters=version.parameters,
        relation="modify",
        parents=(version.version_id,),
        improvements=tuple(f"asked in review: {change}"[:MAX_IMPROVEMENT_CHARS] for change in changes[:MAX_IMPROVEMENTS]),
        bump="patch",
    )
    standing = registry.catalog.standings[version.version_id]
    tags = (*standing.tags, SIMULATED) if said.simulated and SIMULATED not in standing.tags else standing.tags
    cases = [Case(inputs=dict(trial.inputs), name="as it was used")] if trial is not None else []
    made = await registry.draft(new, cases, revisions=standing.revisions, tags=tags)
    reason = f"revised as {made.version_id}"
    await registry.move(version.version_id, "archived", by="review", reason=reason, successor=made.version_id)
