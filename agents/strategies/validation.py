"""Generate, validate, correct, and validate again: what can be checked by rule is checked by rule, a model judges the rest.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from dataclasses import replace

from agents.llm.prompts import render
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, StructuredFailed, Work
from agents.strategies.judging import CRITIC, checked, voiced
from agents.strategies.runner import RunChild, joined_issues, quoted, to_text, with_user
from agents.strategy_specs import StrategySpec, ValidationLoop
from agents.toolbox import Toolbox


async def run(work: Work, spec: ValidationLoop, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """At most ``max_attempts`` corrections, then the premium best effort. The draft with the fewest issues is returned.

    Never streamed: no word goes out before it was checked. Raises what the generator raises, but for a structured answer that
    never became valid, which is what the corrector is for; time or money that ends in the loop ends the loop, not the request.
    """
    rules = joined_issues(work.rules, spec.rules)
    work = replace(work, rules=rules)
    draft = await _generated(work, spec.generate, toolbox, choice, run_child)
    draft = await _judged(work, spec, draft, toolbox, choice, attempt=0)
    best = draft
    corrector = spec.correct or spec.generate
    steps: list[tuple[str, StrategySpec]] = [("correct", corrector)] * spec.max_attempts
    if spec.premium is not None:
        steps.append(("premium", spec.premium))
    for attempt, (name, strategy) in enumerate(steps, start=1):
        if not best.issues:
            break
        toolbox.note("stage", name=name, attempt=attempt, issues=list(draft.issues))
        try:
            draft = await _corrected(work, draft, strategy, toolbox, choice, run_child)
            draft = await _judged(work, spec, draft, toolbox, choice, attempt=attempt)
        except (DeadlineExceeded, BudgetExceeded):
            toolbox.note("stage", name=name, attempt=attempt, state="failed", error="out of time or budget")
            break
        except AgentError as error:
            toolbox.note("stage", name=name, attempt=attempt, state="failed", error=error.code)
            continue
        if len(draft.issues) <= len(best.issues):
            best = draft
    return _ended(best)


def _ended(best: Draft) -> Draft:
    if not best.text:
        raise StructuredFailed(f"no valid answer: {'; '.join(best.issues)[:500]}", partial=best.data)
    return best


async def _generated(work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild) -> Draft:
    toolbox.note("stage", name="generate", attempt=0)
    try:
        return await run_child(work, spec, toolbox, choice, visible=False)
    except StructuredFailed as error:
        text = "" if error.partial is None else to_text(error.partial)
        return Draft(text=text, data=error.partial, issues=(error.message,), complete=False)


async def _corrected(
    work: Work, draft: Draft, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild
) -> Draft:
    words = "\n".join(f"- {issue}" for issue in draft.issues)
    text = render("correct", answer=quoted(draft) or "(nothing came)", issues=words)
    return await run_child(with_user(work, text), spec, toolbox, choice, visible=False)


async def _judged(work: Work, spec: ValidationLoop, draft: Draft, toolbox: Toolbox, choice: Choice, *, attempt: int) -> Draft:
    """The draft with the issues that it has now. The critic is asked only about what the rules find nothing in."""
    issues = checked(work, draft)
    critic = "not asked"
    if not issues:
        found = await voiced(CRITIC, work, draft, toolbox, choice, spec=spec.critic)
        critic = "not available" if found is None else "asked"
        issues = found or ()
    toolbox.note("stage", name="validate", attempt=attempt, issues=list(issues), critic=critic)
    return replace(
        draft, issues=issues, complete=draft.complete and not (draft.data is not None and issues and critic == "not asked")
    )
