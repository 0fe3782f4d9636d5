"""Conditions within a strategy: whether a stage is run at all, and whether its result may pass.

Called by pipeline.py and per_item.py. Conditions are of the safe language of agents/expressions.py over these names: ``data`` and
``text`` (what is known so far; data is null for free text), ``score`` (0 to 1, by rule), ``issues`` (how many are known),
``importance``, ``quality`` (what the client wants; 0: no wish) and ``index`` (see ``Work.index``; of an item: its number).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from agents import expressions
from agents.llm.prompts import render
from agents.records import AgentError, Choice, Draft, ExpressionFailed, InvalidRequest, Json, StructuredFailed, Work
from agents.strategies.judging import CRITIC, checked, score_of, unheard, voiced
from agents.strategies.runner import RunChild, joined_issues, quoted, to_text, with_user
from agents.strategy_specs import Gate, StrategySpec
from agents.toolbox import Toolbox

NOTHING: Final = Draft(text="")


def names_of(work: Work, known: Draft | None) -> dict[str, Json]:
    """What a condition may speak of. Pure."""
    draft = known or NOTHING
    return {
        "data": draft.data,
        "text": draft.text,
        "score": score_of(work, draft),
        "issues": len(draft.issues),
        "importance": work.importance,
        "quality": work.quality if work.quality is not None else 0.0,
        "index": work.index,
    }


def wanted(when: str | None, names: Mapping[str, Json]) -> tuple[bool, str | None]:
    """Whether to run, and what was wrong with the condition. One that cannot be worked out skips nothing. Pure."""
    if when is None:
        return True, None
    try:
        return expressions.parse(when, param="strategy").holds(names), None
    except ExpressionFailed as error:
        return True, f"{when!r} could not be worked out ({error.message}), so nothing was skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """What a draft fails of a gate: by rule, and in a critic's words; ``unheard`` says that the critic should have spoken."""

    by_rule: tuple[str, ...] = ()
    voiced: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return joined_issues(self.by_rule, self.voiced)


def failing_by_rule(gate: Gate, work: Work, draft: Draft) -> tuple[str, ...]:
    """What of the gate needs no model and is not kept; nor is an expression that cannot be worked out. Pure."""
    issues: list[str] = []
    names: dict[str, Json] | None = None
    for check in gate.check:
        if check == "validate":
            issues.extend(checked(work, draft))
        elif check != "critic":
            names = names or names_of(work, draft)
            try:
                if not expressions.parse(check, param="strategy").holds(names):
                    issues.append(f"it must hold that {check}")
            except ExpressionFailed as error:
                issues.append(f"{check!r} could not be worked out: {error.message}")
    return joined_issues(issues)


async def failing(gate: Gate, work: Work, draft: Draft, toolbox: Toolbox, choice: Choice) -> Failing:
    """What the draft fails. The critic is asked only about what the rules find nothing in."""
    by_rule = failing_by_rule(gate, work, draft)
    if by_rule or "critic" not in gate.check:
        return Failing(by_rule=by_rule)
    told = replace(work, rules=joined_issues(work.rules, gate.rules))
    found = await voiced(CRITIC, told, draft, toolbox, choice, spec=gate.critic)
    return Failing(voiced=found or (), unheard=unheard(CRITIC, toolbox, choice) if found is None else ())


async def corrected(
    gate: Gate,
    default: StrategySpec,
    work: Work,
    draft: Draft,
    found: Failing,
    toolbox: Toolbox,
    choice: Choice,
    run_child: RunChild,
) -> tuple[Draft, Failing]:
    """One correction of the defects, and what is left of them. A correction that fails, or makes it worse, changes nothing."""
    words = "\n".join(f"- {issue}" for issue in found.all)
    given = with_user(work, render("correct", answer=quoted(draft) or "(nothing came)", issues=words))
    try:
        better = await run_child(given, gate.corrector or default, toolbox, choice, visible=False)
        left = await failing(gate, work, better, toolbox, choice)
    except InvalidRequest:
        raise
    except AgentError as error:
        toolbox.note("stage", name="correct", state="failed", error=error.code)
        return draft, found
    toolbox.note("stage", name="correct", state="done", issues=list(left.all))
    worse = (len(left.by_rule), len(left.voiced)) > (len(found.by_rule), len(found.voiced))
    return (draft, found) if worse else (better, left)


async def drafted(
    work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild, *, visible: bool
) -> Draft:
    """A draft even where no structured answer became valid: a gate or a loop can correct what came."""
    try:
        return await run_child(work, spec, toolbox, choice, visible=visible)
    except StructuredFailed as error:
        text = "" if error.partial is None else to_text(error.partial)
        return Draft(text=text, data=error.partial, issues=(error.message,), complete=False)
