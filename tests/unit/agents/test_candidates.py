"""Code of others in use: shown to the writer, used as it is, modified, or left alone; and what the daemon is told of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agents.programs import Candidate, CodeFound
from agents.records import Draining
from agents.strategies.candidates import MAX_SHOWN_CHARS, improvements_of, offered, told
from agents.strategies.program import NoProgram, read_program
from agents.task_toolbox import TaskToolbox
from sandbox.records import Problem, RunResult
from tests.fakes.nodes import a_task
from tests.fakes.programs import ages, ok, run, scripted, work
from tests.fakes.toolbox import FakePool, texts

OTHERS = "def run(inputs):\n    return {'result': [], 'checks': {}}\n"
FOUND = CodeFound(
    candidates=(
        Candidate(
            version="ages-1@1.0.0", code=OTHERS, parameters={"mean": {"type": "number"}}, author="n2", runs=40, successes=39
        ),
        Candidate(version="ages-2@1.1.0", code=OTHERS + "# other\n", parameters={}, author="n3"),
    ),
    guidance="Check every bound.",
    standard="coding-standard@1.0.0",
)
USE = '```json\n{"use": "A", "parameters": {"mean": 40}}\n```'
MODIFY = (
    '```json\n{"modify": "b", "improvements": ["rounds"], "parameters": {}}\n```\n```python\ndef run(inputs):\n    return 1\n```'
)
ANEW = '```json\n{"parameters": {"mean": 40}}\n```\n```python\ndef run(inputs):\n    return 2\n```'
AGES = work("Ages with a mean of 40 and a standard deviation of 10", [{"age": "integer"}], 300)


def noted(box: Any, state: str) -> list[dict[str, Any]]:
    return [data for kind, data in box.notes if kind == "code" and data.get("state") == state]


async def made(*runs: RunResult, said: Any, found: CodeFound = FOUND) -> Any:
    box = scripted(list(runs), said=said)
    box.found = found
    return box, await run(box, AGES)


async def test_a_program_of_others_is_used_by_its_parameters_alone() -> None:
    box, draft = await made(ok(ages()), said=USE)
    assert box.searched[0].startswith("user: Ages with a mean of 40")
    prompt = texts(box.asked[-1][0])
    assert "39 of 40 runs passed" in prompt
    assert "Check every bound." in prompt
    assert box.runs[0][0] == OTHERS
    assert box.runs[0][1]["mean"] == 40
    assert (draft.code.how, draft.code.artifact, draft.code.parameters) == ("used", "ages-1@1.0.0", {"mean": 40})
    assert [(one["artifact"], one["ok"]) for one in noted(box, "ran")] == [("ages-1@1.0.0", True)]
    assert not noted(box, "wrote"), "nothing was written"


async def test_what_fails_in_use_is_held_against_it_and_repaired() -> None:
    bad = RunResult(problem=Problem.RAISED, error="KeyError: 'sd'")
    box, draft = await made(bad, ok(ages()), said=_in_turn(USE, MODIFY))
    assert [(one["artifact"], one["ok"]) for one in noted(box, "ran")] == [("ages-1@1.0.0", False)]
    assert (draft.code.how, draft.code.artifact, draft.code.improvements) == ("modified", "ages-2@1.1.0", ("rounds",))


async def test_new_code_tells_whether_it_was_guided() -> None:
    box, draft = await made(ok(ages()), said=ANEW)
    assert (draft.code.how, draft.code.artifact) == ("new", "")
    assert noted(box, "wrote") == [{"state": "wrote", "standard": "coding-standard@1.0.0", "guided": True, "ok": True}]
    box, _ = await made(ok(ages()), said=ANEW, found=replace(FOUND, guidance=""))
    assert [one["guided"] for one in noted(box, "wrote")] == [False]
    box, _ = await made(ok(ages()), said=ANEW, found=CodeFound())
    assert noted(box, "wrote") == [{"state": "wrote", "standard": "", "guided": False, "ok": True}], "before there is a standard"
    assert not noted(box, "searched")


async def test_a_sandbox_that_is_away_is_not_the_fault_of_the_code() -> None:
    box = scripted([RunResult(problem=Problem.UNAVAILABLE, error="starting")], said=USE)
    box.found = FOUND
    with pytest.raises(Exception, match="a person is asked"):
        await run(box, AGES)
    assert not noted(box, "ran")


def test_answers_are_read_as_what_they_are() -> None:
    handed_back = f'```json\n{{"parameters": {{}}}}\n```\n```python\n{OTHERS}```'
    assert read_program(handed_back, FOUND).how == "used", "the same code, handed back, is use"
    assert read_program(USE.replace('"A"', '"ages-2@1.1.0"'), FOUND).artifact == "ages-2@1.1.0"
    assert read_program(MODIFY.replace('"b"', '"Z"'), FOUND).how == "new"
    for named, made_of in (
        ('["B", "A", "B"]', ("ages-2@1.1.0", "ages-1@1.0.0")),
        ('["A"]', ("ages-1@1.0.0",)),
        ('["A", 7, "Z", {}]', ("ages-1@1.0.0",)),
        ('"A"', ("",)),
        ("[]", ("",)),
    ):
        made = read_program(MODIFY.replace('"modify": "b"', f'"combine": {named}'), FOUND)
        assert (made.artifact, *made.also) == made_of
    for answer in (USE.replace('"A"', '"C"'), USE.replace('"A"', "7"), '```json\n["use", "A"]\n```', "use A"):
        with pytest.raises(NoProgram, match="no program A/B is used"):
            read_program(answer, FOUND)
    with pytest.raises(NoProgram, match="defines run"):
        read_program(USE)
    with pytest.raises(NoProgram, match="name of a parameter"):
        read_program(USE.replace('"mean"', '"a b"'), FOUND)
    assert improvements_of({"improvements": ["a  b", "", 3, "a b", "x" * 500]}) == ("a b", "x" * 200)
    assert improvements_of({"improvements": "one"}) == ("one",)


def test_only_what_fits_is_shown() -> None:
    large = replace(FOUND.candidates[0], code="#" * MAX_SHOWN_CHARS, version="large@1.0.0")
    shown = offered(CodeFound(candidates=(*FOUND.candidates[:1], large, *FOUND.candidates * 3)))
    assert [each.version for each in shown.values()] == ["ages-1@1.0.0", "ages-1@1.0.0", "ages-2@1.1.0"]
    assert told(CodeFound()) == ""


async def test_a_search_that_fails_or_hangs_is_as_good_as_none() -> None:
    async def fails(problem: str) -> CodeFound:
        raise Draining("the daemon cannot be reached from this node")

    async def hangs(problem: str) -> CodeFound:
        await asyncio.Event().wait()
        return FOUND

    for search in (fails, hangs, None):
        events: list[Any] = []
        box = TaskToolbox(
            a_task("x", deadline_s=0.05),
            pool=FakePool("x"),
            sink=events.append,
            max_items_per_call=1,
            max_parallel=1,
            search=search,
        )
        assert await box.search_code("ages") == CodeFound()
        assert bool(events) == (search is not None)


def _in_turn(*answers: str) -> Any:
    """A model called coder that says one after the other."""
    left = list(answers)

    class Turns(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            return None

        def __getitem__(self, name: str) -> str:
            return left.pop(0) if len(left) > 1 else left[0]

    return Turns()


async def test_code_that_is_handed_back_after_it_failed_is_shown_no_more() -> None:
    bad = RunResult(problem=Problem.RAISED, error="KeyError: 'sd'")
    box, draft = await made(bad, bad, ok(ages()), said=_in_turn(USE, USE, ANEW))
    assert draft.code.how == "new"
    shown = ["39 of 40 runs passed" in texts(request) for request, _, _ in box.asked if request.schema is None]
    assert shown[:3] == [True, True, False]
