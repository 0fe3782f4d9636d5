"""Detect what is damaged in an answer, heal it by naming the damage, check again; what makes it worse is undone.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agents.llm.prompts import render
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, InvalidRequest, StructuredFailed, Work
from agents.strategies.gates import drafted
from agents.strategies.judging import DETECTOR, defects, score_of, unheard, voiced
from agents.strategies.runner import RunChild, joined_issues, quoted, with_user
from agents.strategy_specs import SelfHealing
from agents.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A draft and what is wrong with it (``score`` by rule). What a rule finds weighs more than what a model sees."""

    draft: Draft
    score: float
    by_rule: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()

    @property
    def issues(self) -> tuple[str, ...]:
        return joined_issues(self.by_rule, self.seen)

    @property
    def damage(self) -> tuple[int, float, int]:
        return len(self.by_rule), round(1.0 - self.score, 6), len(self.seen)


async def run(work: Work, spec: SelfHealing, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """At most ``max_attempts`` heals, each of the best state so far. The issues left are the draft's.

    Never streamed: no word goes out before it was checked. Raises what the generator raises, but for a structured answer that
    never became valid; time or money that ends later ends the healing, not the request.
    """
    work = replace(work, rules=joined_issues(work.rules, spec.rules))
    toolbox.note("stage", name="generate", attempt=0)
    first = await drafted(work, spec.generate, toolbox, choice, run_child, visible=False)
    best = await _detected(work, spec, first, toolbox, choice, attempt=0)
    for attempt in range(1, spec.max_attempts + 1):
        if not best.issues:
            break
        try:
            healed = await _healed(work, spec, best, toolbox, choice, run_child, attempt=attempt)
            state = await _detected(work, spec, healed, toolbox, choice, attempt=attempt)
        except (DeadlineExceeded, BudgetExceeded) as error:
            toolbox.note("stage", name="heal", attempt=attempt, state="failed", error=error.code)
            break
        except InvalidRequest:
            raise
        except AgentError as error:
            toolbox.note("stage", name="heal", attempt=attempt, state="failed", error=error.code)
            continue
        if state.damage > best.damage:
            toolbox.note("stage", name="heal", attempt=attempt, state="undone", issues=list(state.issues))
        else:
            best = state
    return _ended(best)


async def _healed(
    work: Work, spec: SelfHealing, state: State, toolbox: Toolbox, choice: Choice, run_child: RunChild, *, attempt: int
) -> Draft:
    toolbox.note("stage", name="heal", attempt=attempt, issues=list(state.issues))
    words = "\n".join(f"- {issue}" for issue in state.issues)
    text = render(
        "heal",
        attempt=str(attempt),
        total=str(spec.max_attempts),
        issues=words,
        answer=quoted(state.draft) or "(nothing came)",
    )
    return await run_child(with_user(work, text), spec.heal, toolbox, choice, visible=False)


async def _detected(work: Work, spec: SelfHealing, draft: Draft, toolbox: Toolbox, choice: Choice, *, attempt: int) -> State:
    """What is wrong with it now. The detector is asked only about what the rules find nothing in."""
    by_rule = defects(work, draft)
    seen: tuple[str, ...] | None = ()
    if not by_rule and spec.detector is not None:
        seen = await voiced(DETECTOR, work, draft, toolbox, choice, spec=spec.detector)
    heard = "not asked" if by_rule or spec.detector is None else "not available" if seen is None else "asked"
    missing = unheard(DETECTOR, toolbox, choice) if seen is None else ()
    state = State(draft=draft, score=score_of(work, draft), by_rule=by_rule, seen=seen or (), unheard=missing)
    toolbox.note("stage", name="detect", attempt=attempt, issues=list(state.issues), detector=heard)
    return state


def _ended(best: State) -> Draft:
    if not best.draft.text and best.draft.message is None:
        raise StructuredFailed(f"no valid answer: {'; '.join(best.issues)[:500]}", partial=best.draft.data)
    issues = joined_issues(best.issues, best.draft.issues, best.unheard)
    return replace(best.draft, issues=issues, complete=best.draft.complete and not best.by_rule)
