"""Results that nothing of ours can check: given only where two programs agree."""

from __future__ import annotations

import pytest

from agents.records import Escalated, Json
from agents.strategies.same_result import same_result
from agents.strategy_specs import CodeAugmented
from sandbox.records import Problem, RunResult
from tests.fakes.programs import ok, run, scripted, steps, work
from tests.fakes.toolbox import texts

FIGURE = work("Calculate the median of 9, 2 and 40 exactly")


async def test_a_figure_is_given_when_two_programs_agree_on_it() -> None:
    box = scripted([ok(40), ok(40), ok(9), ok("9")])
    draft = await run(box, FIGURE)
    assert (draft.text, draft.complete) == ("9", True)
    assert steps(box) == ["write", "confirm", "confirm"]
    seeds = [inputs["seed"] for _, inputs in box.runs]
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0], seeds[0]]
    assert [choice.backend for _, choice, _ in box.asked[:2]] == [None, "master"], "another model is asked where there is one"


async def test_a_figure_on_which_no_programs_agree_is_a_persons() -> None:
    box = scripted([ok(40), ok(40), ok(9), ok(2), ok(17)])
    with pytest.raises(Escalated) as error:
        await run(box, FIGURE)
    assert error.value.partial == 40
    assert steps(box) == ["write", "confirm", "confirm", "confirm"]


async def test_a_program_that_fails_confirms_nothing() -> None:
    broken = RunResult(problem=Problem.RAISED, error="ValueError: no", line=2)
    box = scripted([ok(9), ok(9), broken, broken, ok(9)])
    assert (await run(box, FIGURE)).text == "9"
    box = scripted([ok(9), ok(9), broken])
    with pytest.raises(Escalated):
        await run(box, FIGURE)


async def test_true_is_no_figure_unless_the_request_asks_for_it() -> None:
    box = scripted([ok(False), ok(9)])
    assert (await run(box, FIGURE)).text == "9"
    assert steps(box)[:2] == ["write", "repair"]
    assert "asks for no true or false" in texts(box.asked[1][0])
    assert (await run(scripted([ok(True)]), work("Compute exactly whether the sum of 91 and 9 is 100"))).text == "true"


async def test_what_was_drawn_at_random_is_not_held_against_another_draw() -> None:
    box = scripted([ok([3, 1, 6]), ok([2, 2, 5])])
    assert (await run(box, work("Simulate 3 throws of a die and compute them exactly"))).complete
    assert steps(box) == ["write"]


async def test_one_program_is_enough_where_that_is_wanted_or_a_constraint_holds_the_result() -> None:
    box = scripted([ok(40)])
    assert (await run(box, FIGURE, CodeAugmented(confirm=False))).text == "40"
    assert len(box.runs) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (3, 3.0, True),
        (3.14, 3.14159, True),
        (3, 3.4, False),
        (3.1, 3.2, False),
        ({"median": 31}, "31", True),
        ([1, {"a": 2, "b": "X "}], [1.0, {"b": "x", "a": 2}], True),
        ([1, 2], [2, 1], False),
        (True, 1, False),
        (None, 0, False),
        ("yes", "no", False),
        (10**400, 10**400 + 1, True),
        ("nan", "nan", True),
        ([[]], [{}], False),
    ],
)
def test_results_are_the_same_in_what_they_say(one: Json, other: Json, same: bool) -> None:
    assert same_result(one, other) is same
    assert same_result(other, one) is same
