"""Who sits in a committee: asked of a model, read strictly, and by rule where none can design one.

Called by meeting.py. What a model proposes is bounded here; a proposal that makes no committee is not used. A small model fills
the form and designs nonsense ("battle_ships" for a harbour in a storm), so that only one that declares ``plan`` is asked, and the
rules are a full alternative and not an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from agents.committee.records import Design
from agents.llm.chat import BackendSpec, ChatRequest
from agents.llm.prompts import render
from agents.llm.selection import find
from agents.quality.constraints import to_rules, within
from agents.records import AgentError, Choice, DeadlineExceeded, Json, Work
from agents.strategies.judging import schema_of
from agents.strategies.problem import classify, names_statistics
from agents.strategies.runner import choice_for, request_text
from agents.strategy_specs import Committee, Seat
from agents.toolbox import Toolbox

LEAST: Final = 3
DESIGN_SHARE: Final = 0.25
"""Of the time that there is, so much may go into the design."""
MAX_REQUEST_CHARS: Final = 12_000
MAX_FORM_CHARS: Final = 6_000
MAX_SPECIALITY_CHARS: Final = 80
MAX_TASK_CHARS: Final = 300

DOMAIN: Final = Seat(speciality="Domain expert", task="Know what is true and usual in the field that the request is about.")
STRUCTURE: Final = Seat(speciality="Structure designer", task="See that every part of the form is filled, and that parts agree.")
FIGURES: Final = Seat(speciality="Statistics checker", task="See that numbers and their distributions are plausible and exact.")
CHECKER: Final = Seat(speciality="Critical reader", task="Look for what is wrong, missing or contradicts the request.")
PLANNER: Final = Seat(speciality="Analyst", task="Take the request apart into its questions, and say how to answer each.")
PROGRAMMER: Final = Seat(speciality="Program writer", task="Write the program that computes what must be exact.", code=True)


def form_text(work: Work) -> str:
    """The form, the rules and the constraints of an answer, in words for a member; "" where it has none. Pure."""
    lines = []
    if work.schema is not None:
        lines.append(f"The form of the answer (JSON Schema): {orjson.dumps(work.schema, default=dict).decode()[:MAX_FORM_CHARS]}")
    rules = (*work.rules, *to_rules(within(work.constraints, work.schema)))
    lines += [f"- {rule}" for rule in rules][:50]
    return "\n".join(lines)


def question_of(work: Work) -> str:
    """The words of the request, as members and designers read them."""
    return request_text(work.messages, MAX_REQUEST_CHARS)


def computes(work: Work, backends: Sequence[BackendSpec]) -> bool:
    """Whether a member should write a program: something is to be computed, and a backend can write one."""
    return any("code" in spec.capabilities for spec in backends) and classify(work).kind != "pattern"


def by_rule(work: Work, *, size: int, rounds: int, code: bool) -> Design:
    """A committee that fits the form of the request; the first seats matter most. Pure."""
    seats = [DOMAIN, STRUCTURE if work.schema is not None else PLANNER]
    if code:
        seats.append(PROGRAMMER)
    if names_statistics(work):
        seats.append(FIGURES)
    seats.append(CHECKER)
    return Design(members=tuple(seats[: max(2, size)]), rounds=rounds, origin="rules")


async def designed(work: Work, spec: Committee, toolbox: Toolbox, choice: Choice) -> Design:
    """The committee for ``work``: the given one, one that did well before, a model's, or that of the rules.

    Never more than ``size`` members and ``rounds`` rounds. A designer that takes more than a quarter of the time is not waited
    for. Raises DeadlineExceeded.
    """
    if spec.members:
        return Design(members=spec.members, rounds=spec.rounds, origin="given")
    code = computes(work, toolbox.backends)
    default = by_rule(work, size=spec.size, rounds=spec.rounds, code=code)
    pooled = await toolbox.pooled_design(question_of(work))
    if pooled is not None:
        return _fitted(replace(pooled, origin="pooled"), spec, code=code)
    if spec.designer is None:
        return default
    asked = choice_for(spec.designer, choice)
    if spec.designer.backend is None and not _can_design(toolbox.backends, asked):
        toolbox.note("committee", state="not designed", error="no backend declares plan", instead="by rule")
        return default
    try:
        async with asyncio.timeout(DESIGN_SHARE * toolbox.remaining_s()):
            said = (await toolbox.ask_structured(_question(work, spec), replace(asked, needs=asked.needs | {"plan"}))).data
    except DeadlineExceeded:
        raise
    except (AgentError, TimeoutError) as error:
        why = error.code if isinstance(error, AgentError) else "it took too long"
        toolbox.note("committee", state="not designed", error=why, instead="by rule")
        return default
    found = read_design(said, spec, code=code)
    if found is None:
        toolbox.note("committee", state="not designed", error="the design makes no committee", instead="by rule")
    return found or default


def read_design(said: Json, spec: Committee, *, code: bool) -> Design | None:
    """A model's design within the bounds; None where it makes no committee of different members. Pure."""
    if not isinstance(said, dict) or not isinstance(said.get("members"), list):
        return None
    seats: dict[str, Seat] = {}
    for one in said["members"][: 2 * spec.size]:
        seat = _seat(one)
        if seat is not None:
            seats.setdefault(seat.speciality.casefold(), seat)
    rounds = said.get("rounds")
    wanted = rounds if isinstance(rounds, int) and not isinstance(rounds, bool) and rounds > 0 else spec.rounds
    design = Design(members=tuple(seats.values()), rounds=min(wanted, spec.rounds), origin="model")
    chair = _line(said.get("chairperson"), MAX_SPECIALITY_CHARS)
    design = replace(design, chair=chair) if chair else design
    return _fitted(design, spec, code=code) if len(seats) >= min(LEAST, spec.size) else None


def _fitted(design: Design, spec: Committee, *, code: bool) -> Design:
    """Within ``size`` and ``rounds``; one member writes a program where that makes sense, else none."""
    members = [replace(seat, code=False) for seat in design.members[: spec.size]]
    writer = next((place for place, seat in enumerate(design.members[: spec.size]) if seat.code), None)
    if code and writer is not None:
        members[writer] = replace(members[writer], code=True)
    elif code and len(members) < spec.size:
        members.append(PROGRAMMER)
    return replace(design, members=tuple(members), rounds=min(design.rounds, spec.rounds))


def _seat(one: Any) -> Seat | None:
    if not isinstance(one, dict):
        return None
    speciality = _line(one.get("speciality"), MAX_SPECIALITY_CHARS)
    if not any(letter.isalpha() for letter in speciality):
        return None
    return Seat(speciality=speciality, task=_line(one.get("task"), MAX_TASK_CHARS), code=one.get("writes_code") is True)


def _line(value: Any, most: int) -> str:
    """One line of text; "" for anything else."""
    return " ".join(value.split())[:most] if isinstance(value, str) else ""


def _can_design(backends: Sequence[BackendSpec], choice: Choice) -> bool:
    """Whether whoever would be asked declares ``plan``: a model that cannot design one fills the form with nonsense."""
    named = find(backends, choice.backend) if choice.backend is not None else None
    return any("plan" in spec.capabilities for spec in ([named] if named is not None else backends))


def _question(work: Work, spec: Committee) -> ChatRequest:
    member = schema_of(
        speciality={"type": "string", "maxLength": MAX_SPECIALITY_CHARS},
        task={"type": "string", "maxLength": MAX_TASK_CHARS},
        writes_code={"type": "boolean"},
    )
    least = min(LEAST, spec.size)
    form = schema_of(
        members={"type": "array", "minItems": least, "maxItems": spec.size, "items": member},
        chairperson={"type": "string", "maxLength": MAX_SPECIALITY_CHARS},
        rounds={"type": "integer", "minimum": min(1, spec.rounds), "maximum": spec.rounds},
    )
    system = render("committee_design", least=str(least), most=str(spec.size), rounds=str(spec.rounds))
    user = f"The request:\n{question_of(work)}\n\n{form_text(work)}".strip()
    return ChatRequest(
        messages=({"role": "system", "content": system}, {"role": "user", "content": user}),
        schema=form,
        schema_name="committee_design",
    )
