"""Self-dialogue and self-healing: what they ask, when they end, what they undo, and what they admit."""

from __future__ import annotations

from typing import Any

import pytest

from agents.llm.chat import ChatRequest
from agents.records import BackendFailed, BudgetExceeded, Choice, DeadlineExceeded, Draft, Json, StructuredFailed, Work
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.compose import parse_strategy, run_strategy
from agents.strategies.judging import issues_in
from tests.fakes.toolbox import CHEAP, Answer, FakeToolbox, texts

ASK = ({"role": "user", "content": "Describe the slipway at Kilkee"},)
SLIP = {"name": "string", "metres": 0}


def shaped(**more: Any) -> Work:
    return Work(messages=ASK, schema=parse_shape(SLIP, limits=ShapeLimits()), **more)


def script(**answers: list[Json]) -> Answer:
    """What is said by schema name, ``answer`` being the answer itself; the last of each list holds for good."""

    def answer(request: ChatRequest, choice: Choice) -> Json:
        said = answers[request.schema_name]
        return said.pop(0) if len(said) > 1 else said[0]

    return answer


async def run(work: Work, strategy: Json, answer: Answer, **more: Any) -> tuple[Draft, FakeToolbox]:
    box = FakeToolbox(answer, **more)
    return await run_strategy(work, parse_strategy(strategy, named={}), box, Choice(), visible=True), box


def asked(box: FakeToolbox) -> list[str]:
    return [request.schema_name for request, _, _ in box.asked]


def issues(*found: str) -> Json:
    return {"issues": list(found)}


# ── self-dialogue ───────────────────────────────────────────────────────────────────────────────────────────────────────

QUIET: dict[str, list[Json]] = {"critique": [issues()], "style": [issues()]}


async def test_it_asks_itself_answers_and_refines() -> None:
    said = script(
        answer=["A slipway.", "A granite slipway of 40 metres."],
        self_questions=[{"questions": ["How long is it?"]}],
        self_answers=[{"answers": [{"question": "How long is it?", "answer": "40 metres"}]}],
        **QUIET,
    )
    draft, box = await run(Work(messages=ASK), {"self_dialogue": {"generate": {"single": {"tier": "cheap"}}}}, said)
    assert draft.text == "A granite slipway of 40 metres."
    assert (draft.issues, draft.complete) == ((), True)
    assert asked(box) == ["answer", "critique", "style", "self_questions", "self_answers", "answer", "critique", "style"]
    refining = texts(box.asked[5][0])
    assert "Question: How long is it?\nAnswer: 40 metres" in refining
    assert "A slipway." in refining
    assert not any(visible for _, _, visible in box.asked)
    tiers = {request.schema_name: choice.tier for request, choice, _ in box.asked}
    assert (tiers["self_questions"], tiers["self_answers"], tiers["critique"], tiers["style"]) == (
        "cheap",
        "cheap",
        "quality",
        "cheap",
    )


async def test_it_ends_at_once_when_nothing_is_open() -> None:
    draft, box = await run(
        Work(messages=ASK), "self_dialogue", script(answer=["A slipway."], self_questions=[{"questions": []}], **QUIET)
    )
    assert draft.text == "A slipway."
    assert asked(box) == ["answer", "critique", "style", "self_questions"]


async def test_critic_and_style_checker_are_voices_of_their_own() -> None:
    said = script(
        answer=["A slipway slipway.", "A slipway."],
        critique=[issues("names no town"), issues("names no town")],
        style=[issues("a word stands twice"), issues()],
        self_questions=[{"questions": []}],
    )
    spec = {"self_dialogue": {"rounds": 1, "critic": {"backend": "judge"}, "style": {"backend": "cheap", "prompt": "Be plain"}}}
    draft, box = await run(Work(messages=ASK), spec, said)
    refining = next(texts(request) for request, _, _ in box.asked if "Its defects" in texts(request))
    assert "- names no town" in refining
    assert "Issues of its style:\n- a word stands twice" in refining
    critic, style = (next((r, c) for r, c, _ in box.asked if r.schema_name == name) for name in ("critique", "style"))
    assert (critic[1].backend, style[1].backend) == ("judge", "cheap")
    assert "Be plain" in texts(style[0])
    assert "style checker" in texts(style[0])
    assert "style checker" not in texts(critic[0])
    assert draft.issues == ("names no town",)


async def test_rounds_are_bounded_and_a_worse_refinement_is_undone() -> None:
    said = script(
        answer=["one", "two", "three"],
        critique=[issues("a"), issues("a", "b"), issues("a", "b", "c")],
        style=[issues()],
        self_questions=[{"questions": []}],
    )
    draft, box = await run(Work(messages=ASK), {"self_dialogue": {"rounds": 2}}, said)
    assert (draft.text, draft.issues) == ("one", ("a",))
    assert asked(box).count("answer") == 3
    assert sum(data.get("state") == "undone" for _, data in box.notes) == 2


async def test_a_voice_that_fails_does_not_cost_the_answer() -> None:
    said = script(answer=["x"], critique=[BackendFailed("down")], style=[issues()], self_questions=[BackendFailed("down")])
    draft, box = await run(Work(messages=ASK), "self_dialogue", said)
    assert draft.text == "x"
    assert draft.issues == ("no model could be heard for the critique; only rules have checked this answer",)
    assert any(data.get("missing") == ["critic"] for _, data in box.notes)


@pytest.mark.parametrize("error", [DeadlineExceeded("x"), BudgetExceeded("x"), BackendFailed("x")])
async def test_what_ends_within_the_dialogue_leaves_the_answer(error: BaseException) -> None:
    said = script(answer=["x", error], critique=[issues("too short")], style=[issues()], self_questions=[{"questions": []}])
    draft, _ = await run(Work(messages=ASK), "self_dialogue", said)
    assert (draft.text, draft.issues) == ("x", ("too short",))
    with pytest.raises(type(error)):
        await run(Work(messages=ASK), "self_dialogue", script(answer=[error]))


# ── self-healing ────────────────────────────────────────────────────────────────────────────────────────────────────────

WELL = {"name": "Kilkee", "metres": 40}
QUANTITY = {"name": "string", "quantity": 0}


def stock(**more: Any) -> Work:
    return Work(messages=ASK, schema=parse_shape(QUANTITY, limits=ShapeLimits()), **more)


async def test_what_a_rule_finds_is_healed_without_asking_a_model_first() -> None:
    said = script(answer=[{"name": "rope", "quantity": -4}, {"name": "rope", "quantity": 4}], detection=[issues()])
    draft, box = await run(stock(), "self_healing", said)
    assert draft.data == {"name": "rope", "quantity": 4}
    assert (draft.issues, draft.complete) == ((), True)
    assert asked(box) == ["answer", "answer", "detection"]
    healing = texts(box.asked[1][0])
    assert "quantity: -4 must not be negative" in healing
    assert '{"name":"rope","quantity":-4}' in healing


async def test_what_a_model_detects_is_healed_by_place() -> None:
    found = {"issues": [{"path": "metres", "problem": "is far too long", "fix": "about 40"}]}
    said = script(answer=[{"name": "Kilkee", "metres": 4000}, WELL], detection=[found, issues()])
    draft, box = await run(shaped(), {"self_healing": {"heal": {"single": {"tier": "premium"}}}}, said)
    assert draft.data == WELL
    assert "- metres: is far too long (about 40)" in texts(box.asked[2][0])
    assert box.asked[2][1].tier == "premium"


async def test_a_heal_that_makes_it_worse_is_undone_and_the_next_begins_with_the_best() -> None:
    said = script(
        answer=[{"name": "rope", "quantity": -4}, {"name": "rope", "quantity": "many"}, {"name": "rope", "quantity": 4}],
        detection=[issues()],
    )
    draft, box = await run(stock(), "self_healing", said, checks=False)
    assert draft.data == {"name": "rope", "quantity": 4}
    assert '"quantity":-4' in texts(box.asked[2][0])
    assert any(data.get("state") == "undone" for _, data in box.notes)


async def test_heals_are_bounded_and_what_is_left_is_said() -> None:
    said = script(answer=[{"name": "rope", "quantity": -4}], detection=[issues()])
    draft, box = await run(stock(), {"self_healing": {"max_attempts": 2}}, said)
    assert asked(box) == ["answer"] * 3
    assert draft.issues == ("quantity: -4 must not be negative",)
    assert not draft.complete


async def test_a_detector_that_fails_is_no_clean_bill_of_health() -> None:
    draft, _ = await run(shaped(), "self_healing", script(answer=[WELL], detection=[BackendFailed("down")]))
    assert (draft.data, draft.complete) == (WELL, True)
    assert draft.issues == ("no model could be heard for the detection; only rules have checked this answer",)


async def test_what_a_partial_draft_says_of_itself_is_healed() -> None:
    gate = {"check": "data.metres > 10", "on_fail": "stop"}
    spec = {"self_healing": {"generate": {"pipeline": [{"strategy": "single", "gate": gate}]}}}
    said = script(answer=[{"name": "Kilkee", "metres": 4}, WELL], detection=[issues()])
    draft, box = await run(shaped(), spec, said)
    assert (draft.data, draft.issues, draft.complete) == (WELL, (), True)
    assert "it must hold that data.metres > 10" in texts(box.asked[1][0])


async def test_without_a_detector_only_rules_count() -> None:
    for body, more in (({"detector": False}, {}), ({}, {"backends": (CHEAP,)})):
        draft, box = await run(shaped(), {"self_healing": body}, script(answer=[WELL]), **more)
        assert draft.data == WELL
        assert asked(box) == ["answer"]


@pytest.mark.parametrize("error", [DeadlineExceeded("x"), BudgetExceeded("x"), BackendFailed("x")])
async def test_what_ends_within_the_healing_leaves_the_draft_with_its_issues(error: BaseException) -> None:
    said = script(answer=[{"name": "rope", "quantity": -4}, error], detection=[issues()])
    draft, _ = await run(stock(), "self_healing", said)
    assert draft.issues == ("quantity: -4 must not be negative",)
    assert not draft.complete


async def test_an_answer_that_never_became_valid_is_healed_or_fails() -> None:
    draft, _ = await run(shaped(), "self_healing", script(answer=[{"name": "x"}, WELL], detection=[issues()]))
    assert draft.data == WELL
    with pytest.raises(StructuredFailed):
        await run(shaped(), "self_healing", script(answer=[None], detection=[issues()]))


def test_issues_of_every_form_and_none_of_no_form() -> None:
    heard = {"issues": [" a ", "", 4, None, {"path": "x", "problem": "bad", "fix": ""}, {"path": "y", "problem": "", "fix": "z"}]}
    assert issues_in(heard) == ("a", "x: bad")
    assert issues_in({"issues": "none"}) == issues_in([]) == issues_in(None) == ()
    assert len(issues_in({"issues": [str(n) for n in range(99)]})) == 10
