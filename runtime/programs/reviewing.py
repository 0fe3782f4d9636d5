"""Reviews of what nodes wrote: drafts are run again, looked at by reviewer nodes, and published, sent back or rejected.

Built and run by work.py, in the background and within the bounds of asks.py. ``registry.review`` decides; here
is only who is heard. Where no model may be asked, checks of our own and executions alone decide. Must not import dispatch.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from agents.code_review import (
    REVIEW_SCHEMA,
    ROLES,
    Unusable,
    Verdict,
    review_task,
    review_text_task,
    verdict_of,
)
from agents.llm.prompts import render
from registry.artifacts import Registry
from registry.evidence import Usage
from registry.inspect import rules_in_force
from registry.records import (
    CODE_KINDS,
    OPERATOR,
    TEXT_ROLES,
    RegistryError,
    RegistryUnavailable,
    Review,
    ReviewRole,
    Version,
    VersionId,
)
from registry.review import Decision
from registry.standards import broken
from runtime.cluster import Cluster
from runtime.config.registry import RegistrySettings
from runtime.programs.asks import Asks, Said
from runtime.programs.registry_desk import RegistryDesk
from runtime.programs.revising import Revising
from runtime.programs.trial import Runner, Tried, trial_of, tried
from sandbox.records import Limits

log = logging.getLogger(__name__)

MAX_A_ROUND: Final = 8
TRIES: Final = 3
"""So often a reviewer's unusable answer is asked for again; then checks speak for that role."""
MAX_UNUSABLE: Final = 1_000
CHECKS: Final = "checks"
SLOW_SHARE: Final = 0.5
"""Of the time that the sandbox allows a run: what takes more is slow."""
_ROLE_NAMES: Final = {"quality": "code quality", "security": "code security", "performance": "code performance"}
_INJECTION: Final = re.compile(r"https?://|\bignore (?:all|any|the|previous|earlier)\b|\bsystem prompt\b", re.I)


class Reviewing:
    """``round`` is one look at what waits. ``counts`` says how decisions went."""

    def __init__(
        self,
        desk: RegistryDesk,
        asks: Asks,
        runner: Runner,
        cluster: Cluster,
        *,
        settings: RegistrySettings,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._desk, self._asks, self._runner = desk, asks, runner
        self._settings, self._limits, self._clock = settings, limits, clock
        self._revising = Revising(asks, runner, cluster)
        self._unusable: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    async def round(self) -> int:
        """Consider the oldest drafts; returns how many were decided. Raises RegistryUnavailable."""
        registry = self._desk.registry
        decided = 0
        for version_id in waiting(registry)[:MAX_A_ROUND]:
            try:
                verdict = await self._consider(registry, version_id)
            except RegistryUnavailable:
                raise
            except RegistryError as error:
                # An operator was faster, or its content is damaged: the others need not wait for it.
                log.warning("%s is not reviewed now: %s", version_id, error)
                continue
            self.counts[verdict] += 1
            decided += verdict in ("accept", "reject", "revise")
        return decided

    async def _consider(self, registry: Registry, version_id: VersionId) -> str:
        version = await registry.content(version_id)
        if (newer := revision_of(registry, version)) is not None:
            await registry.move(version_id, "archived", by="review", reason=f"revised as {newer}", successor=newer)
            return "superseded"
        trial = trial_of(version.description)
        if owed := self._revising.owed(registry, version, trial):
            return "revise" if await self._revising.revise(registry, version, owed, trial) else "waiting"
        code = version.kind in CODE_KINDS
        found = await tried(self._runner, version.content, trial) if code and trial is not None else None
        if found is not None and found.away:
            return "waiting"
        decision: Decision | None = None
        for role in (ROLES if code else TEXT_ROLES) if found is None or not found.unsafe else ("security",):
            if heard(registry, version_id, role):
                continue
            review = await self._reviewed(registry, version, role, found)
            if review is None:
                return "waiting"
            decision = await registry.review(review)
            if decision.verdict != "waiting":
                break
        if decision is None:
            return "waiting"
        log.info("%s: %s (%s)", version_id, decision.verdict, decision.reason)
        if decision.verdict == "revise":
            await self._revising.revise(registry, version, decision.required_changes, trial)
        return decision.verdict

    async def _reviewed(self, registry: Registry, version: Version, role: ReviewRole, found: Tried | None) -> Review | None:
        """One role's review: our own checks' where they object or no model can be asked; None where it has to wait."""
        rules, _ = await rules_in_force(registry)
        own = by_checks(version, role, found, broken(version.content, rules) if version.kind in CODE_KINDS else [], self._limits)
        review = replace(own, at=self._clock())
        if review.secure is False or (review.opinion != "accept" and found is not None and not found.good):
            return review
        name = f"reviewer-{role}"
        if (
            self._asks.able("critique") is None
            or self._unusable[f"{version.version_id} {role}"] >= TRIES
            or name in version.contributors
        ):
            return review
        if not await self._asks.awake(name, "reviewer", _ROLE_NAMES[role], render(f"review_{role}")):
            return review
        checks, history = "; ".join((*review.concerns, *review.strengths)) or "none", history_of(registry, version)
        if version.kind in CODE_KINDS:
            runs = str(found) if found is not None else "what it was run on was not kept"
            task = review_task(
                problem=version.problem,
                parameters=version.parameters,
                code=version.content,
                runs=runs,
                checks=checks,
                history=history,
            )
        else:
            task = review_text_task(problem=version.problem, text=version.content, checks=checks, history=history)
        said = await self._asks.ask(task, node=name, need="critique", schema=REVIEW_SCHEMA)
        if said is None:
            return None
        return self._as_review(version, role, said, name)

    def _as_review(self, version: Version, role: ReviewRole, said: Said, name: str) -> Review | None:
        try:
            verdict: Verdict = verdict_of(said.data)
        except Unusable as error:
            if len(self._unusable) >= MAX_UNUSABLE:
                self._unusable.clear()
            self._unusable[f"{version.version_id} {role}"] += 1
            log.info("%s's verdict on %s cannot be used: %s", name, version.version_id, error)
            return None
        return Review(
            version_id=version.version_id,
            reviewer=f"{name} (simulated)" if said.simulated else name,
            role=role,
            opinion=verdict.opinion,
            score=verdict.score,
            secure=verdict.secure if role == "security" else None,
            concerns=tuple(verdict.concerns),
            strengths=tuple(verdict.strengths),
            required_changes=tuple(verdict.required_changes),
            at=self._clock(),
        )


# ── pure ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def waiting(registry: Registry) -> list[VersionId]:
    """Drafts of nodes that passed their check, the oldest first. An operator's own drafts are the operator's to publish."""
    standings, versions = registry.catalog.standings, registry.catalog.versions
    drafts = [
        each
        for each in standings.values()
        if each.state == "draft" and each.cases is not None and versions[each.version_id].author != OPERATOR
    ]
    return [each.version_id for each in sorted(drafts, key=lambda each: (each.at, each.version_id))]


def heard(registry: Registry, version_id: VersionId, role: ReviewRole) -> bool:
    """Whether somebody spoke for ``role`` in this round of revisions."""
    round_ = registry.catalog.standings[version_id].revisions
    return any(each.role == role and each.round == round_ for each in registry.catalog.reviews.get(version_id, ()))


def revision_of(registry: Registry, version: Version) -> VersionId | None:
    """A later version of the same artifact that was made of this one: a crash came between the two steps of a revision."""
    catalog = registry.catalog
    later = (each for each in catalog.by_name[version.name] if each in catalog.standings)
    return next((each for each in later if version.version_id in catalog.parents.get(each, ())), None)


def history_of(registry: Registry, version: Version) -> str:
    """Lineage, executions and earlier verdicts in a few words."""
    catalog = registry.catalog
    parts = [f"{version.relation} by {version.author}, {version.depth} versions above it"]
    if version.improvements:
        parts.append(f"changes: {'; '.join(version.improvements)}")
    for parent in version.parents:
        parts.append(f"parent {parent}: {_ran(catalog.usage.get(parent))}")
        for each in catalog.reviews.get(parent, ())[-6:]:
            parts.append(f"{each.role} review of {parent}: {each.opinion}" + "".join(f"; {one}" for one in each.concerns[:2]))
    parts.append(f"its own executions: {_ran(catalog.usage.get(version.version_id))}")
    return "\n".join(parts)[:4_000]


def _ran(usage: Usage | None) -> str:
    return f"{usage.successes} of {usage.runs} good" if usage is not None and usage.runs else "none yet"


def by_checks(version: Version, role: ReviewRole, found: Tried | None, broken_rules: Sequence[str], limits: Limits) -> Review:
    """What checks of our own say for one role, as a review: runs on several seeds, rules of the standard, time and memory; of a
    text, whether it tries to steer its readers elsewhere."""
    concerns: list[str] = []
    secure: bool | None = None
    if role == "security":
        secure = (found is None or not found.unsafe) and not (
            version.kind not in CODE_KINDS and _INJECTION.search(version.content)
        )
        if not secure:
            concerns.append(found.unsafe if found is not None and found.unsafe else "it tells its readers to follow other orders")
    elif role == "quality":
        concerns += [f"a run fails: {failure}" for failure in (found.failures if found is not None and not found.good else ())]
        concerns += [f"keep the rule {name} of the standard" for name in broken_rules]
    elif found is not None:
        if found.wall_s > SLOW_SHARE * limits.wall_s:
            concerns.append(f"a run takes {found.wall_s:.2f} s of {limits.wall_s:g} s")
        if found.peak_bytes > SLOW_SHARE * limits.memory_bytes:
            concerns.append(f"a run takes {found.peak_bytes // 2**20} of {limits.memory_bytes // 2**20} MiB")
    return Review(
        version_id=version.version_id,
        reviewer=CHECKS,
        role=role,
        opinion="reject" if secure is False else "revise" if concerns else "accept",
        score=max(0.0, 1.0 - 0.25 * len(concerns)),
        secure=secure,
        concerns=tuple(concerns[:10]),
        strengths=(str(found),) if found is not None and found.good else (),
        required_changes=() if secure is False else tuple(concerns[:10]),
        at=0.0,
    )
