"""How a committee ends when something goes wrong: members, time, money, the gate, the program."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.committee.means import CHAIR_CALLS, CallEstimate, afforded
from agents.committee.records import Design
from agents.llm.chat import ChatRequest
from agents.records import (
    BackendFailed,
    BudgetExceeded,
    Choice,
    DeadlineExceeded,
    Json,
    NodeLost,
    NotFound,
    Work,
)
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.compose import parse_strategy, run_strategy
from agents.strategy_specs import Seat
from agents.verdicts import Constraint
from sandbox.records import RunResult
from tests.fakes.committee import ASK, CODER, THREE, model, run, told
from tests.fakes.toolbox import CHEAP, JUDGE, FakeToolbox, texts

# ── members that fail, disagree, or are slow ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [NodeLost("gone"), NotFound("parked"), BackendFailed("down")])
async def test_a_node_that_fails_is_stood_in_for_by_a_role_for_good(error: Exception) -> None:
    asked = []

    def peer(question: str) -> Any:
        asked.append(question)
        return error

    draft, box = await run(model(), {"members": THREE, "rounds": 1}, peers={"node-1": peer})
    assert draft.complete
    assert len(asked) == 1, "it is not asked again"
    assert told(box, "stood in for")[0]["member"] == "Pilot"
    assert {one["member"] for one in told(box, "contributed")} == set(THREE)


async def test_a_role_that_fails_is_silent_in_its_round_and_may_speak_again() -> None:
    def say(member: str, round_: int) -> Json:
        return BackendFailed("down") if member == "Clerk" and round_ == 0 else f"{member}.\nAGREE"

    draft, box = await run(model(say), {"members": THREE, "rounds": 1})
    assert [one["member"] for one in told(box, "silent")] == ["Clerk"]
    assert [one["member"] for one in told(box, "said")] == THREE
    assert draft.issues == ()


async def test_a_member_that_never_spoke_is_named_in_an_issue() -> None:
    def say(member: str, round_: int) -> Json:
        return BackendFailed("down") if member == "Clerk" else f"{member}.\nAGREE"

    draft, box = await run(model(say), {"members": THREE, "rounds": 1})
    assert draft.complete
    assert "1 of 3 members of the committee gave no contribution: Clerk" in draft.issues
    assert told(box, "discussed")[0]["ended"] == "agreed"


async def test_without_a_quorum_the_chairperson_answers_alone_and_says_so() -> None:
    draft, box = await run(model(lambda member, round_: BackendFailed("down") if member != "Pilot" else "Here."))
    assert draft.text == "They wait."
    assert "1 of 3 members contributed, so that the chairperson answered alone" in draft.issues
    assert not told(box, "discussed", "gate")
    assert [passed for _, passed in box.dissolved] == [False]


@pytest.mark.parametrize("critic", [(), [["vague"], []]])
async def test_disagreement_ends_with_the_last_round_and_the_chairpersons_word(critic: Any) -> None:
    def say(member: str, round_: int) -> str:
        return "Hm.\nOBJECT: the tide" if member == "Pilot" and round_ > 0 else "Hm.\nAGREE"

    draft, box = await run(model(say, critic=critic), {"members": THREE, "rounds": 2})
    (discussed,) = told(box, "discussed")
    assert (discussed["ended"], discussed["objections"]) == ("rounds", {"Pilot": "the tide"})
    assert draft.complete
    assert draft.issues == ("the committee did not agree after 2 rounds (Pilot objected); the chairperson decided",)


async def test_a_round_that_reaches_into_the_chairpersons_time_is_cut_off() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        return "late"

    now = iter([0.2, 0.2, 0.2])

    def left() -> float:
        return next(now, 0.1)

    def say(member: str, round_: int) -> Json:
        return never() if member == "Clerk" else f"{member}."

    draft, box = await run(model(say), {"members": THREE, "rounds": 3}, left_s=left)
    assert draft.text == "They wait."
    assert told(box, "silent")[0] == {"state": "silent", "member": "Clerk", "round": 0, "why": "too slow"}
    assert told(box, "discussed")[0]["ended"] == "time"
    assert not told(box, "said"), "no round begins when time has ended"
    assert box.active == 0, "nobody is still being asked"


async def test_a_committee_that_nobody_waits_for_any_more_is_dissolved() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        return "late"

    box = FakeToolbox(model(lambda member, round_: never()), max_parallel=8, checks=False)
    spec = parse_strategy({"committee": {"members": THREE}}, named={})
    task = asyncio.ensure_future(run_strategy(Work(messages=ASK), spec, box, Choice(), visible=True))
    while box.active < 3:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [passed for _, passed in box.dissolved] == [False]
    assert box.active == 0


# ── money and time ──────────────────────────────────────────────────────────────────────────────────────────────────────

ONE = CallEstimate(usd=0.01, chair_usd=0.02, tokens=1_000)
FOUR = Design(members=tuple(Seat(speciality=name) for name in "abcd"), rounds=3, origin="rules")


@pytest.mark.parametrize(
    ("usd", "tokens", "expected"),
    [
        (None, None, (4, 3)),
        (0.16 + 0.08, None, (4, 3)),
        (0.12 + 0.08, None, (4, 2)),
        (0.04 + 0.08, None, (4, 0)),
        (0.03 + 0.08, None, (3, 0)),
        (0.02 + 0.08, None, (2, 0)),
        (0.09, None, None),
        (None, 20_000, (4, 3)),
        (None, 8_000, (4, 0)),
        (None, 5_999, None),
        (None, 0, None),
    ],
)
def test_a_committee_is_as_large_as_can_be_paid(usd: float | None, tokens: int | None, expected: tuple[int, int] | None) -> None:
    found = afforded(FOUR, ONE, None if usd is None else usd + 1e-9, tokens)
    assert (None if found is None else (len(found.members), found.rounds)) == expected


@given(st.integers(2, 8), st.integers(0, 5), st.floats(0, 2), st.integers(0, 100_000))
def test_no_committee_is_planned_beyond_its_means(members: int, rounds: int, usd: float, tokens: int) -> None:
    seats = tuple(Seat(speciality=str(number), code=number == 0) for number in range(members))
    found = afforded(Design(members=seats, rounds=rounds, origin="rules"), ONE, usd, tokens)
    if found is not None:
        calls = len(found.members) * (1 + found.rounds)
        assert calls * ONE.usd + CHAIR_CALLS * ONE.chair_usd <= usd
        assert (calls + CHAIR_CALLS) * ONE.tokens <= tokens
        assert found.members[0].code, "whoever writes the program stays"


async def test_without_money_for_a_committee_one_model_answers() -> None:
    draft, box = await run(model(), {}, usd=1e-9)
    assert draft.text == "They wait."
    assert "the budget does not pay for a committee; one model answered" in draft.issues
    assert len(box.asked) == 1
    assert not box.dissolved


async def test_a_refused_call_ends_the_discussion_and_the_answer_is_written() -> None:
    def say(member: str, round_: int) -> Json:
        return BudgetExceeded("spent") if round_ == 1 and member == "Clerk" else f"{member}.\nOBJECT: more"

    draft, box = await run(model(say), {"members": THREE, "rounds": 3})
    (discussed,) = told(box, "discussed")
    assert (discussed["rounds"], discussed["ended"]) == (1, "budget")
    assert draft.text == "They wait."


@pytest.mark.parametrize("error", [DeadlineExceeded("over"), BudgetExceeded("spent")])
async def test_a_chairperson_without_time_or_money_leaves_a_members_word_as_partial(error: Exception) -> None:
    draft, box = await run(model(chair=error), {"members": THREE, "rounds": 0})
    assert draft.text.startswith("Clerk proposes.")
    assert not draft.complete
    assert "partial: the chairperson could not answer" in draft.issues[0]
    assert [passed for _, passed in box.dissolved] == [False]
    shape = parse_shape({"port": "string"}, limits=ShapeLimits())
    with pytest.raises(type(error)):
        await run(model(chair=error), {"members": THREE, "rounds": 0}, work=Work(messages=ASK, schema=shape))


async def test_another_failure_of_the_chairperson_is_the_requests_error() -> None:
    with pytest.raises(BackendFailed):
        await run(model(chair=BackendFailed("down")))


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_answer_that_does_not_pass_is_revised_once_with_the_members_remarks() -> None:
    answer = model(
        lambda member, round_: f"{member} says: name the port." if round_ == -1 else f"{member}.\nAGREE",
        chair=["They wait.", "They wait at Kilrush."],
        critic=[["no port is named"], []],
    )
    draft, box = await run(answer)
    assert (draft.text, draft.complete, draft.issues) == ("They wait at Kilrush.", True, ())
    revising = next(texts(request) for request, _, _ in box.asked if "Give the complete answer again" in texts(request))
    assert "no port is named" in revising
    assert "Pilot says: name the port." in revising
    assert [passed for _, passed in box.dissolved] == [True]


async def test_a_revision_that_makes_it_worse_is_undone_and_what_is_wrong_is_said() -> None:
    draft, box = await run(model(chair=["They wait.", "They sail."], critic=[["vague"], ["vague", "wrong"]]))
    assert draft.text == "They wait."
    assert "vague" in draft.issues
    assert told(box, "undone")
    assert [passed for _, passed in box.dissolved] == [False]


async def test_there_is_one_revision_and_no_second() -> None:
    draft, box = await run(model(chair=["one", "two", "three"], critic=[["bad"], ["bad"], ["bad"]]))
    assert draft.text == "two"
    assert len(told(box, "gate", "revised")) == 2


async def test_a_revision_that_fails_leaves_the_first_answer() -> None:
    draft, box = await run(model(chair=["They wait.", BudgetExceeded("spent")], critic=[["vague"]]))
    assert (draft.text, draft.complete) == ("They wait.", True)
    assert "vague" in draft.issues
    assert told(box, "not revised")[0]["why"] == "time or money has ended"


# ── the member that writes a program ────────────────────────────────────────────────────────────────────────────────────

FIGURES = ({"role": "user", "content": "Calculate the mean and the standard deviation of 3, 5, 8 and 11 metres of swell."},)
SWELL = parse_shape({"mean": 0.5, "deviation": 0.5}, limits=ShapeLimits())
HELD = (Constraint(kind="range", field="mean", value=[1, 11]),)
CHECKED = Work(messages=FIGURES, schema=SWELL, constraints=HELD)
PROGRAM = '```json\n{}\n```\n```python\ndef run(inputs):\n    return {"result": {}, "checks": {"made": True}}\n```'


def programmed(*results: Json) -> Callable[[str, Json], RunResult]:
    left = list(results)

    def ran(code: str, inputs: Json) -> RunResult:
        value = left.pop(0) if len(left) > 1 else left[0]
        return RunResult(value={"result": value, "checks": {"made": True}})

    return ran


def writer() -> Any:
    talk = model(chair={"mean": 1.0, "deviation": 1.0})

    def answer(request: ChatRequest, choice: Choice) -> Json:
        return PROGRAM if "defines run" in texts(request) else talk(request, choice)

    return answer


BODY = {"members": ["Oceanographer", {"speciality": "Program writer", "code": True}], "rounds": 0}
POOL = (CHEAP, CODER, JUDGE)


async def test_what_the_program_computes_is_the_answer() -> None:
    right = {"mean": 6.75, "deviation": 3.5}
    draft, box = await run(writer(), BODY, work=CHECKED, backends=POOL, runner=programmed(right))
    assert (draft.data, draft.complete) == (right, True)
    assert draft.code is not None
    assert told(box, "answered")[0]["by"] == "program"
    needs = [choice.needs for request, choice, _ in box.asked if "defines run" in texts(request)]
    assert needs == [frozenset({"code"})]


async def test_a_program_that_fails_is_repaired_once_then_the_chairperson_is_told() -> None:
    right = {"mean": 6.75, "deviation": 3.5}
    draft, _ = await run(writer(), BODY, work=CHECKED, backends=POOL, runner=programmed("no", right))
    assert draft.data == right
    draft, box = await run(writer(), BODY, work=CHECKED, backends=POOL, runner=programmed("no"))
    assert len(box.runs) == 2
    assert draft.data == {"mean": 1.0, "deviation": 1.0}
    assert told(box, "program")[0]["outcome"] == "failed"
    chair = next(texts(request) for request, _, _ in box.asked if "you are its chairperson" in texts(request))
    assert "do not rely on its numbers" in chair


async def test_a_result_that_nothing_of_ours_can_check_is_only_told_to_the_chairperson() -> None:
    work = Work(messages=FIGURES, schema=SWELL)
    draft, box = await run(writer(), BODY, work=work, backends=POOL, runner=programmed({"mean": 99.0, "deviation": 3.5}))
    assert draft.data == {"mean": 1.0, "deviation": 1.0}
    chair = next(texts(request) for request, _, _ in box.asked if "you are its chairperson" in texts(request))
    assert "99.0" in chair


async def test_without_a_sandbox_the_chairperson_answers() -> None:
    draft, box = await run(writer(), BODY, work=CHECKED, backends=POOL)
    assert draft.data == {"mean": 1.0, "deviation": 1.0}
    assert told(box, "program")[0]["outcome"] == "not run"
