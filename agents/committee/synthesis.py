"""The chairperson's part: runs the program of the member that writes one, puts the answer together, and has it pass the gate or
revised once.

Called by meeting.py. The gate is that of pipelines (gates.py): rules first, and a critic where they find nothing. Code runs in
the sandbox alone. A result that constraints hold, or that is a list of data, is taken as it is where it keeps to them and to the
form, and words are laid beside it; any other is told to the chairperson, who decides what to make of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from agents.committee.talk import LEAST_ROUND_S, Meeting, remarks_on, so_far
from agents.llm.prompts import render
from agents.records import AgentError, BudgetExceeded, DeadlineExceeded, Draft, Escalated, InvalidRequest
from agents.strategies.attempts import Attempts
from agents.strategies.code_augmented import try_program
from agents.strategies.gates import Failing, drafted, failing
from agents.strategies.program import Judged, Problem, repair_request
from agents.strategies.runner import RunChild, inner, joined_issues, quoted, to_text, with_user
from agents.strategies.wording import with_words
from agents.strategy_specs import Gate

MAX_RESULT_CHARS: Final = 4_000
MAX_ANSWER_CHARS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What the member's program came to. ``draft`` is set where it passed; ``told`` is what the chairperson is told of it."""

    draft: Draft | None = None
    told: str = ""


async def answered(meeting: Meeting, run_child: RunChild) -> tuple[Draft, Failing]:
    """The answer and what it still fails. Raises what the chairperson's strategy raises before there is any answer."""
    computed = await _computed(meeting)
    draft = await _written(meeting, computed, run_child)
    meeting.toolbox.note("committee", state="answered", by="program" if draft.code is not None else "chairperson")
    found = await _gated(meeting, draft, again=False)
    if not found.all:
        return draft, found
    return await _revised(meeting, draft, found, run_child)


# ── the program ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _computed(meeting: Meeting) -> Computed:
    """Run the program; one repair where it fails, by whoever writes code best."""
    problem = meeting.problem
    if problem is None or not meeting.program:
        return Computed()
    toolbox, text = meeting.toolbox, meeting.program
    tried = Attempts(backend=meeting.programmer)
    for step in ("write", "repair"):
        try:
            if step == "repair":
                text, tried.backend = await _repaired(meeting, problem, text, tried.failures)
            judged, code = await try_program(text, problem, step, toolbox, tried, seed=problem.work.index)
        except InvalidRequest:
            raise
        except AgentError as error:
            toolbox.note("committee", state="program", outcome="not run", why=error.code)
            why = "cannot be run here" if isinstance(error, Escalated) else error.message[:200]
            return Computed(told=f"The program of the committee {why}; there is no result of it.")
        if code is not None:
            toolbox.note("committee", state="program", outcome="passed", step=step)
            draft = Draft(text=_shown(judged, problem), data=judged.value if problem.schema is not None else None, code=code)
            return Computed(draft=draft, told=f"The program of the committee ran, and gave: {draft.text[:MAX_RESULT_CHARS]}")
        tried.failures = judged.failures
    toolbox.note("committee", state="program", outcome="failed", why=list(tried.failures)[:5])
    listed = "; ".join(tried.failures)[:500]
    return Computed(told=f"The program of the committee did not pass its checks ({listed}); do not rely on its numbers.")


async def _repaired(meeting: Meeting, problem: Problem, said: str, failures: Sequence[str]) -> tuple[str, str]:
    """(the program again, by which backend)."""
    choice = meeting.choice if meeting.choice.backend else replace(meeting.choice, preferred=(), tier="quality")
    asked = repair_request(problem, said, failures)
    reply = await meeting.toolbox.ask(asked, replace(choice, needs=choice.needs | {"code"}))
    return reply.text, reply.backend


def _shown(judged: Judged, problem: Problem) -> str:
    value = judged.value
    return value if isinstance(value, str) and problem.schema is None else to_text(value)


# ── the answer ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _written(meeting: Meeting, computed: Computed, run_child: RunChild) -> Draft:
    """The program's result where it is the answer, with words beside it where it needs some; else the chairperson's."""
    problem, done = meeting.problem, computed.draft
    if problem is not None and problem.layout is not None and not problem.constraints and problem.layout.path is None:
        done = None  # nothing of ours could check it
    notes = await _notes(meeting, computed)
    work = with_user(inner(meeting.work), notes)
    if done is None or problem is None or problem.layout is None:
        return await drafted(work, meeting.spec.chair, meeting.toolbox, meeting.choice, run_child, visible=False)
    if not problem.layout.wants_words:
        return done
    data, issues = await with_words(
        work, problem.layout, done.data, meeting.spec.chair, meeting.toolbox, meeting.choice, run_child
    )
    return replace(done, text=to_text(data), data=data, issues=issues)


async def _notes(meeting: Meeting, computed: Computed) -> str:
    said = await so_far(meeting)
    return render("committee_synthesis", chair=meeting.design.chair, said=said or "(nothing)", program=f"\n{computed.told}\n")


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _gated(meeting: Meeting, draft: Draft, *, again: bool) -> Failing:
    gate = Gate(check=("validate", "critic"), critic=meeting.spec.critic, rules=meeting.spec.rules)
    found = await failing(gate, meeting.work, draft, meeting.toolbox, meeting.choice)
    state = "revised" if again else "gate"
    meeting.toolbox.note("committee", state=state, passed=not found.all, issues=list(found.all), unheard=list(found.unheard))
    return found


async def _revised(meeting: Meeting, draft: Draft, found: Failing, run_child: RunChild) -> tuple[Draft, Failing]:
    """One revision: the members say what has to change where there is time, the chairperson changes it. Worse is undone."""
    toolbox = meeting.toolbox
    half_s = toolbox.remaining_s() / 2
    if half_s <= LEAST_ROUND_S:
        toolbox.note("committee", state="not revised", why="no time is left")
        return draft, found
    try:
        remarks = ""
        if meeting.ended not in ("time", "budget") and meeting.paid():
            meeting.keep_s = half_s
            remarks = await remarks_on(meeting, quoted(draft, MAX_ANSWER_CHARS), found.all)
        text = render(
            "committee_revise",
            answer=quoted(draft, MAX_ANSWER_CHARS) or "(nothing came)",
            issues="\n".join(f"- {issue}" for issue in found.all),
            remarks=f"\nWhat the members say to them:\n{remarks}\n" if remarks else "",
        )
        given = with_user(inner(meeting.work), text)
        better = await run_child(given, meeting.spec.chair, toolbox, meeting.choice, visible=False)
        left = await _gated(meeting, better, again=True)
    except InvalidRequest:
        raise
    except AgentError as error:
        ended = isinstance(error, DeadlineExceeded | BudgetExceeded)
        toolbox.note("committee", state="not revised", why="time or money has ended" if ended else error.code)
        return draft, found
    if _damage(left) > _damage(found):
        toolbox.note("committee", state="undone", issues=list(left.all))
        return draft, found
    return better, left


def _damage(found: Failing) -> tuple[int, int]:
    return len(found.by_rule), len(found.voiced)


def ended(meeting: Meeting, draft: Draft, found: Failing) -> Draft:
    """The answer with what is known to be wrong with it, and what the committee could not settle. Pure."""
    design, silent = meeting.design, [seat.speciality for seat in meeting.design.members if seat.speciality not in meeting.spoke]
    said = []
    if meeting.objected:
        names = ", ".join(meeting.objected)
        said.append(f"the committee did not agree after {meeting.rounds_held} rounds ({names} objected); the chairperson decided")
    if silent:
        said.append(f"{len(silent)} of {len(design.members)} members of the committee gave no contribution: {', '.join(silent)}")
    issues = joined_issues(found.all, draft.issues, tuple(said), found.unheard)
    return replace(draft, issues=issues, complete=draft.complete and not found.by_rule)


def best_said(meeting: Meeting, error: AgentError) -> Draft | None:
    """What there is where the chairperson could not speak any more: for free text the last word of the member that was heard
    last, marked as partial; None where the answer has a form, or nobody spoke. Pure."""
    latest = meeting.latest()
    if meeting.work.schema is not None or not latest:
        return None
    one = latest[-1]
    words = f"partial: the chairperson could not answer ({error.code}); this is what one member ({one.member}) said"
    return Draft(text=one.text, issues=(words,), complete=False)
