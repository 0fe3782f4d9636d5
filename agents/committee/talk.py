"""The discussion: members contribute at once, then respond to each other, round by round, within what each may take.

Called by meeting.py and synthesis.py. A member is a node that is asked through the toolbox, or a role of this node: a call with
the same instructions. A node that fails is stood in for by a role, once and for good; a role that fails is silent in that round.
Time that must be kept for the chairperson ends a round, and what was not said by then is not waited for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from agents.committee.design import form_text, question_of
from agents.committee.means import CallEstimate, chairs_part
from agents.committee.records import Convened, Design, Statement
from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.prompts import render
from agents.llm.selection import by_price
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, InvalidRequest, Json, Work
from agents.strategies.program import Problem, write_request
from agents.strategies.runner import inner
from agents.strategy_specs import Committee, Seat
from agents.toolbox import Toolbox

WORDS: Final = 180
STATEMENT_TOKENS: Final = 600
CODE_TOKENS: Final = 3_000
MAX_STATEMENT_CHARS: Final = 4_000
MAX_PROGRAM_CHARS: Final = 40_000
MAX_NOTED_CHARS: Final = 1_500
MAX_OBJECTION_CHARS: Final = 300
MAX_SAID_CHARS: Final = 14_000
"""Of the discussion, in one prompt; less where a backend's context is small."""
LEAST_SAID_CHARS: Final = 1_500
CHARS_A_TOKEN: Final = 3
SUMMARY_TOKENS: Final = 500
LEAST_ROUND_S: Final = 0.05
PROGRAM_AGAIN: Final = " Where your program has to change, give it again whole, as before."
_SIDE: Final = re.compile(r"^[\s*_`>#-]*(AGREE|OBJECT)(?:S|D|ED)?\b[*_`]*\s*[:.,-]*\s*(.*)$", re.M)


@dataclass(slots=True, kw_only=True)
class Meeting:
    """A committee at work: what it is, and what was said so far. ``keep_s`` of time stays for the chairperson.

    ``problem`` is set where a member writes a program; ``program`` is its last answer whole, of the backend ``programmer``.
    ``ended`` says why the discussion ended before its last round, ``objected`` who still objected then, and to what.
    """

    work: Work
    spec: Committee
    design: Design
    convened: Convened
    toolbox: Toolbox
    choice: Choice
    keep_s: float
    estimate: CallEstimate
    problem: Problem | None = None
    nodes: dict[str, str] = field(default_factory=dict)
    said: list[Statement] = field(default_factory=list)
    summary: str = ""
    summed_up: int = 0
    program: str = ""
    programmer: str = ""
    ended: str = ""
    objected: dict[str, str] = field(default_factory=dict)
    rounds_held: int = 0

    @property
    def spoke(self) -> set[str]:
        """Members that said something."""
        return {one.member for one in self.said}

    def latest(self) -> list[Statement]:
        """The last word of each member, in the order of the seats."""
        last = {one.member: one for one in self.said}
        return [last[seat.speciality] for seat in self.design.members if seat.speciality in last]

    def time_left_s(self) -> float:
        return self.toolbox.remaining_s() - self.keep_s

    def paid(self) -> bool:
        """Whether another round leaves the chairperson its part."""
        usd, tokens = chairs_part(self.estimate)
        left_usd, left_tokens = self.toolbox.remaining_usd(), self.toolbox.remaining_tokens()
        return (left_usd is None or left_usd > usd) and (left_tokens is None or left_tokens > tokens)


# ── phases ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def contribute(meeting: Meeting) -> None:
    """Every member's contribution, at once."""
    request, form = question_of(meeting.work), form_text(meeting.work)
    question = render("committee_contribute", request=request, form=form)
    await _all_speak(meeting, 0, lambda seat: question)


async def discuss(meeting: Meeting) -> None:
    """Round after round, until all agree, the rounds are over, or time or money must be kept for the answer."""
    request, form = question_of(meeting.work), form_text(meeting.work)
    for round_ in range(1, meeting.design.rounds + 1):
        if meeting.time_left_s() <= LEAST_ROUND_S:
            meeting.ended = "time"
        elif not meeting.paid():
            meeting.ended = meeting.ended or "budget"
        if meeting.ended:
            break
        said = await so_far(meeting)

        def question(seat: Seat, said: str = said, round_: int = round_) -> str:
            return render(
                "committee_discuss",
                request=request,
                form=form,
                said=said,
                round=str(round_),
                rounds=str(meeting.design.rounds),
                program=PROGRAM_AGAIN if seat.code else "",
            )

        await _all_speak(meeting, round_, question)
        meeting.rounds_held = round_
        latest = meeting.latest()
        if latest and all(one.agrees for one in latest) and not meeting.ended:
            meeting.ended = "agreed"
    meeting.objected = {one.member: one.objection for one in meeting.latest() if one.agrees is False}
    meeting.toolbox.note(
        "committee", state="discussed", rounds=meeting.rounds_held, ended=meeting.ended or "rounds", objections=meeting.objected
    )


async def remarks_on(meeting: Meeting, answer: str, issues: Sequence[str]) -> str:
    """What the members say to an answer that did not pass, as text for the chairperson; "" where nothing came."""
    listed = "\n".join(f"- {issue}" for issue in issues)
    question = render(
        "committee_defects",
        request=question_of(meeting.work),
        form=form_text(meeting.work),
        answer=answer[:MAX_SAID_CHARS],
        issues=listed,
    )
    before = len(meeting.said)
    await _all_speak(meeting, meeting.rounds_held + 1, lambda seat: question)
    return _told(meeting.said[before:], _limit(meeting))


async def so_far(meeting: Meeting) -> str:
    """The discussion for one prompt: whole while it fits, else the last round, and a summary of what came before it."""
    limit = _limit(meeting)
    before = f"Summary of what was said before:\n{meeting.summary}\n\n" if meeting.summary else ""
    whole = _told(meeting.said[meeting.summed_up :])
    if len(before) + len(whole) <= limit:
        return before + whole
    last = meeting.said[-1].round
    place = next(place for place, one in enumerate(meeting.said) if one.round == last)
    if place > meeting.summed_up:
        older = _told(meeting.said[meeting.summed_up : place], MAX_SAID_CHARS)
        meeting.summary = await _summed_up(meeting, before + older, limit // 3)
        meeting.summed_up = place
        before = f"Summary of what was said before:\n{meeting.summary}\n\n"
    return before + _told(meeting.said[meeting.summed_up :], max(LEAST_SAID_CHARS, limit - len(before)))


async def _summed_up(meeting: Meeting, text: str, chars: int) -> str:
    """A model's summary; where none comes, what there is, cut."""
    system = render("committee_summary", words=str(max(60, chars // 7)))
    request = ChatRequest(
        messages=({"role": "system", "content": system}, {"role": "user", "content": text}), params={"max_tokens": SUMMARY_TOKENS}
    )
    choice = meeting.choice if meeting.choice.backend else replace(meeting.choice, preferred=(), tier="cheap")
    try:
        async with asyncio.timeout(max(LEAST_ROUND_S, meeting.time_left_s() / 2)):
            found = (await meeting.toolbox.ask(request, choice)).text.strip()
    except (AgentError, TimeoutError) as error:
        meeting.toolbox.note("committee", state="not summed up", error=str(error)[:200] or "too slow", instead="cut")
        found = ""
    meeting.toolbox.note("committee", state="summed up", chars=len(text), text=found[:MAX_NOTED_CHARS])
    return (found or text)[:chars]


# ── one member ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _all_speak(meeting: Meeting, round_: int, question: Callable[[Seat], str]) -> None:
    """Ask every member at once; whoever has not answered when the round's time is over is silent in it."""
    seats = meeting.design.members
    asks = {seat.speciality: asyncio.ensure_future(_speak(meeting, place, round_, question)) for place, seat in enumerate(seats)}
    try:
        await asyncio.wait(asks.values(), timeout=max(LEAST_ROUND_S, meeting.time_left_s()))
    finally:
        late = [name for name, task in asks.items() if not task.done()]
        for task in asks.values():
            task.cancel()
        found = await asyncio.gather(*asks.values(), return_exceptions=True)
    for name in late:
        meeting.toolbox.note("committee", state="silent", member=name, round=round_, why="too slow")
    if late:
        meeting.ended = "time"
    for one in found:
        if isinstance(one, Statement):
            meeting.said.append(one)
        elif isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError):
            raise one


async def _speak(meeting: Meeting, place: int, round_: int, question: Callable[[Seat], str]) -> Statement | None:
    """One member's statement; None where it failed, which is noted."""
    seat = meeting.design.members[place]
    system, text = instructions(meeting.design, seat), question(seat)
    if seat.code and meeting.problem is not None and round_ == 0:
        asked = write_request(meeting.problem)
        system, text = (str(message["content"]) for message in asked.messages)
    try:
        said, backend = await _asked(meeting, place, system, text)
    except InvalidRequest:
        raise
    except AgentError as error:
        if isinstance(error, BudgetExceeded | DeadlineExceeded):
            meeting.ended = "budget" if isinstance(error, BudgetExceeded) else "time"
        meeting.toolbox.note("committee", state="silent", member=seat.speciality, round=round_, why=error.code)
        return None
    if not said.strip():
        meeting.toolbox.note("committee", state="silent", member=seat.speciality, round=round_, why="it said nothing")
        return None
    if seat.code and "def run(" in said:
        meeting.program, meeting.programmer = said[:MAX_PROGRAM_CHARS], backend
    statement = read_statement(seat.speciality, round_, said)
    meeting.toolbox.note(
        "committee",
        state="contributed" if round_ == 0 else "said",
        member=seat.speciality,
        node=meeting.nodes.get(seat.speciality),
        backend=backend,
        round=round_,
        agrees=statement.agrees,
        text=statement.text[:MAX_NOTED_CHARS],
    )
    return statement


async def _asked(meeting: Meeting, place: int, system: str, text: str) -> tuple[str, str]:
    """(what was said, by which backend): of the member's node, else of this node in its role."""
    seat, toolbox = meeting.design.members[place], meeting.toolbox
    tokens = CODE_TOKENS if seat.code else STATEMENT_TOKENS
    node = meeting.nodes.get(seat.speciality)
    if node is not None:
        try:
            answer = await toolbox.ask_peer(
                node, text, instructions=system, max_tokens=tokens, within_s=max(LEAST_ROUND_S, meeting.time_left_s())
            )
        except (BudgetExceeded, DeadlineExceeded):
            raise
        except AgentError as error:  # whatever is wrong with a peer is no fault of the request
            meeting.nodes.pop(seat.speciality, None)
            toolbox.note("committee", state="stood in for", member=seat.speciality, node=node, error=error.code)
        else:
            return answer.text, answer.backend
    request = ChatRequest(
        messages=({"role": "system", "content": system}, {"role": "user", "content": text}),
        params={**_kept(inner(meeting.work).params), "max_tokens": tokens},
    )
    reply = await toolbox.ask(request, choice_of_seat(meeting.choice, toolbox.backends, place, seat))
    return reply.text, reply.backend


def instructions(design: Design, seat: Seat) -> str:
    """What a member is told of itself. Pure."""
    others = ", ".join(other.speciality for other in design.members if other is not seat)
    return render("committee_member", speciality=seat.speciality, task=seat.task, others=others or "none", words=str(WORDS))


def choice_of_seat(choice: Choice, backends: Sequence[BackendSpec], place: int, seat: Seat) -> Choice:
    """Different members ask different backends first, so that they differ in more than their names; one that writes code asks
    those that can. A backend that the client named stays the one. Pure."""
    if choice.backend is not None:
        return choice
    if seat.code:
        return replace(choice, preferred=(), tier="quality", needs=choice.needs | {"code"})
    return replace(choice, preferred=spread(backends, place), tier=None)


def spread(backends: Sequence[BackendSpec], place: int) -> tuple[str, ...]:
    """All backends, those of ``place`` first, cheapest first in the first seat. Pure."""
    names = [spec.name for spec in by_price(backends) if spec.weight > 0] or [spec.name for spec in by_price(backends)]
    at = place % len(names) if names else 0
    return (*names[at:], *names[:at])


def read_statement(member: str, round_: int, said: str) -> Statement:
    """A statement and the side that it takes at its end. Pure; bounded."""
    text = said.strip()
    sides = list(_SIDE.finditer(text[-2_000:]))
    if not sides or round_ == 0:
        return Statement(member=member, round=round_, text=text[:MAX_STATEMENT_CHARS])
    side, rest = sides[-1][1], " ".join(sides[-1][2].split())
    objects = side == "OBJECT"
    return Statement(
        member=member,
        round=round_,
        text=text[:MAX_STATEMENT_CHARS],
        agrees=not objects,
        objection=(rest or "it does not say what")[:MAX_OBJECTION_CHARS] if objects else "",
    )


# ── what is told ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _limit(meeting: Meeting) -> int:
    """Characters of discussion in one prompt, so that it fits the smallest context among the backends."""
    windows = [spec.context_tokens for spec in meeting.toolbox.backends if spec.context_tokens]
    return max(LEAST_SAID_CHARS, min([MAX_SAID_CHARS, *(window * CHARS_A_TOKEN // 3 for window in windows)]))


def _told(statements: Sequence[Statement], limit: int | None = None) -> str:
    """Statements as text, each cut to its part of ``limit`` characters (None: whole)."""
    each = MAX_STATEMENT_CHARS if limit is None else max(200, limit // max(1, len(statements)) - 60)
    parts = []
    for one in statements:
        text = one.text if len(one.text) <= each else one.text[:each] + " [cut]"
        parts.append(f"{one.member} (round {one.round}):\n{text}" if one.round else f"{one.member}:\n{text}")
    return "\n\n".join(parts)


def _kept(params: Mapping[str, Json]) -> dict[str, Json]:
    """Of the client's parameters what also makes sense for a member: how it draws, not how long the answer is."""
    return {name: params[name] for name in ("temperature", "top_p", "seed") if name in params}
