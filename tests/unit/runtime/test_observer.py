"""The shell of self-observation: when it looks, what it reads, and what it hands over; clocks, models and late verdicts."""

import asyncio
from typing import Any

import pytest

from runtime.config.observe import ObserveSettings
from runtime.events import EventBoard
from runtime.ledger.records import LedgerUnavailable
from runtime.observing.analysis import analysis
from runtime.observing.introspection import Introspection
from runtime.observing.observer import READ_AGAIN, Look, Observer
from runtime.observing.tidings import Tidings, announced
from runtime.topology.outcomes import Log
from runtime.topology.payloads import Kind
from runtime.topology.shape import Topology
from runtime.topology.situation import Seen
from tests.fakes.cluster import node
from tests.fakes.observing import MemoryReads, judged
from tests.fakes.outcomes import Flow, member, shape, stream

Json = Any


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def observer(reads: MemoryReads, clock: Clock | None = None, **more: Any) -> Observer:
    return Observer(
        reads=reads, settings=ObserveSettings(every_requests=100, every_s=60.0), clock=clock or Clock(), wall=Clock(), **more
    )


async def proposed(one: Observer, topology: Topology | None = None, now: float = 5_000.0) -> list[Kind]:
    found = await one.propose(topology or shape(), open_keys=frozenset(), held_back=frozenset(), now=now)
    return [draft.kind for draft in found]


async def test_it_looks_when_a_window_is_full_or_old_and_not_before() -> None:
    reads, clock = MemoryReads(), Clock()
    one = observer(reads, clock)
    assert await proposed(one) == []
    reads.write(stream([Flow(n=99, pattern="legal", score=0.4)]))
    assert await proposed(one) == []
    assert one.windows == 0
    reads.write(stream([Flow(n=1, pattern="legal", score=0.4)]))
    assert await proposed(one) == [Kind.SPAWN]
    assert one.windows == 1
    reads.write(stream([Flow(n=1)]))
    clock.now += 61.0
    assert await proposed(one) == []
    assert one.windows == 2
    newest = one.newest
    assert newest is not None
    assert newest.situation.window.requests == 100  # what came alone would say too little
    clock.now += 1_000.0
    await proposed(one)
    assert one.windows == 2  # nothing came


async def test_a_look_waits_for_the_patterns_of_what_it_looks_at() -> None:
    reads, waited = MemoryReads(), []

    async def labelled() -> None:
        waited.append(True)
        reads.pieces = [stream([Flow(n=100, pattern="legal", score=0.4)])]

    one = observer(reads, labelled=labelled)
    reads.write(stream([Flow(n=100, pattern=None, score=0.4)]))
    assert await proposed(one) == [Kind.SPAWN]
    await proposed(one)
    assert waited == [True]


async def test_late_verdicts_are_read_again_and_old_outcomes_only_once() -> None:
    reads, clock = MemoryReads(), Clock()
    one = observer(reads, clock)
    first = stream([Flow(n=1_000, pattern="x", score=None)])
    reads.write(first)
    await proposed(one)
    once = reads.read
    assert once <= len(first) + READ_AGAIN
    reads.pieces = [judged(first, 0.3)]
    reads.write(stream([Flow(n=10, pattern="x", score=None)], seed=2))
    clock.now += 61.0
    assert await proposed(one) == [Kind.SPAWN]
    assert reads.read <= once + 10 + READ_AGAIN
    assert len(one.outcomes()) == 1_010


async def test_a_look_in_between_changes_nothing() -> None:
    reads = MemoryReads()
    one = observer(reads)
    reads.write(stream([Flow(n=50, pattern="legal", score=0.4)]))
    look = await one.look(shape(), now=0.0)
    assert [draft.kind for draft in look.proposed.drafts] == [Kind.SPAWN]
    assert one.windows == 0
    assert one.newest is None
    reads.write(stream([Flow(n=50, pattern="legal", score=0.4)]))
    assert await proposed(one) == [Kind.SPAWN]


async def test_nodes_that_are_asked_the_same_are_compared_by_what_they_answer() -> None:
    reads = MemoryReads()
    topology = shape(member(), member("a", "specialist"), member("b", "specialist"))
    same = [("x", "seven long rivers of the north flow into the cold sea")] * 6
    reads.said = {"a": same, "b": same}
    one = observer(reads)
    flows = [Flow(n=60, node=name, pattern="x", score=0.95) for name in ("a", "b")]
    kinds = []
    for seed in range(3):
        reads.write(stream(flows, seed=seed))
        kinds += await proposed(one, topology)
    assert Kind.MERGE in kinds


async def test_a_ledger_that_cannot_be_read_is_the_callers_to_know() -> None:
    class Away(MemoryReads):
        async def after(self, *args: Any, **more: Any) -> Any:
            raise LedgerUnavailable("the disk is full")

    with pytest.raises(LedgerUnavailable):
        await proposed(observer(Away()))


class Model:
    """Recommends what is asked of it; ``free`` lets it answer."""

    def __init__(self, data: Json) -> None:
        self.data, self.simulated, self.free, self.asked = data, False, asyncio.Event(), 0

    async def ask(self, text: str, **more: Any) -> "Model":
        self.asked += 1
        await self.free.wait()
        return self


async def _none() -> list[Json]:
    return []


async def test_a_model_is_asked_beside_a_look_of_low_efficiency_and_heard_in_a_later_round() -> None:
    evidence = [{"table": "node", "name": "relic", "measure": "count", "value": 2}]
    recommended = {"action": "prune", "subject": "relic", "reason": "unused", "evidence": evidence}
    model = Model({"summary": "", "efficiency_score": 50, "recommendations": [recommended]})
    reads = MemoryReads()
    one = observer(reads, introspection=Introspection(ask=model.ask, changes=_none))
    topology = shape(member(), member("relic", "specialist"))
    reads.write(stream([Flow(n=298, ok=0.5, score=0.3, pattern=None), Flow(n=2, node="relic", pattern=None)]))
    assert await proposed(one, topology) == []
    await asyncio.sleep(0)
    assert model.asked == 1
    assert await proposed(one, topology) == []  # it is still thinking, and nobody waits
    model.free.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert await proposed(one, topology) == [Kind.PRUNE]
    assert await proposed(one, topology) == []
    await one.close()


async def test_the_analysis_tells_what_is_wrong_what_is_fine_and_what_changes_brought() -> None:
    reads = MemoryReads()
    one = observer(reads, patterns=lambda: {"legal": Seen(pattern_id="legal", name="Legal documents", count=90)})
    reads.write(stream([Flow(n=90, pattern="legal", score=0.5), Flow(n=110, pattern="prose", score=0.97)]))
    look = await one.look(shape(), now=0.0)
    kept = {"kind": "merge", "subject": "n", "status": "kept"}
    found = analysis(look, cases=[kept, {"kind": "park", "subject": "m", "status": "proposed"}])
    assert [each["key"] for each in found["wanted"]] == ["spawn:legal"]
    assert [each["pattern"] for each in found["fine"]] == ["prose"]
    assert found["changes"] == [kept]
    assert [each["kind"] for each in found["open"]] == ["park"]
    assert found["measures"]["patterns"][1]["called"] == "Legal documents"
    taken = analysis(look, cases=[{"kind": "spawn", "subject": "legal", "status": "proposed"}])
    assert taken["wanted"] == []


async def test_changes_of_nodes_and_patterns_are_told_once() -> None:
    board = EventBoard(wall=lambda: 1.0)
    nodes, seen = [node("generalist")], {}
    tidings = Tidings(board, nodes=lambda: nodes, patterns=lambda: seen)
    first = board.following
    tidings.compare()
    assert board.since(first).tidings == ()
    nodes.append(node("legal"))
    seen["p1"] = Seen(pattern_id="p1", name="Legal", count=10)
    tidings.compare()
    tidings.compare()
    told = [(each.kind, each.data["name"]) for each in board.since(first).tidings]
    assert told == [("node", "legal"), ("pattern", "Legal")]
    nodes.pop()
    tidings.compare()
    assert board.since(first).tidings[-1].data["state"] == "gone"


def test_a_log_keeps_the_newest_and_takes_what_is_read_again() -> None:
    log = Log(most=150)
    log.append(range(1, 101), stream([Flow(n=100, node="a")]))
    log.append(range(101, 201), stream([Flow(n=100, node="b")]))
    assert log.last == 200
    assert log.since(150) == 50
    newest = log.newest(1_000)
    assert len(newest) == 150
    assert sorted(newest.names["node"]) == ["a", "b"]
    log.append(range(191, 211), stream([Flow(n=20, node="c")]))
    assert (log.last, log.since(190)) == (210, 20)
    assert list(log.newest(20).names["node"]).count("c") == 1
    log.cut(1)
    assert len(log) == 0
    assert len(log.newest(10)) == 0


def test_what_is_announced_to_all_nodes_is_told() -> None:
    from agents.records import Event

    board = EventBoard(wall=lambda: 1.0)
    first = board.following
    announced(board, Event(kind="peer", at=1.0, data={"topic": "standard", "task_id": "registry"}))
    assert board.since(first).tidings[0].data == {"message": "announce", "topic": "standard", "task": "registry"}
    gained = {"version": "young@1.0.0", "author": "n1", "gains": "9 times as fast"}
    announced(board, Event(kind="peer", at=1.0, data={"topic": "breakthrough", "task_id": "registry", **gained}))
    announced(board, Event(kind="peer", at=1.0, data={"topic": "breakthrough", "task_id": "r-1/1", **gained}))
    told = [(each.kind, each.data) for each in board.since(first).tidings[1:]]
    claimed = {"message": "announce", "topic": "breakthrough", "task": "r-1/1"}
    assert told == [("breakthrough", gained), ("peer", claimed)], "no node can claim one"


def test_looks_are_kept_in_a_bounded_history() -> None:
    one = observer(MemoryReads())
    assert one.looks.maxlen is not None
    assert isinstance(one.looks.maxlen, int)
    assert Look.__slots__


class Wall(Clock):
    """Unix seconds that a test sets."""


async def test_a_restart_every_window_does_not_keep_the_rules_from_speaking() -> None:
    """PARK needs its windows in a row; a daemon that is new each time goes on with the count, as one that runs on."""
    said = []
    for restarts in (False, True):
        reads, kinds, one = MemoryReads(), [], None
        topology = shape(member(), member("rare", "specialist"))
        for seed in range(3):
            one = observer(reads) if restarts or one is None else one
            flows = [Flow(n=2_000, score=0.9), *([Flow(n=1, node="rare", score=0.9)] if seed == 0 else [])]
            reads.write(stream(flows, seed=seed))
            kinds.append(await proposed(one, topology, now=5_000.0 + seed))
            assert one.windows == seed + 1
        said.append([Kind.PARK in found for found in kinds])
    assert said[0] == said[1] == [False, False, True]


async def test_a_restart_neither_looks_again_at_the_same_nor_says_it_again() -> None:
    reads = MemoryReads()
    reads.write(stream([Flow(n=200, pattern="legal", score=0.4)]))
    assert await proposed(observer(reads), now=5_000.0) == [Kind.SPAWN]
    again = observer(reads)
    assert await proposed(again, now=5_010.0) == []
    assert again.windows == 1  # nothing came since
    reads.write(stream([Flow(n=200, pattern="legal", score=0.4)], seed=2))
    assert await proposed(again, now=5_020.0) == []  # it was spoken of just now
    for back in (1.0, 10_000_000.0):  # the clock was set meanwhile: backwards, and far ahead
        reads.write(stream([Flow(n=200, pattern="legal", score=0.4)], seed=3))
        assert await proposed(observer(reads), now=back) == []


async def test_patterns_that_are_known_are_no_flood_after_a_restart() -> None:
    reads = MemoryReads()
    names = [f"p{n}" for n in range(60)]
    flows = [Flow(n=3, pattern=name, score=0.5) for name in names] + [Flow(n=60, pattern="legal", score=0.4)]
    reads.write(stream(flows))
    fresh = observer(reads)
    await proposed(fresh)
    assert fresh.newest is not None
    assert fresh.newest.situation.flooded
    reads.kept = ""
    known = {name: Seen(pattern_id=name, name=name, count=50) for name in (*names, "legal")}
    one = observer(reads, patterns=lambda: known)
    assert Kind.SPAWN in await proposed(one)
    assert one.newest is not None
    assert not one.newest.situation.flooded


async def test_what_cannot_be_kept_or_read_costs_no_look() -> None:
    reads = MemoryReads()
    reads.trouble = LedgerUnavailable("the disk is full")
    reads.write(stream([Flow(n=200, pattern="legal", score=0.4)]))
    assert await proposed(observer(reads)) == [Kind.SPAWN]
    for broken in (
        "{",
        "[]",
        '{"version": 99}',
        '{"version": 1, "streaks": 3, "quiet": {"a": [1]}, "good": {"x": {}}, "window": -4}',
    ):
        reads.kept = broken
        assert await proposed(observer(reads)) == [Kind.SPAWN]
    reads.kept, reads.pieces = reads.kept.replace("-4", "9").replace("}}", '}}, "key": 99999', 1), []
    emptied = observer(reads)
    assert await proposed(emptied) == []
    reads.write(stream([Flow(n=200, pattern="legal", score=0.4)]))
    assert await proposed(emptied) == [Kind.SPAWN]
