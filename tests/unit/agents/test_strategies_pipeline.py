"""Skip rules, gates and per-item stages of a pipeline, and what it says when it ends before its end."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agents.llm.chat import ChatRequest
from agents.records import (
    BackendFailed,
    BudgetExceeded,
    Choice,
    DeadlineExceeded,
    Draft,
    InvalidRequest,
    Json,
    StructuredFailed,
    Work,
)
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.compose import parse_strategy, run_strategy
from agents.strategies.per_item import constraints_of_item
from agents.strategies.runner import number_of
from agents.verdicts import Constraint
from tests.fakes.toolbox import Answer, FakeToolbox, texts

ASK = ({"role": "user", "content": "Describe the lighthouses of Clare"},)
BERTH = {"name": "string", "metres": 0}


def shaped(shape: Json, **more: Any) -> Work:
    return Work(messages=ASK, schema=parse_shape(shape, limits=ShapeLimits()), **more)


async def run(work: Work, strategy: Json, answer: Answer, **more: Any) -> tuple[Draft, FakeToolbox]:
    box = FakeToolbox(answer, **more)
    return await run_strategy(work, parse_strategy(strategy, named={}), box, Choice(), visible=True), box


def tier_says(**answers: Json) -> Answer:
    """Each tier's own answer; a list is said item by item, the last one for good."""

    def answer(request: ChatRequest, choice: Choice) -> Json:
        said = answers[request.schema_name if request.schema_name in answers else choice.tier or "any"]
        if isinstance(said, list):
            return said.pop(0) if len(said) > 1 else said[0]
        return said

    return answer


def stages(box: FakeToolbox, state: str) -> list[str]:
    return [data["name"] for kind, data in box.notes if kind == "stage" and data.get("state") == state]


# ── when ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TWO = [{"name": "draft", "tier": "cheap"}, {"name": "polish", "tier": "premium", "when": "importance == 'critical'"}]


@pytest.mark.parametrize(("importance", "text", "asked"), [("critical", "dear", 2), ("normal", "cheap", 1)])
async def test_a_stage_is_skipped_unless_its_condition_holds(importance: Any, text: str, asked: int) -> None:
    work = Work(messages=ASK, importance=importance)
    draft, box = await run(work, {"pipeline": TWO}, tier_says(cheap="cheap", premium="dear"))
    assert (draft.text, draft.complete, draft.issues) == (text, True, ())
    assert len(box.asked) == asked
    assert stages(box, "skipped") == ([] if importance == "critical" else ["polish"])


@pytest.mark.parametrize(
    ("when", "runs"),
    [
        ("data.metres > 20", True),
        ("data.metres > 30", False),
        ("score < 1", False),
        ("quality >= 0.9", True),
        ("index % 10 == 7", True),
        ("index % 10 == 8", False),
        ("len(text) > 5 and issues == 0", True),
    ],
)
async def test_conditions_see_what_is_known(when: str, runs: bool) -> None:
    spec = {"pipeline": [{"tier": "cheap"}, {"tier": "premium", "when": when}]}
    said = tier_says(cheap={"name": "Loop Head", "metres": 23}, premium={"name": "Loop Head", "metres": 24})
    draft, _ = await run(shaped(BERTH, quality=0.9, index=17), spec, said)
    assert draft.data["metres"] == (24 if runs else 23)
    assert draft.issues == ()


@pytest.mark.parametrize("when", ["10 / data.metres > 1", "data.name > 3"])
async def test_a_condition_that_cannot_be_worked_out_skips_nothing_and_is_an_issue(when: str) -> None:
    spec = {"pipeline": [{"tier": "cheap"}, {"name": "polish", "tier": "premium", "when": when}]}
    said = tier_says(cheap={"name": "x", "metres": 0}, premium={"name": "y", "metres": 1})
    draft, _ = await run(shaped(BERTH), spec, said)
    assert draft.data == {"name": "y", "metres": 1}
    assert any("polish" in issue and when in issue and "nothing was skipped" in issue for issue in draft.issues)


async def test_when_every_stage_is_skipped_the_request_says_so() -> None:
    with pytest.raises(InvalidRequest, match="every stage was skipped"):
        await run(Work(messages=ASK), {"pipeline": [{"when": "issues > 0"}]}, tier_says(any="x"))


def test_one_request_in_ten() -> None:
    chosen = [number_of(f"req-{n}") % 10 == 0 for n in range(5_000)]
    assert 400 < sum(chosen) < 600
    assert number_of("req-1") == number_of("req-1")


# ── per item ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def berths(request: ChatRequest, choice: Choice) -> Json:
    """A list for the cheap one; one item, made longer, for the other. Items are numbered over all batches."""
    assert request.schema is not None
    if choice.tier == "cheap":
        count = request.schema["minItems"]
        found = re.search(r"the items number (\d+)", texts(request))
        first = int(found[1]) if found else 1
        return [{"name": f"berth {first + n}", "metres": 10} for n in range(count)]
    return {"name": texts(request).split('"name":"')[-1].split('"')[0], "metres": 99}


EVERY_FIFTH = {"pipeline": [{"tier": "cheap"}, {"name": "longer", "tier": "premium", "per_item": True, "when": "index % 5 == 0"}]}


async def test_only_every_fifth_item_is_worked_on_over_all_batches() -> None:
    draft, box = await run(shaped([BERTH], count=24), EVERY_FIFTH, berths, max_items_per_call=7)
    assert [item["name"] for item in draft.data] == [f"berth {n}" for n in range(1, 25)]
    assert [n for n, item in enumerate(draft.data, start=1) if item["metres"] == 99] == [5, 10, 15, 20]
    assert sum(choice.tier == "premium" for _, choice, _ in box.asked) == 4


async def test_every_second_batch() -> None:
    spec = {"pipeline": [{"tier": "cheap"}, {"name": "all of it", "tier": "quality", "when": "index % 2 == 0"}]}

    def answer(request: ChatRequest, choice: Choice) -> Json:
        made = berths(request, Choice(tier="cheap"))
        return [{**item, "metres": 50} for item in made] if choice.tier == "quality" else made

    draft, _ = await run(shaped([BERTH], count=9), spec, answer, max_items_per_call=3)
    assert [item["metres"] for item in draft.data] == [10, 10, 10, 50, 50, 50, 10, 10, 10]


async def test_an_item_that_fails_stays_as_it_was_and_says_so() -> None:
    def answer(request: ChatRequest, choice: Choice) -> Json:
        if choice.tier == "premium" and "berth 2" in texts(request):
            return BackendFailed("down")
        return berths(request, choice)

    spec = {"pipeline": [{"tier": "cheap"}, {"name": "longer", "tier": "premium", "per_item": True}]}
    draft, _ = await run(shaped([BERTH], count=3), spec, answer)
    assert [item["metres"] for item in draft.data] == [99, 10, 99]
    assert not draft.complete or draft.issues
    assert any("item 2" in issue and "backend_failed" in issue for issue in draft.issues)


async def test_time_that_ends_among_the_items_leaves_the_rest_as_it_was() -> None:
    left = [2]

    def answer(request: ChatRequest, choice: Choice) -> Json:
        if choice.tier == "premium":
            left[0] -= 1
            if left[0] < 0:
                return DeadlineExceeded("over")
        return berths(request, choice)

    spec = {"pipeline": [{"tier": "cheap"}, {"name": "longer", "tier": "premium", "per_item": True}]}
    work = shaped({"berths": [BERTH]})
    assert work.schema is not None
    work.schema["properties"]["berths"].update(minItems=5, maxItems=5)

    def framed(request: ChatRequest, choice: Choice) -> Json:
        assert request.schema is not None
        if choice.tier == "cheap":
            return {"berths": [{"name": f"berth {n}", "metres": 10} for n in range(5)]}
        return answer(request, choice)

    draft, box = await run(work, spec, framed, max_parallel=1)
    assert [item["metres"] for item in draft.data["berths"]] == [99, 99, 10, 10, 10]
    assert not draft.complete
    assert sum("deadline_exceeded" in issue for issue in draft.issues) == 3
    assert len(box.asked) == 4


def test_an_item_is_held_against_its_own_constraints() -> None:
    whole = (
        Constraint(kind="range", field="berths[].metres", value=[1, 9]),
        Constraint(kind="unique", field="berths[].name", value=True),
        Constraint(kind="pattern", field="title", value="x"),
        Constraint(kind="enum", field="berths[].crew[].role", value=["a"]),
    )
    assert constraints_of_item(whole, ("berths",)) == (
        Constraint(kind="range", field="metres", value=[1, 9]),
        Constraint(kind="enum", field="crew[].role", value=["a"]),
    )
    assert constraints_of_item((Constraint(kind="range", field="[].metres", value=[1, 9]),), ())[0].field == "metres"


# ── gates ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def gated(gate: Json, **more: Json) -> Json:
    return {"pipeline": [{"name": "draft", "tier": "cheap", "gate": gate, **more}, {"name": "polish", "tier": "premium"}]}


BAD, GOOD, DEAR = {"name": "Eeragh", "metres": -1}, {"name": "Eeragh", "metres": 31}, {"name": "Eeragh Light", "metres": 31}


async def test_a_gate_corrects_once_and_goes_on() -> None:
    draft, box = await run(shaped(BERTH), gated("data.metres > 0"), tier_says(cheap=[BAD, GOOD], premium=DEAR))
    assert draft.data == DEAR
    assert (draft.issues, draft.complete) == ((), True)
    assert "it must hold that data.metres > 0" in texts(box.asked[1][0])
    assert [choice.tier for _, choice, _ in box.asked] == ["cheap", "cheap", "premium"]


async def test_a_gate_that_is_not_passed_after_its_correction_stops_with_what_is_known() -> None:
    gate = {"check": "data.metres > 0", "corrector": {"single": {"tier": "quality"}}}
    draft, box = await run(shaped(BERTH), gated(gate), tier_says(cheap=BAD, quality=BAD, premium=DEAR))
    assert draft.data == BAD
    assert not draft.complete
    assert "partial" in draft.issues[0]
    assert "'draft' (1 of 2)" in draft.issues[0]
    assert "it must hold that data.metres > 0" in draft.issues
    assert [choice.tier for _, choice, _ in box.asked] == ["cheap", "quality"]


async def test_stop_corrects_nothing() -> None:
    draft, box = await run(shaped(BERTH), gated({"check": "score > 1", "on_fail": "stop"}), tier_says(cheap=GOOD, premium=DEAR))
    assert not draft.complete
    assert len(box.asked) == 1


async def test_continue_tells_later_stages_and_keeps_only_what_they_do_not_mend() -> None:
    gate = {"check": ["data.metres > 0", "data.name == 'Eeragh'"], "on_fail": "continue"}
    draft, box = await run(shaped(BERTH), gated(gate), tier_says(cheap=BAD, premium=DEAR))
    assert "known defect: it must hold that data.metres > 0" in texts(box.asked[1][0])
    assert draft.data == DEAR
    assert draft.issues == ("it must hold that data.name == 'Eeragh'",)
    assert not draft.complete


async def test_a_critics_objections_that_were_let_through_are_not_hidden() -> None:
    said = tier_says(cheap="short", premium="long", critique={"issues": ["names no keeper"]})
    draft, box = await run(
        Work(messages=ASK), gated({"check": "critic", "on_fail": "continue", "rules": ["Name a keeper"]}), said
    )
    assert draft.text == "long"
    assert draft.issues == ("after stage 'draft': names no keeper",)
    assert "Rule: Name a keeper" in texts(box.asked[1][0])


async def test_a_gate_whose_critic_fails_lets_through_and_says_so() -> None:
    said = tier_says(cheap="short", premium="long", critique=BackendFailed("down"))
    draft, _ = await run(Work(messages=ASK), gated("critic"), said)
    assert (draft.text, draft.complete) == ("long", True)
    assert draft.issues == ("after stage 'draft': no model could be heard for the critique; only rules have checked this answer",)


async def test_a_gate_checks_the_schema_and_what_never_became_valid_is_corrected() -> None:
    said = tier_says(cheap=[{"name": "x"}, GOOD], premium=DEAR)
    draft, _ = await run(shaped(BERTH), gated("validate"), said)
    assert draft.data == DEAR
    stopped, _ = await run(shaped(BERTH), gated({"on_fail": "stop"}), tier_says(cheap={"name": "x"}, premium=DEAR))
    assert stopped.data == {"name": "x"}
    assert not stopped.complete
    with pytest.raises(StructuredFailed):
        await run(shaped(BERTH), gated({"on_fail": "stop"}), tier_says(cheap=None, premium=DEAR))


async def test_an_expression_that_divides_by_zero_is_a_failed_check_that_says_so() -> None:
    said = tier_says(cheap={"name": "x", "metres": 0}, premium=DEAR)
    draft, _ = await run(shaped(BERTH), gated({"check": "10 / data.metres > 1", "on_fail": "stop"}), said)
    assert not draft.complete
    assert any("could not be worked out" in issue and "10 / data.metres > 1" in issue for issue in draft.issues)


async def test_a_correction_that_fails_or_makes_it_worse_changes_nothing() -> None:
    for second in (BackendFailed("down"), {"name": "", "metres": -1}):
        gate = ["data.metres > 0", "data.name != ''"]
        draft, _ = await run(shaped(BERTH), gated(gate), tier_says(cheap=[BAD, second], premium=DEAR))
        assert draft.data == BAD
        assert not draft.complete


async def test_the_last_stage_is_streamed_only_without_a_gate() -> None:
    for gate, shown in ((None, True), ({"gate": "score > 0"}, False)):
        spec = {"pipeline": ["single", {"strategy": "single", **(gate or {})}]}
        _, box = await run(Work(messages=ASK), spec, tier_says(any="x"))
        assert [visible for _, _, visible in box.asked] == [False, shown]


# ── ends before the end ─────────────────────────────────────────────────────────────────────────────────────────────────

THREE: Json = {"pipeline": [{"tier": "cheap"}, {"tier": "quality"}, {"name": "third", "tier": "premium"}]}


@pytest.mark.parametrize("error", [DeadlineExceeded("no time"), BudgetExceeded("no money")])
async def test_time_or_money_that_ends_midway_leaves_a_partial_draft(error: BaseException) -> None:
    draft, _ = await run(Work(messages=ASK), THREE, tier_says(cheap="one", quality="two", premium=error))
    assert (draft.text, draft.complete) == ("two", False)
    assert "partial" in draft.issues[0]
    assert "'third' (3 of 3)" in draft.issues[0]
    with pytest.raises(type(error)):
        await run(Work(messages=ASK), THREE, tier_says(cheap=error))


async def test_what_the_client_has_seen_is_not_taken_back_by_a_partial_draft() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        await run(
            Work(messages=ASK), THREE, tier_says(cheap="one", quality="two", premium=DeadlineExceeded("no time")), delivered=True
        )
    assert caught.value.partial == "two"


async def test_a_backend_that_fails_on_the_third_stage_hands_over_what_there_was() -> None:
    with pytest.raises(BackendFailed) as caught:
        await run(Work(messages=ASK), THREE, tier_says(cheap="one", quality="two", premium=BackendFailed("down")))
    assert caught.value.partial == "two"
    assert caught.value.message == "stage 'third' (3 of 3): down"
