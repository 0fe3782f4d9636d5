"""Committees: who sits in one, what is said, how it is concluded, and within which bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.committee.design import by_rule, designed, read_design
from agents.committee.records import Design
from agents.committee.talk import read_statement, spread
from agents.llm.chat import BackendSpec, ChatRequest
from agents.records import (
    BackendFailed,
    BudgetExceeded,
    Choice,
    DeadlineExceeded,
    InvalidRequest,
    Json,
    StructuredFailed,
    Work,
)
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.compose import parse_strategy
from agents.strategy_specs import Committee, Seat, Single, draws_samples
from tests.fakes.committee import ASK, DESIGN, PLANNERS, THREE, member_of, model, run, told
from tests.fakes.toolbox import CHEAP, JUDGE, FakeToolbox, texts

# ── a committee that goes well ──────────────────────────────────────────────────────────────────────────────────────────


async def test_members_contribute_discuss_until_they_agree_and_the_chairperson_concludes() -> None:
    def say(member: str, round_: int) -> str:
        if round_ == 0:
            return f"{member} proposes."
        return "No.\nOBJECT: the tide" if member == "Pilot" and round_ == 1 else "Fine.\n**AGREE**"

    draft, box = await run(model(say), {"members": THREE, "rounds": 3})
    assert (draft.text, draft.complete, draft.issues) == ("They wait.", True, ())
    assert [one["member"] for one in told(box, "contributed")] == ["Pilot", "Weather reader", "Clerk"]
    (discussed,) = told(box, "discussed")
    assert (discussed["rounds"], discussed["ended"], discussed["objections"]) == (2, "agreed", {})
    chair = next(texts(request) for request, _, _ in box.asked if "you are its chairperson" in texts(request))
    assert "Pilot proposes." in chair
    assert "OBJECT: the tide" in chair
    assert ASK[0]["content"] in chair
    assert [one["passed"] for one in told(box, "gate")] == [True]
    assert [passed for _, passed in box.dissolved] == [True]
    assert not any(visible for _, _, visible in box.asked), "nothing goes out before the gate"


async def test_each_round_hears_what_all_said_before() -> None:
    _, box = await run(model(lambda member, round_: f"{member} in {round_}.\nOBJECT: more"), {"members": THREE, "rounds": 2})
    second = [texts(request) for request, _, _ in box.asked if "This is round 2" in texts(request)]
    assert len(second) == 3
    for said in second:
        assert all(f"{member} in {round_}." in said for member in THREE for round_ in (0, 1))


async def test_members_ask_different_backends_and_a_named_one_stays_the_one() -> None:
    _, box = await run(model(), {"members": THREE, "rounds": 0})
    first = [choice.preferred[0] for request, choice, _ in box.asked if member_of(request)]
    assert first == ["cheap", "judge", "cheap"]
    draft, box = await run(
        model(), {"members": THREE, "rounds": 0}, choice=Choice(backend="judge", fallback=False), peers={"n": str}
    )
    assert draft.complete
    assert {choice.backend for request, choice, _ in box.asked if member_of(request)} == {"judge"}
    assert told(box, "formed")[0]["members"][0]["by"] == "role"


async def test_peers_take_seats_and_roles_take_the_rest() -> None:
    questions: list[str] = []

    def peer(question: str) -> str:
        questions.append(question)
        return "From afar.\nAGREE"

    _, box = await run(model(), {"members": THREE, "rounds": 1}, peers={"node-7": peer})
    assert len(questions) == 2
    seats = told(box, "formed")[0]["members"]
    assert [(seat["by"], seat["node"]) for seat in seats] == [("warm", "node-7"), ("role", None), ("role", None)]
    assert {(one["member"], one["node"], one["backend"]) for one in told(box, "contributed")} >= {("Pilot", "node-7", "theirs")}
    assert told(box, "dissolved")[0]["nodes"] == ["node-7"]


async def test_a_shaped_answer_is_checked_and_kept() -> None:
    shape = parse_shape({"port": "string", "seats": 0}, limits=ShapeLimits())
    draft, box = await run(
        model(chair=[{"port": "Kilrush"}, {"port": "Kilrush", "seats": 9}]), work=Work(messages=ASK, schema=shape), checks=True
    )
    assert draft.data == {"port": "Kilrush", "seats": 9}
    assert (draft.complete, draft.issues) == (True, ())
    assert [one["passed"] for one in told(box, "gate", "revised")] == [False, True]


# ── the design ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_model_designs_the_committee_within_the_bounds() -> None:
    _, box = await run(model(design={**DESIGN, "rounds": 9}), {"rounds": 1})
    formed = told(box, "formed")[0]
    assert (formed["designed"], formed["chair"], formed["rounds"]) == ("model", "Harbour master", 1)
    assert [seat["speciality"] for seat in formed["members"]] == THREE


@pytest.mark.parametrize(
    "said",
    [
        BackendFailed("down"),
        StructuredFailed("no JSON"),
        {"members": []},
        {"members": [{"speciality": "One", "task": "", "writes_code": False}] * 5, "chairperson": "", "rounds": 3},
        {"members": "all of them", "chairperson": "x", "rounds": 1},
        {"members": [{"speciality": 7}, {"speciality": "12"}, None]},
    ],
)
async def test_a_design_that_fails_is_replaced_by_the_rules(said: Any) -> None:
    draft, box = await run(model(design=said), {"rounds": 1})
    assert draft.text == "They wait."
    formed = told(box, "formed")[0]
    assert formed["designed"] == "rules"
    assert len(formed["members"]) == 3
    assert told(box, "not designed")


async def test_a_pooled_design_saves_the_question() -> None:
    pooled = Design(members=(Seat(speciality="Pilot"), Seat(speciality="Clerk")), rounds=5, origin="model")
    _, box = await run(model(), {"rounds": 1}, design=pooled)
    formed = told(box, "formed")[0]
    assert (formed["designed"], formed["rounds"]) == ("pooled", 1)
    assert not [request for request, _, _ in box.asked if request.schema_name == "committee_design"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=200),
        lambda inner: (
            st.lists(inner, max_size=6)
            | st.dictionaries(
                st.sampled_from(["members", "speciality", "task", "writes_code", "chairperson", "rounds", "x"]), inner
            )
        ),
        max_leaves=30,
    ),
    st.integers(2, 8),
    st.integers(0, 5),
    st.booleans(),
)
def test_whatever_a_model_designs_is_a_bounded_committee_or_none(said: Json, size: int, rounds: int, code: bool) -> None:
    design = read_design(said, Committee(size=size, rounds=rounds), code=code)
    if design is not None:
        assert 2 <= len(design.members) <= size
        assert 0 <= design.rounds <= rounds
        assert len({seat.speciality.casefold() for seat in design.members}) == len(design.members)
        assert sum(seat.code for seat in design.members) <= int(code)


def test_the_rules_seat_whom_the_form_needs() -> None:
    plain = by_rule(Work(messages=ASK), size=5, rounds=3, code=False)
    assert [seat.speciality for seat in plain.members] == ["Domain expert", "Analyst", "Critical reader"]
    shape = parse_shape({"mean": 0.5}, limits=ShapeLimits())
    figures = ({"role": "user", "content": "The mean and standard deviation of wave heights"},)
    whole = by_rule(Work(messages=figures, schema=shape), size=5, rounds=3, code=True)
    assert [seat.code for seat in whole.members].count(True) == 1
    assert "Statistics checker" in [seat.speciality for seat in whole.members]
    assert len(by_rule(Work(messages=figures, schema=shape), size=2, rounds=3, code=True).members) == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"members": ["Pilot"]}, "2 to 8 members"),
        ({"members": ["Pilot", "pilot"]}, "the same speciality"),
        ({"members": [{"speciality": "A", "code": True}, {"speciality": "B", "code": True}]}, "at most one member"),
        ({"rounds": 9}, "from 0 to 5"),
        ({"members": [{"task": "x"}, "Pilot"]}, "speciality is missing"),
        ({"chair": {"single": {"backend": "x" * 99}}}, "committee.chair.single.backend"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(body: Json, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_strategy({"committee": body}, named={})
    assert words in caught.value.message
    assert caught.value.message.startswith("strategy.committee")


# ── bounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_long_discussion_is_summed_up_and_every_prompt_is_bounded() -> None:
    def say(member: str, round_: int) -> str:
        return f"{member} {'word ' * 2_000}\nOBJECT: more"

    talk = model(say)

    def answer(request: ChatRequest, choice: Choice) -> Json:
        return "In short: wait." if "Summarise what a committee" in texts(request) else talk(request, choice)

    draft, box = await run(answer, {"members": ["A1", "B2", "C3", "D4", "E5"], "rounds": 4})
    assert draft.text == "They wait."
    assert max(len(texts(request)) for request, _, _ in box.asked) < 20_000
    later = [texts(request) for request, _, _ in box.asked if "This is round 3" in texts(request)]
    assert all("In short: wait." in said for said in later)
    assert all(len(str(data.get("text", ""))) <= 1_500 for _, data in box.notes)


async def test_a_small_context_bounds_what_is_told() -> None:
    small = BackendSpec(name="small", context_tokens=2_000, capabilities=frozenset({"words"}))
    _, box = await run(model(lambda m, r: f"{m} {'word ' * 900}\nOBJECT: x"), {"members": THREE, "rounds": 2}, backends=(small,))
    assert max(len(texts(request)) for request, _, _ in box.asked if "This is round" in texts(request)) < 4_500


async def test_a_count_is_met_by_one_committee() -> None:
    shape = parse_shape({"ships": [{"name": "string"}]}, limits=ShapeLimits())
    assert draws_samples(Committee())
    talk = model()

    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema is not None and not request.schema_name.startswith(("committee", "critique")):
            asked = request.schema["properties"]["ships"]["minItems"]
            return {"ships": [{"name": f"ship {number}"} for number in range(asked)]}
        return talk(request, choice)

    draft, box = await run(answer, {"members": THREE, "rounds": 0}, work=Work(messages=ASK, schema=shape, count=12))
    assert len(draft.data["ships"]) == 12
    assert len(told(box, "formed")) == 1


@pytest.mark.parametrize(
    ("text", "agrees", "objection"),
    [
        ("Fine.\nAGREE", True, ""),
        ("Fine.\n**AGREE.**", True, ""),
        ("I agree with all.", None, ""),
        ("No.\n- OBJECT: the tide is wrong", False, "the tide is wrong"),
        ("OBJECT: a\nlater\nAGREE", True, ""),
        ("No.\nOBJECT", False, "it does not say what"),
        ("AGREEMENT is far", None, ""),
    ],
)
def test_the_side_that_a_member_takes(text: str, agrees: bool | None, objection: str) -> None:
    said = read_statement("Pilot", 1, text)
    assert (said.agrees, said.objection) == (agrees, objection)
    assert read_statement("Pilot", 0, text).agrees is None, "a contribution takes no side"


def test_every_seat_begins_with_another_backend() -> None:
    assert [spread((JUDGE, CHEAP), place) for place in range(3)] == [("cheap", "judge"), ("judge", "cheap"), ("cheap", "judge")]
    assert spread((), 1) == ()


def planning(answer: Any, **more: Any) -> FakeToolbox:
    return FakeToolbox(answer, backends=PLANNERS, **more)


async def test_only_a_model_that_can_plan_is_asked_for_a_design() -> None:
    box = FakeToolbox(model())
    assert (await designed(Work(messages=ASK), Committee(), box, Choice())).origin == "rules"
    assert not box.asked
    box = planning(model())
    assert (await designed(Work(messages=ASK), Committee(), box, Choice(backend="cheap"))).origin == "rules"
    assert (await designed(Work(messages=ASK), Committee(), box, Choice(backend="judge"))).origin == "model"
    own = Committee(designer=Single(backend="cheap"))
    assert (await designed(Work(messages=ASK), own, FakeToolbox(model()), Choice())).origin == "model", "the operator said so"


async def test_design_raises_only_where_no_time_is_left() -> None:
    with pytest.raises(DeadlineExceeded):
        await designed(Work(messages=ASK), Committee(), planning(model(design=DeadlineExceeded("over"))), Choice())
    box = planning(model(design=BudgetExceeded("spent")))
    assert (await designed(Work(messages=ASK), Committee(), box, Choice())).origin == "rules"


async def test_a_designer_that_is_slow_is_not_waited_for() -> None:
    async def never() -> Json:
        await asyncio.Event().wait()

    def answer(request: ChatRequest, choice: Choice) -> Json:
        return never()

    found = await designed(Work(messages=ASK), Committee(), planning(answer, left_s=0.04), Choice())
    assert found.origin == "rules"
