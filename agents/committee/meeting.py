"""A request that is answered by a committee: designed, formed, heard, concluded by its chairperson, dissolved whatever happens.

Called through compose.py, which hands it the whole count. Reaches models, peers and the sandbox only through the Toolbox.

How it ends, in every case::

    a member fails         a node is stood in for by a role of this node; a role is silent for the round. Fewer than two
                           contributions end the committee: the chairperson answers alone, and an issue says so
    members disagree       after the last round the chairperson decides; an issue and the trace name who still objected
    time runs out          40 % of it are kept for the chairperson: a round that reaches into them is cut off, and what was said
                           counts. A revision that has no time left is left out
    money runs out         fewer rounds, then fewer members, then no committee are planned for what is left; each call is
                           reserved before it is made. A refused call ends the discussion
    the chairperson fails  time or money: for free text a member's last word, as partial; else its error
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from agents.committee.design import by_rule, designed, question_of
from agents.committee.means import KEPT_SHARE, LEAST_MEMBERS, CallEstimate, afforded, call_estimate
from agents.committee.records import Convened, Design, Taken
from agents.committee.synthesis import answered, best_said, ended
from agents.committee.talk import Meeting, contribute, discuss
from agents.records import BudgetExceeded, Choice, DeadlineExceeded, Draft, Work
from agents.shaping import with_count
from agents.strategies.problem import layout_of
from agents.strategies.program import problem_of
from agents.strategies.runner import RunChild, joined_issues
from agents.strategy_specs import Committee
from agents.toolbox import Toolbox

QUORUM: Final = 2


async def run(work: Work, spec: Committee, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """Never streamed: nothing goes out before the gate. Raises what the chairperson's strategy raises where it has no answer."""
    if work.schema is not None and work.count is not None:
        work = replace(work, schema=with_count(work.schema, work.count), count=None)
    estimate = call_estimate(work, toolbox.backends)
    design = await _affordable_design(work, spec, toolbox, choice, estimate)
    if design is None:
        toolbox.note("committee", state="not formed", why="the budget does not pay for a committee")
        return await _alone(work, spec, toolbox, choice, run_child, "the budget does not pay for a committee; one model answered")
    convened = await _convened(work, spec, design, toolbox, choice)
    meeting = Meeting(
        work=work,
        spec=spec,
        design=design,
        convened=convened,
        toolbox=toolbox,
        choice=choice,
        keep_s=KEPT_SHARE * toolbox.remaining_s(),
        estimate=estimate,
        nodes={seat.speciality: seat.node for seat in convened.seats if seat.node is not None},
    )
    if any(seat.code for seat in design.members):
        layout = layout_of(work.schema, work.constraints) if work.schema is not None else None
        meeting.problem = problem_of(work, layout, work.constraints)
    passed = False
    try:
        draft, passed = await _held(meeting, run_child)
        return draft
    finally:
        await toolbox.dissolve(convened, design=design, problem=question_of(work), passed=passed)
        nodes = [seat.node for seat in convened.seats if seat.node is not None]
        toolbox.note("committee", state="dissolved", passed=passed, nodes=nodes)


async def _affordable_design(
    work: Work, spec: Committee, toolbox: Toolbox, choice: Choice, estimate: CallEstimate
) -> Design | None:
    """None where the smallest committee would not be paid: then nobody is asked to design one."""

    def paid(design: Design) -> Design | None:
        return afforded(design, estimate, toolbox.remaining_usd(), toolbox.remaining_tokens())

    if paid(by_rule(work, size=LEAST_MEMBERS, rounds=0, code=False)) is None:
        return None
    return paid(await designed(work, spec, toolbox, choice))


async def _convened(work: Work, spec: Committee, design: Design, toolbox: Toolbox, choice: Choice) -> Convened:
    """The seats, taken. A backend that the client named is asked by this node alone: then all members are its roles."""
    seats = design.members
    if spec.nodes and choice.backend is None:
        convened = await toolbox.convene(question_of(work), seats)
    else:
        convened = Convened(committee_id="", seats=tuple(Taken(speciality=seat.speciality) for seat in seats))
    toolbox.note(
        "committee",
        state="formed",
        designed=design.origin,
        chair=design.chair,
        rounds=design.rounds,
        took_s=round(convened.took_s, 4),
        members=[
            {"speciality": seat.speciality, "task": seat.task, "code": seat.code, "by": taken.by, "node": taken.node}
            for seat, taken in zip(seats, convened.seats, strict=True)
        ],
    )
    return convened


async def _held(meeting: Meeting, run_child: RunChild) -> tuple[Draft, bool]:
    """(the answer, whether it passed the gate)."""
    await contribute(meeting)
    if len(meeting.spoke) < min(QUORUM, len(meeting.design.members)):
        why = f"{len(meeting.spoke)} of {len(meeting.design.members)} members contributed"
        meeting.toolbox.note("committee", state="no quorum", why=why)
        words = f"{why}, so that the chairperson answered alone"
        return await _alone(meeting.work, meeting.spec, meeting.toolbox, meeting.choice, run_child, words), False
    await discuss(meeting)
    try:
        draft, found = await answered(meeting, run_child)
    except (DeadlineExceeded, BudgetExceeded) as error:
        partial = best_said(meeting, error)
        if partial is None:
            raise
        meeting.toolbox.note("committee", state="cut off", why=error.code)
        return partial, False
    return ended(meeting, draft, found), not found.all


async def _alone(work: Work, spec: Committee, toolbox: Toolbox, choice: Choice, run_child: RunChild, why: str) -> Draft:
    draft = await run_child(work, spec.chair, toolbox, choice, visible=False)
    return replace(draft, issues=joined_issues(draft.issues, (why,)))
