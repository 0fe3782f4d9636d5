"""A single ask and a row of stages over a fake toolbox: what they ask, and what they make of it."""

from __future__ import annotations

import pytest

from agents.calls import Usage
from agents.llm.chat import ChatReply, ChatRequest
from agents.records import BackendFailed, Choice, Json, StructuredFailed, Work
from agents.strategy_specs import Single
from tests.fakes.strategies import ASK, STAGES, run, says, shaped
from tests.fakes.toolbox import texts

# ── single ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_single_keeps_all_that_the_backend_said() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}
    reply = ChatReply(text="", model="m", usage=Usage(), finish_reason="tool_calls", message=message, choices=({"index": 0},))
    work = Work(messages=ASK, params={"tools": [1], "n": 2}, rules=("Be brief",))
    draft, box = await run(work, Single(prompt="You are a harbour master"), says(reply))
    assert (draft.message, draft.choices, draft.finish_reason, draft.complete) == (message, ({"index": 0},), "tool_calls", True)
    request, _, visible = box.asked[0]
    assert visible
    assert request.params == work.params
    assert request.messages[0]["role"] == "system"
    assert "harbour master" in request.messages[0]["content"]
    assert "Be brief" in request.messages[0]["content"]
    assert request.messages[-1] == ASK[0]


async def test_a_cut_answer_is_said_to_be_cut() -> None:
    reply = ChatReply(text="The fer", model="m", usage=Usage(), finish_reason="length")
    draft, _ = await run(Work(messages=ASK), Single(), says(reply))
    assert not draft.complete
    assert draft.issues


async def test_a_shaped_answer_is_corrected_harmlessly_or_fails() -> None:
    draft, box = await run(shaped({"seats": 0}), Single(), says({"seats": "80", "extra": 1}))
    assert draft.data == {"seats": 80}
    assert draft.text == '{"seats":80}'
    assert not box.asked[0][2]
    with pytest.raises(StructuredFailed):
        await run(shaped({"seats": 0}), Single(), says({"seats": "many"}))


@pytest.mark.parametrize(
    ("spec", "choice", "expected"),
    [
        (Single(backend="b"), Choice(backend="a"), Choice(backend="b")),
        (Single(backend="b"), Choice(backend="a", fallback=False), Choice(backend="a", fallback=False)),
        (Single(tier="premium"), Choice(preferred=("x",)), Choice(tier="premium")),
        (Single(tier="premium"), Choice(backend="a"), Choice(backend="a")),
        (Single(), Choice(preferred=("x",)), Choice(preferred=("x",))),
    ],
)
async def test_who_is_asked(spec: Single, choice: Choice, expected: Choice) -> None:
    _, box = await run(Work(messages=ASK), spec, says("x"), choice)
    assert box.asked[0][1] == expected


# ── pipeline ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_stage_sees_the_request_and_what_came_before() -> None:
    def answer(request: ChatRequest, choice: Choice) -> str:
        return f"<by {choice.tier}>"

    draft, box = await run(Work(messages=ASK, params={"n": 2, "temperature": 0.1}), STAGES, answer)
    first, second, third = [request for request, _, _ in box.asked]
    assert draft.text == "<by premium>"
    assert all(ASK[0] in request.messages for request in (first, second, third))
    assert "<by cheap>" in texts(second)
    assert "Add the timetable" in texts(second)
    assert "<by cheap>" in texts(third)
    assert "<by quality>" in texts(third)
    assert [visible for _, _, visible in box.asked] == [False, False, True]
    assert first.params == {"temperature": 0.1}
    assert third.params == {"n": 2, "temperature": 0.1}
    assert [data["name"] for kind, data in box.notes if data.get("state") == "done"] == ["draft", "enrich", "check"]


async def test_a_failed_stage_hands_over_what_there_was() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        return BackendFailed("down") if choice.tier == "premium" else {"seats": 3}

    with pytest.raises(BackendFailed) as caught:
        await run(shaped({"seats": 0}), STAGES, answer)
    assert caught.value.partial == {"seats": 3}
