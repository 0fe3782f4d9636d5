"""Generate, validate, correct, and validate again: what can be checked by rule is checked by rule, a model judges the rest.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agents.llm.prompts import render
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, InvalidRequest, StructuredFailed, Work
from agents.strategies.gates import drafted
from agents.strategies.judging import CRITIC, checked, defects, unheard, voiced
from agents.strategies.runner import RunChild, joined_issues, quoted, with_user
from agents.strategy_specs import StrategySpec, ValidationLoop
from agents.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A draft with the issues that drive the loop. ``own`` is what its strategy said of it, ``unheard`` that no critic spoke."""

    draft: Draft
    own: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()


async def run(work: Work, spec: ValidationLoop, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """At most ``max_attempts`` corrections, then the premium best effort. The draft with the fewest issues is returned.

    Never streamed: no word goes out before it was checked. Raises what the generator raises, but for a structured answer that
    never became valid, which is what the corrector is for; time or money that ends in the loop ends the loop, not the request.
    """
    rules = joined_issues(work.rules, spec.rules)
    work = replace(work, rules=rules)
    toolbox.note("stage", name="generate", attempt=0)
    first = await drafted(work, spec.generate, toolbox, choice, run_child, visible=False)
    best = latest = await _judged(work, spec, first, toolbox, choice, attempt=0)
    steps: list[tuple[str, StrategySpec]] = [("correct", spec.correct or spec.generate)] * spec.max_attempts
    if spec.premium is not None:
        steps.append(("premium", spec.premium))
    for attempt, (name, strategy) in enumerate(steps, start=1):
        if not best.draft.issues:
            break
        toolbox.note("stage", name=name, attempt=attempt, issues=list(latest.draft.issues))
        try:
            draft = await _corrected(work, latest.draft, strategy, toolbox, choice, run_child)
            latest = await _judged(work, spec, draft, toolbox, choice, attempt=attempt)
        except (DeadlineExceeded, BudgetExceeded):
            toolbox.note("stage", name=name, attempt=attempt, state="failed", error="out of time or budget")
            break
        except InvalidRequest:
            raise
        except AgentError as error:
            toolbox.note("stage", name=name, attempt=attempt, state="failed", error=error.code)
            continue
        if len(latest.draft.issues) <= len(best.draft.issues):
            best = latest
    return _ended(best)


def _ended(best: Judged) -> Draft:
    if not best.draft.text and best.draft.message is None:
        raise StructuredFailed(f"no valid answer: {'; '.join(best.draft.issues)[:500]}", partial=best.draft.data)
    return replace(best.draft, issues=joined_issues(best.draft.issues, best.own, best.unheard))


async def _corrected(
    work: Work, draft: Draft, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild
) -> Draft:
    words = "\n".join(f"- {issue}" for issue in draft.issues)
    text = render("correct", answer=quoted(draft) or "(nothing came)", issues=words)
    return await run_child(with_user(work, text), spec, toolbox, choice, visible=False)


async def _judged(work: Work, spec: ValidationLoop, draft: Draft, toolbox: Toolbox, choice: Choice, *, attempt: int) -> Judged:
    """The draft with the issues that it has now. The critic is asked only about what the rules find nothing in.

    What the draft's own strategy says of it counts where it says that it is partial; else it is only handed on.
    """
    by_rule = checked(work, draft)
    issues = defects(work, draft)
    critic, silent = "not asked", False
    if not issues:
        found = await voiced(CRITIC, work, draft, toolbox, choice, spec=spec.critic)
        silent = found is None
        critic = "not available" if silent else "asked"
        issues = found or ()
    toolbox.note("stage", name="validate", attempt=attempt, issues=list(issues), critic=critic)
    return Judged(
        draft=replace(draft, issues=issues, complete=draft.complete and not (draft.data is not None and by_rule)),
        own=draft.issues if draft.complete else (),
        unheard=unheard(CRITIC, toolbox, choice) if silent else (),
    )
