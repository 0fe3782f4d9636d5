"""Code in use becomes code in the registry: kept once, as a draft, with its executions as evidence; never in an answer's way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agents.programs import CodeUsed
from agents.records import Draft, Event, RequestId
from registry.records import RegistryUnavailable
from registry.solution_records import Ran
from runtime.open_request import OpenRequest
from runtime.programs import desk as code_desk
from runtime.programs.desk import CodeDesk
from runtime.records import Answer, Request
from tests.fakes.registry import World, new

CODE = "def run(inputs):\n    return {'result': [inputs['mean']] * inputs['count'], 'checks': {'all': True}}\n"
USED = CodeUsed(code=CODE, parameters={"mean": 40, "label": "x"}, count=3, seed=7, latency_s=0.02)


@dataclass
class Opened:
    """A RegistryDesk that is open, or says that it is not."""

    world: World
    closed: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def registry(self) -> Any:
        if self.closed:
            raise RegistryUnavailable("the registry is opening")
        return self.world.registry

    @property
    def evidence(self) -> Any:
        return self.world.evidence


async def made(**more: Any) -> tuple[CodeDesk, Opened]:
    world = World()
    await world.open()
    opened: Any = Opened(world)
    opened.settled.set()
    return CodeDesk(opened, clock=lambda: world.now, **more), opened


async def kept(desk: CodeDesk, used: CodeUsed = USED, author: str = "node-1") -> str | None:
    return await desk.keep(used, problem="user: 3 ages around a mean", locale="people", author=author)


def ended(*, code: CodeUsed | None = USED, complete: bool = True, events: tuple[Event, ...] = ()) -> tuple[OpenRequest, Answer]:
    request = Request(
        request_id=RequestId("r-1"), source="native", messages=({"role": "user", "content": "3 ages around a mean of 40"},)
    )
    run = OpenRequest(request=request, started=0.0, deadline_s=1.0, number=1, work_id="r-1/1", node="node-1", locale="people")
    run.events.extend(events)
    answer = Answer(
        request_id=request.request_id,
        draft=Draft(text="[]", code=code, complete=complete),
        calls=(),
        node="node-1",
        strategy="code_augmented",
        attempts=1,
        latency_s=0.1,
    )
    return run, answer


async def test_a_program_is_kept_as_a_draft_and_only_once() -> None:
    desk, opened = await made()
    first = await kept(desk)
    assert first is not None
    registry = opened.registry
    version = await registry.content(first)
    assert (version.kind, version.content, version.author, version.locale) == ("generator", CODE, "node-1", "people")
    assert version.parameters == {"label": {"type": "string"}, "mean": {"type": "number"}}
    standing = registry.catalog.standings[first]
    assert (standing.state, standing.cases) == ("draft", 1), "checked, but not published before it was reviewed"
    assert await kept(desk, replace(USED, parameters={"mean": 71.5, "label": "y"}), author="node-2") == first
    fresh = CodeDesk(opened)  # type: ignore[arg-type]
    assert await kept(fresh) == first, "found by its content, not by what this process remembers"
    assert len(registry.catalog.standings) == 1
    assert await desk.source(first) == CODE


async def test_a_modified_program_is_a_fork_of_what_it_came_from() -> None:
    desk, opened = await made()
    first = await kept(desk)
    assert first is not None
    changed = replace(USED, code=CODE + "\n# rounded\n", how="modified", artifact=first, improvements=("rounds",))
    second = await kept(desk, changed, author="node-2")
    assert second is not None
    version = opened.registry.catalog.version(second)
    assert (version.relation, version.parents, version.improvements) == ("fork", (first,), ("rounds",))
    assert version.contributors == ("node-2", "node-1")


async def test_a_program_that_was_made_of_two_descends_from_both() -> None:
    desk, opened = await made()
    first = await kept(desk)
    second = await kept(desk, replace(USED, code=CODE + "\n# in euros\n"), author="node-2")
    assert first is not None
    assert second is not None
    more = {"how": "modified", "artifact": first, "also": (second, "gone@1.0.0", first), "improvements": ("both",)}
    third = await kept(desk, replace(USED, code=CODE + "\n# both\n", **more), author="node-3")
    assert third is not None
    version = opened.registry.catalog.version(third)
    assert (version.relation, version.parents) == ("synthesize", (first, second))
    assert version.contributors == ("node-3", "node-1", "node-2")


async def test_what_cannot_be_kept_is_none_and_counted() -> None:
    desk, opened = await made()
    opened.closed = True
    assert await kept(desk) is None
    assert await desk.source("ages@1.0.0") is None
    opened.closed = False
    opened.world.checker.failing.add("as it was used")
    assert await kept(desk) is None
    assert desk.counts["refused"] == 1
    opened.world.checker.failing.clear()
    first = await kept(desk)
    assert first is not None
    await opened.registry.move(first, "archived", by="operator", reason="unsafe")
    assert await kept(desk) is None, "what was rejected does not come back by being written again"
    assert await desk.source(first) is None


async def test_requests_leave_programs_and_evidence() -> None:
    desk, opened = await made()
    working = asyncio.create_task(desk.run())
    desk.seen(*ended())
    desk.seen(*ended(complete=False, code=replace(USED, code=CODE + "# wrong\n")))
    while not opened.world.evidence.waiting:
        await asyncio.sleep(0)
    (version_id,) = opened.registry.catalog.standings
    run = opened.world.evidence.waiting.pop()
    assert (run.version_id, run.node, run.ok, run.latency_s) == (version_id, "node-1", True, 0.02)
    ran = Event(kind="code", at=5.0, data={"state": "ran", "artifact": version_id, "ok": False, "latency_s": 0.5})
    other = Event(kind="code", at=5.0, data={"state": "ran", "artifact": "unknown@1.0.0", "ok": True, "latency_s": 0.5})
    desk.seen(ended(events=(ran, other))[0], None)
    (run,) = opened.world.evidence.waiting
    assert (run.version_id, run.ok, run.latency_s, run.at) == (version_id, False, 0.5, 5.0)
    desk.executed(Ran(version=version_id, wall_s=0.25), True)
    desk.executed(Ran(version="unknown@1.0.0", wall_s=0.25), True)
    run = opened.world.evidence.waiting.pop()
    assert (run.version_id, run.node, run.ok, run.latency_s) == (version_id, "library", True, 0.25)
    assert len(opened.world.evidence.waiting) == 1
    working.cancel()


async def test_first_tries_are_counted_before_and_with_a_standard() -> None:
    desk, opened = await made()

    def wrote(standard: str, *, guided: bool) -> None:
        event = Event(kind="code", at=5.0, data={"state": "wrote", "standard": standard, "guided": guided, "ok": True})
        desk.seen(ended(events=(event,))[0], None)

    wrote("", guided=True)
    standard = await opened.registry.publish(new("coding-standard", kind="standard", content="Seed it."))
    wrote("", guided=False)
    wrote("made-up@1.0.0", guided=True)
    wrote(standard.version_id, guided=True)
    opened.closed = True
    wrote(standard.version_id, guided=True)
    told = [(each.standard, each.guided) for each in opened.world.evidence.arms]
    assert told == [("", False), (standard.version_id, True)]


async def test_what_stands_for_a_version_is_looked_up_each_time() -> None:
    desk, opened = await made()
    first = await kept(desk)
    assert first is not None
    assert await desk.running(first) == (first, CODE)
    second = await kept(desk, replace(USED, code=CODE + "# faster\n", how="modified", artifact=first, improvements=("faster",)))
    await opened.registry.move(first, "archived", by="review", reason="revised", successor=second)
    assert await desk.running(first) == (second, CODE + "# faster\n")
    assert second is not None
    await opened.registry.move(second, "archived", by="operator", reason="unsafe")
    assert await desk.running(first) is None, "although its code was read before"


async def test_a_full_queue_drops_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_desk, "MAX_WAITING", 2)
    desk, _ = await made()
    for _ in range(5):
        desk.seen(*ended())
    assert desk.counts["dropped"] == 3
    off, _ = await made(enabled=False)
    off.seen(*ended())
    await off.run()
    assert not off.counts
