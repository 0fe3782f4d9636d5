"""A model that plays every part of a committee, and what is asked of it: for tests of committees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agents.llm.chat import BackendSpec, ChatRequest
from agents.records import (
    Choice,
    Draft,
    Json,
    Work,
)
from agents.strategies.compose import parse_strategy, run_strategy
from tests.fakes.toolbox import CHEAP, JUDGE, FakeToolbox, texts

ASK = ({"role": "user", "content": "How should a harbour schedule ferries in a storm, and why?"},)
THREE: Json = ["Pilot", "Weather reader", "Clerk"]
CODER = BackendSpec(name="coder", output_usd_per_mtok=3.0, capabilities=frozenset({"words", "code", "json_schema"}))
PLANNERS = (CHEAP, replace(JUDGE, capabilities=JUDGE.capabilities | {"plan"}))
DESIGN = {
    "members": [
        {"speciality": "Pilot", "task": "Know the water.", "writes_code": False},
        {"speciality": "Weather reader", "task": "Know the wind.", "writes_code": False},
        {"speciality": "Clerk", "task": "Know the timetable.", "writes_code": False},
    ],
    "chairperson": "Harbour master",
    "rounds": 2,
}

Say = Callable[[str, int], Json]
"""What a member says, by its speciality and the round (0: its contribution)."""


def member_of(request: ChatRequest) -> str | None:
    system = str(request.messages[0].get("content"))
    return system.split("Your speciality: ")[1].split(". ")[0] if "Your speciality: " in system else None


def model(
    say: Say = lambda member, round_: f"{member} proposes.\nAGREE",
    chair: Any = "They wait.",
    critic: Any = (),
    design: Json = None,
) -> Callable[[ChatRequest, Choice], Json]:
    """A model that plays every part; a list says one thing after the other."""
    heard = {"chair": list(chair) if isinstance(chair, list) else [chair], "critic": [*critic] if critic else [[]]}

    def next_of(part: str) -> Any:
        return heard[part].pop(0) if len(heard[part]) > 1 else heard[part][0]

    def answer(request: ChatRequest, choice: Choice) -> Json:
        said = texts(request)
        if request.schema_name == "committee_design":
            return DESIGN if design is None else design
        if request.schema_name == "critique":
            found = next_of("critic")
            return found if isinstance(found, BaseException) else {"issues": found}
        if (member := member_of(request)) is not None:
            round_ = int(said.split("This is round ")[1].split(" ")[0]) if "This is round " in said else 0
            return say(member, -1 if "It did not pass" in said else round_)
        return next_of("chair")

    return answer


async def run(
    answer: Any, body: Json = None, *, work: Work | None = None, choice: Choice | None = None, **box: Any
) -> tuple[Draft, FakeToolbox]:
    toolbox = FakeToolbox(answer, **{"backends": PLANNERS, "checks": False, "max_parallel": 8, **box})
    spec = parse_strategy({"committee": {"members": THREE} if body is None else body}, named={})
    draft = await run_strategy(work or Work(messages=ASK), spec, toolbox, choice or Choice(), visible=True)
    return draft, toolbox


def told(box: FakeToolbox, *states: str) -> list[dict[str, Json]]:
    return [data for kind, data in box.notes if kind == "committee" and data.get("state") in states]
