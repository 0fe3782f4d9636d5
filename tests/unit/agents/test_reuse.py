"""Adapting what the library knows: who is asked first, for what, and what follows where that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agents.calls import Usage
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.programs import Candidate, CodeFound, Known
from agents.records import Choice, Draft, Json, Work
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape
from agents.strategies.compose import run_strategy
from agents.strategies.program import problem_of, write_request
from agents.strategies.reuse import adapter, adapting, adapts, with_known
from agents.strategy_specs import CodeAugmented
from sandbox.records import RunResult
from tests.fakes.toolbox import FakeToolbox

CHEAP = BackendSpec(name="cheap", output_usd_per_mtok=1.0, capabilities=frozenset({"words", "code", "json_schema"}))
DEAR = BackendSpec(name="dear", output_usd_per_mtok=20.0, capabilities=frozenset({"words", "code", "json_schema"}))
AGES = Known(
    version="ages@1.0.0",
    code="def run(inputs):\n    return {'age': inputs['mean']}\n",
    parameters={"mean": 40},
    request="Ages with a mean of 40",
    similarity=0.88,
    tier="field_substitution",
)
PYTHON = "```python\ndef run(inputs):\n    return {}\n```"
CHANGED = '```json\n{"modify": "A", "improvements": ["pay"], "parameters": {"mean": 9}}\n```\n' + PYTHON


def work(*known: Known) -> Work:
    schema = parse_shape([{"pay": "number"}], limits=ShapeLimits())
    words = "Pay that is normally distributed with a mean of 9 and a standard deviation of 2"
    return Work(messages=({"role": "user", "content": words},), schema=schema, count=3, known=known)


def box(runs: list[RunResult], said: str = CHANGED) -> FakeToolbox:
    left = list(runs)

    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema_name == "constraints":
            return {"constraints": [{"field": "[].pay", "distribution": {"family": "normal", "mean": 9, "std": 2}}]}
        return ChatReply(text=said, model="m", usage=Usage(), backend="cheap" if choice.tier == "cheap" else "dear")

    class Box(FakeToolbox):
        async def run_code(self, code: str, inputs: Json, limits: Any = None) -> RunResult:
            return left.pop(0) if len(left) > 1 else left[0]

    return Box(answer, backends=(CHEAP, DEAR))


def ok() -> RunResult:
    return RunResult(value={"result": [{"pay": 9.0}] * 3, "checks": {"held": True}})


async def run(toolbox: FakeToolbox, asked: Work) -> Draft:
    return await run_strategy(asked, CodeAugmented(confirm=False), toolbox, Choice(), visible=True)


def programs_asked(toolbox: FakeToolbox) -> list[tuple[str, Choice]]:
    """The system prompts of the questions for programs, and whom they went to."""
    found = [(str(request.messages[0]["content"]), choice) for request, choice, _ in toolbox.asked]
    return [(system, choice) for system, choice in found if "code" in choice.needs]


async def test_the_cheapest_is_asked_for_just_the_change() -> None:
    toolbox = box([ok()])
    draft = await run(toolbox, work(AGES))
    ((system, choice),) = programs_asked(toolbox)
    assert choice.tier == "cheap"
    assert AGES.request in system
    assert AGES.code in system
    assert "put the new one in its place" in system
    assert draft.code is not None
    assert (draft.code.how, draft.code.artifact, draft.code.improvements) == ("modified", "ages@1.0.0", ("pay",))


BAD = RunResult(value={"result": [{"pay": 9.0}] * 3, "checks": {"held": False}})
FAR = RunResult(value={"result": [{"pay": "much"}] * 3, "checks": {"held": True}})


async def test_where_the_change_fails_it_is_mended_by_who_would_have_written() -> None:
    toolbox = box([BAD, ok()])
    draft = await run(toolbox, work(AGES))
    first, second = programs_asked(toolbox)
    assert (first[1].tier, second[1].tier) == ("cheap", "quality")
    assert AGES.code in second[0]
    assert draft.complete
    assert draft.code is not None
    assert draft.code.artifact == "ages@1.0.0"


async def test_where_that_fails_too_a_program_is_written() -> None:
    toolbox = box([BAD, FAR, ok()])
    draft = await run(toolbox, work(AGES))
    asked = programs_asked(toolbox)
    assert [choice.tier for _, choice in asked] == ["cheap", "quality", "quality"]
    assert AGES.code not in asked[-1][0]
    assert draft.complete


async def test_without_anything_known_it_is_as_ever() -> None:
    toolbox = box([ok()])
    await run(toolbox, work())
    assert [choice.tier for _, choice in programs_asked(toolbox)] == ["quality"]


@pytest.mark.parametrize(("tier", "does"), [("combination", True), ("generation", False)])
def test_what_is_too_far_away_is_no_beginning(tier: str, does: bool) -> None:
    assert adapts([replace(AGES, tier=tier)]) is does
    assert not adapts([])


async def test_what_is_made_of_two_says_so() -> None:
    other = replace(AGES, version="pay@1.0.0", code=AGES.code + "# pay\n", request="Pay with a mean of 3", similarity=0.61)
    toolbox = box([ok()], CHANGED.replace('"modify": "A"', '"combine": ["A", "B"]'))
    draft = await run(toolbox, work(replace(AGES, tier="combination", similarity=0.65), other))
    ((system, choice),) = programs_asked(toolbox)
    assert choice.tier == "cheap"
    assert AGES.request in system
    assert other.request in system
    assert "Combine them" in system
    assert draft.code is not None
    assert (draft.code.how, draft.code.artifact, draft.code.also) == ("modified", "ages@1.0.0", ("pay@1.0.0",))


def test_where_only_one_is_there_nothing_is_said_of_a_second() -> None:
    asked = write_request(problem_of(work(), None, ()))
    told = str(adapting(asked, [replace(AGES, tier="combination")]).messages[0]["content"])
    assert AGES.request in told
    assert "Program B" not in told


async def test_a_program_that_is_too_long_to_be_shown_is_not_spoken_of() -> None:
    toolbox = box([ok()], PYTHON)
    await run(toolbox, work(replace(AGES, code=AGES.code + "# x\n" * 5_000)))
    (system, _), *_ = programs_asked(toolbox)
    assert AGES.request not in system


def test_two_are_combined_and_nothing_is_offered_twice() -> None:
    other = replace(AGES, version="pay@1.0.0")
    found = CodeFound(candidates=(Candidate(version="ages@1.0.0", code="x", parameters={}, author="n"),), standard="s@1.0.0")
    one = with_known(found, [AGES, other])
    assert [each.version for each in one.candidates] == ["ages@1.0.0"]
    both = with_known(found, [replace(AGES, tier="combination"), other])
    assert [each.version for each in both.candidates] == ["ages@1.0.0", "pay@1.0.0"]
    assert both.standard == "s@1.0.0"


def test_a_named_backend_is_asked_all_the_same() -> None:
    named = Choice(backend="dear", fallback=False)
    assert adapter(named) == named
