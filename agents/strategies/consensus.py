"""Several models answer the same at once; their answers are scored, and the best one, or the majority field by field, is taken.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from agents.counting import bounded
from agents.llm.chat import BackendSpec
from agents.llm.selection import by_price
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, Incomplete, InvalidRequest, Json, Work
from agents.shaping import compile_schema, conform
from agents.strategies.agreement import agreement
from agents.strategies.judging import JUDGE, checked, listen, score_of
from agents.strategies.merging import Merge, same_answer
from agents.strategies.runner import RunChild, inner, joined_issues, to_text
from agents.strategy_specs import Consensus, Single, StrategySpec
from agents.toolbox import Toolbox

CHECKS_SHARE: Final = 0.5
AGREEMENT_SHARE: Final = 0.5
JUDGE_SHARE: Final = 1.0
"""Shares of an answer's score, relative to each other; what was not asked does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One member's answer. All scores are 0 to 1; ``judged`` is None where no judge spoke."""

    name: str
    draft: Draft
    checks: float
    agreement: float
    judged: float | None = None

    @property
    def score(self) -> float:
        shares = [(self.checks, CHECKS_SHARE), (self.agreement, AGREEMENT_SHARE)]
        if self.judged is not None:
            shares.append((self.judged, JUDGE_SHARE))
        return sum(value * share for value, share in shares) / sum(share for _, share in shares)


async def run(work: Work, spec: Consensus, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """Ask every member at once, at most ``toolbox.max_parallel`` at a time, score, and pick.

    A failed member is in the trace. Raises the first error when all fail, Incomplete (``partial``: the best answer) when fewer
    than the quorum answered; where only time or money kept the others from it, the best answer is returned as partial.
    """
    members = spec.members or default_members(toolbox.backends, spec.k, choice)
    pinned = choice.backend is not None and not choice.fallback
    spread = not spec.members and not pinned and len(set(members)) > 1
    # A stand-in would say what another member says already, and count twice.
    own = replace(choice, backend=None, fallback=False) if spread else choice
    given = inner(work)

    async def one(job: tuple[str, StrategySpec]) -> tuple[str, Draft | AgentError]:
        name, member = job
        toolbox.note("stage", name=name, state="begun")
        try:
            draft = await run_child(given, member, toolbox, own, visible=False)
        except InvalidRequest:
            raise
        except AgentError as error:
            toolbox.note("stage", name=name, state="failed", error=error.code)
            return name, error
        return name, draft

    jobs = [(f"member {number}", member) for number, member in enumerate(members, start=1)]
    answers = await bounded(jobs, toolbox.max_parallel, one)
    good = [(name, answer) for name, answer in answers if isinstance(answer, Draft)]
    errors = [answer for _, answer in answers if isinstance(answer, AgentError)]
    if not good:
        raise errors[0]
    scored = await _scored(work, spec, good, toolbox, choice)
    best = max(scored, key=lambda one: one.score)
    quorum = spec.quorum or min(len(members), max(2, -(-len(members) // 2)))
    if len(good) < quorum and all(isinstance(error, DeadlineExceeded | BudgetExceeded) for error in errors):
        words = f"partial: {len(good)} of {len(members)} members answered before it ended: {errors[0].message}"
        return replace(best.draft, complete=False, issues=joined_issues((words,), best.draft.issues))
    if len(good) < quorum:
        partial = best.draft.data if best.draft.data is not None else best.draft.text
        raise Incomplete(
            f"{len(good)} of {len(members)} members answered and {quorum} are needed ({errors[0].code}: {errors[0].message})",
            partial=partial,
        ) from errors[0]
    picked = _majority(work, scored, best) if spec.pick == "majority" else best.draft
    told: dict[str, Json] = {"pick": spec.pick, "best": best.name, "answered": len(good), "of": len(members)}
    if spec.members:
        told["useful"] = _useful(work, spec, scored, picked, [name for name, _ in jobs])
    toolbox.note("stage", name="pick", state="done", **told)
    return picked


def _useful(work: Work, spec: Consensus, scored: Sequence[Scored], picked: Draft, names: Sequence[str]) -> dict[str, bool]:
    """Of each member, whether the answer would have been another one without it, the others' scores being what they are."""
    found = dict.fromkeys(names, False)
    for one in scored:
        others = [each for each in scored if each is not one]
        if not others:
            found[one.name] = True
            continue
        best = max(others, key=lambda each: each.score)
        left = best.draft if spec.pick == "best" else _majority(work, others, best)
        found[one.name] = not same_answer(left, picked)
    return {name.replace(" ", ":"): mattered for name, mattered in found.items()}


def default_members(backends: Sequence[BackendSpec], k: int, choice: Choice) -> tuple[StrategySpec, ...]:
    """``k`` different backends, spread over the prices, those that the node prefers first; where there is only one it is asked
    ``k`` times, since its answers differ as well. Pure."""
    ordered = by_price(backends)
    preferred = [spec for name in choice.preferred for spec in ordered if spec.name == name]
    others = [spec for spec in ordered if spec not in preferred]
    left = k - len(preferred)
    if 0 < left < len(others):
        others = [others[round(place * (len(others) - 1) / max(1, left - 1))] for place in range(left)]
    chosen = (*preferred, *others)[:k]
    if len(chosen) < 2:
        return tuple(Single(backend=chosen[0].name if chosen else None) for _ in range(k))
    return tuple(Single(backend=spec.name) for spec in chosen)


async def _scored(
    work: Work, spec: Consensus, good: Sequence[tuple[str, Draft]], toolbox: Toolbox, choice: Choice
) -> list[Scored]:
    drafts = [draft for _, draft in good]

    async def judged(draft: Draft) -> float | None:
        if spec.judge is None:
            return None
        heard = await listen(JUDGE, work, draft, toolbox, choice, spec=spec.judge)
        score = heard.get("score") if isinstance(heard, dict) else None
        return float(score) if isinstance(score, int | float) else None

    judgements = await bounded(drafts, toolbox.max_parallel, judged)
    scored = [
        Scored(name=name, draft=draft, checks=_by_rule(work, draft), agreement=agreed, judged=judgement)
        for (name, draft), agreed, judgement in zip(good, agreement(drafts), judgements, strict=True)
    ]
    for one in scored:
        toolbox.note(
            "stage",
            name=one.name,
            state="done",
            score=round(one.score, 3),
            checks=round(one.checks, 3),
            agreement=round(one.agreement, 3),
            judged=one.judged,
            issues=list(one.draft.issues),
        )
    return scored


def _by_rule(work: Work, draft: Draft) -> float:
    """By rule; every defect that common sense sees, and an answer that is known to be partial, costs points too."""
    return score_of(work, draft) * (1.0 if draft.complete else 0.5) / (1.0 + 0.25 * len(checked(work, draft)))


def _majority(work: Work, scored: Sequence[Scored], best: Scored) -> Draft:
    """Field by field what most say, the better answers first where it is a tie; of texts the one closest to the others."""
    ordered = sorted(scored, key=lambda one: -one.score)
    values: list[Json] = [one.draft.data for one in ordered]
    if work.schema is None or any(value is None for value in values):
        return max(ordered, key=lambda one: one.agreement).draft
    merge = Merge("vote")
    data = conform(merge.values(values), work.schema)
    errors = compile_schema(work.schema).errors(data)
    if errors:
        # Fields of different answers may contradict each other where each answer alone does not.
        words = f"the majority's fields do not fit together ({errors[0]}); the best answer was taken whole"
        return replace(best.draft, issues=joined_issues(best.draft.issues, (words,)))
    issues = [f"the members' types differ at {clash}" for clash in merge.clashes]
    return Draft(text=to_text(data), data=data, issues=joined_issues(issues, checked(work, Draft(text=to_text(data), data=data))))
