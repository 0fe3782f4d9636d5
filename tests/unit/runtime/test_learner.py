"""The router in the daemon: what it may choose, whom it blames, whom it believes, what it keeps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.calls import CallRecord, Health
from agents.llm.chat import BackendSpec
from agents.records import AgentError, BackendFailed, Draft, InvalidRequest, RequestId
from agents.strategy_specs import Committee, Consensus, Single
from agents.verdicts import Verdict
from runtime.cluster import NodeStatus
from runtime.learner.arms import options, takes_backend
from runtime.learner.desk import Router
from runtime.learner.evidence import KeyTrust
from runtime.learner.keeping import FILE
from runtime.open_request import OpenRequest
from runtime.records import Answer, Request, Target
from tests.fakes.cluster import node
from tests.fakes.routing import MemoryBook, MemoryTrials, no_judge
from tests.fakes.service import fake_settings

A, B = BackendSpec(name="a", model="m-a"), BackendSpec(name="b", model="m-b", output_usd_per_mtok=10.0)


@dataclass
class World:
    """A router over two backends; ``now`` is its clock, ``skill`` what each backend's answers are worth."""

    folder: Path
    backends: list[BackendSpec] = field(default_factory=lambda: [A, B])
    health: dict[str, Health] = field(default_factory=dict)
    nodes: list[NodeStatus] = field(default_factory=lambda: [node("generalist")])
    routing: dict[str, Any] = field(default_factory=dict)
    committee: dict[str, Any] = field(default_factory=dict)
    seed: int = 1
    now: float = 1_000_000.0
    asked: int = 0

    def __post_init__(self) -> None:
        self.book = MemoryBook()
        self.trial_book = MemoryTrials()
        self.router = Router(
            settings=fake_settings(routing=self.routing, committee=self.committee, data={"dir": self.folder}),
            backends=lambda: self.backends,
            health=lambda: self.health,
            nodes=lambda: self.nodes,
            book=self.book,
            trial_book=self.trial_book,
            folder=self.folder / "routing",
            ask=no_judge,
            rng=np.random.default_rng(self.seed),
            wall=lambda: self.now,
        )

    def open(self, **fields: Any) -> OpenRequest:
        self.asked += 1
        name = RequestId(f"r{self.asked}")
        words = {"messages": ({"role": "user", "content": f"question {self.asked}"},), **fields}
        run = OpenRequest(
            request=Request(request_id=name, source="native", **words),
            started=0.0,
            deadline_s=60.0,
            number=self.asked,
            work_id=f"{name}/x.{self.asked}",
        )
        self.router.choose(run)
        return run

    def answer(self, run: OpenRequest, *, backend: str | None = None, text: str = "fine", **fields: Any) -> None:
        assert run.route is not None
        served = backend or run.route.backend or "a"
        calls = fields.pop("calls", (call(served),))
        answer = Answer(
            request_id=run.request.request_id,
            draft=Draft(text=text, backend=served),
            calls=calls,
            node="generalist",
            strategy="single",
            attempts=1,
            latency_s=0.1,
            **fields,
        )
        self.now += 1.0
        self.router.ended(run, answer=answer, error=None, calls=calls, latency_s=0.1)

    def live(self, requests: int, skill: dict[str, float], key: str = "k") -> list[str]:
        """So many requests whose client says what they were worth; who was chosen."""
        found = []
        for _ in range(requests):
            run = self.open()
            assert run.route is not None
            assert run.route.backend is not None
            found.append(run.route.backend)
            self.answer(run)
            self.router.feedback(run.request.request_id, key, skill[found[-1]])
        return found


def call(backend: str, error: str | None = None) -> CallRecord:
    return CallRecord(backend=backend, model="m", started_at=0.0, latency_s=0.1, cost_usd=0.001, error=error)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def share(chosen: list[str], name: str) -> float:
    return chosen.count(name) / len(chosen)


def test_traffic_moves_to_the_better_backend_and_leaves_it_when_it_turns_bad(world: World) -> None:
    world.live(60, {"a": 0.3, "b": 0.9})
    assert share(world.live(40, {"a": 0.3, "b": 0.9}), "b") >= 0.9
    world.live(30, {"a": 0.3, "b": 0.0})
    assert share(world.live(40, {"a": 0.3, "b": 0.0}), "b") <= 0.2


def test_before_anything_is_known_the_configured_weights_decide(tmp_path: Path) -> None:
    heavy = World(tmp_path, backends=[BackendSpec(name="a", weight=9.0), BackendSpec(name="b", weight=1.0)])
    chosen = []
    for _ in range(200):
        run = heavy.open()
        assert run.route is not None
        assert run.route.decision.way == "usual"
        chosen.append(run.route.backend)
        heavy.answer(run)  # nobody judges it
    assert 0.8 < chosen.count("a") / 200 < 0.98


@pytest.mark.parametrize(
    "fields",
    [{"backend": "a"}, {"target": Target(kind="backend", name="a"), "schema": {}}],
)
def test_a_backend_that_the_client_names_is_not_chosen_for_it(world: World, fields: dict[str, Any]) -> None:
    assert world.open(**fields).route is None


def test_with_one_backend_or_switched_off_it_does_nothing(tmp_path: Path) -> None:
    assert World(tmp_path, backends=[A]).open().route is None
    assert World(tmp_path, routing={"enabled": False}).open().route is None


def test_what_is_open_is_bounded_and_leaves_out_open_breakers_and_backends_without_weight() -> None:
    many = [BackendSpec(name=f"b{n}", weight=float(n > 0)) for n in range(9)]
    found = options(
        Request(request_id=RequestId("r"), source="native", messages=()),
        nodes=[node("one"), node("two")],
        backends=many,
        health={"b1": Health(state="open", retry_in_s=5.0)},
        strategies={},
        also=("consensus", "gone"),
        most=8,
    )
    assert [option.arm.backend for option in found] == [f"b{n}" for n in range(2, 9)] + ["own"]
    assert found[0].nodes == ("one", "two")
    assert isinstance(found[-1].strategy, Consensus)


def test_a_strategy_that_names_its_backends_takes_none() -> None:
    assert takes_backend(Single())
    assert not takes_backend(Single(tier="cheap"))
    assert not takes_backend(Consensus())


def test_a_failure_is_blamed_on_the_backend_that_failed_and_the_answer_credited_to_who_gave_it(world: World) -> None:
    run = world.open()
    assert run.route is not None
    failed, other = (run.route.backend or "", "b" if run.route.backend == "a" else "a")
    calls = (call(failed, "backend_failed"), call(other))
    world.answer(run, backend=other, calls=calls, verdict=Verdict(score=1.0, source="checks"))
    name = run.route.decision.decision_id
    assert world.book.verdicts == [(name, 0.0, 1.0, "failure")]
    assert world.router.learner.waiting[name].arm.backend == other


@pytest.mark.parametrize(
    ("error", "calls", "blamed"),
    [
        (BackendFailed("no"), ("backend_failed",), True),
        (InvalidRequest("yours"), (), False),
        (AgentError("ours"), ("cancelled",), False),
    ],
)
def test_an_error_counts_only_where_it_is_the_backends(
    world: World, error: AgentError, calls: tuple[str, ...], blamed: bool
) -> None:
    run = world.open()
    assert run.route is not None
    made = tuple(call(run.route.backend or "", code) for code in calls)
    world.router.ended(run, answer=None, error=error, calls=made, latency_s=1.0)
    assert bool(world.book.verdicts) is blamed
    assert not world.router.learner.waiting
    assert world.book.rows[0].status == error.code


def test_an_empty_answer_is_worth_nothing(world: World) -> None:
    world.answer(run := world.open(), text="  ")
    assert run.route is not None
    assert world.book.verdicts == [(run.route.decision.decision_id, 0.0, 1.0, "empty")]


def test_a_conversation_keeps_its_backend(world: World) -> None:
    world.live(60, {"a": 0.6, "b": 0.61})
    first = {"role": "user", "content": "begin"}
    run = world.open(messages=(first,))
    assert run.route is not None
    again = ({"role": "assistant", "content": "yes"}, {"role": "user", "content": "and then?"})
    for _ in range(20):
        held = world.open(messages=(first, *again))
        assert held.route is not None
        assert held.route.decision.way == "held" or held.route.backend == run.route.backend


def test_the_same_key_is_heard_once_of_each_request_and_not_without_end(world: World) -> None:
    run = world.open()
    world.answer(run)
    before = len(world.book.verdicts)
    for _ in range(100):
        world.router.feedback(run.request.request_id, "k", 0.0)
    assert len(world.book.verdicts) == before + 1
    trust = KeyTrust(per_hour=50)
    assert sum(trust.admit("k", now=10.0) > 0 for _ in range(500)) == 50
    assert trust.admit("k", now=4000.0) > 0


def test_one_key_that_floods_does_not_outvote_the_others() -> None:
    trust = KeyTrust()
    quiet = loud = 0.0
    for n in range(400):
        loud += trust.admit("loud", now=float(n * 60))
        if n % 40 == 0:
            quiet += trust.admit(f"quiet{n // 40 % 3}", now=float(n * 60))
    assert trust.admit("loud", now=1e6) < 0.7
    assert trust.admit("quiet0", now=1e6) == 1.0


def test_a_key_that_contradicts_checks_is_believed_less() -> None:
    trust = KeyTrust()
    for _ in range(30):
        trust.compare("liar", 0.0, 1.0)
        trust.compare("honest", 0.9, 1.0)
    assert trust.admit("liar", now=0.0) < 0.5 < trust.admit("honest", now=0.0)


def test_what_was_learned_survives_and_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    old = World(tmp_path)
    old.live(80, {"a": 0.2, "b": 0.9})
    late = old.open()
    old.answer(late)
    asyncio.run(old.router.save())
    new = World(tmp_path, seed=2)
    asyncio.run(new.router.load())
    assert new.router.heard == old.router.heard
    # A verdict that comes after the restart still finds its decision.
    assert late.route is not None
    new.router.feedback(late.request.request_id, "k", 0.9)
    assert new.book.verdicts[-1][0] == late.route.decision.decision_id
    assert share(new.live(30, {"a": 0.2, "b": 0.9}), "b") >= 0.85

    path = tmp_path / "routing" / FILE
    path.write_bytes(path.read_bytes()[:200])
    fresh = World(tmp_path)
    asyncio.run(fresh.router.load())
    assert fresh.router.heard == 0
    assert not path.exists()
    assert [each.name for each in path.parent.iterdir()] == ["learned.damaged-0"]


def test_a_new_price_counts_from_the_next_choice_on(tmp_path: Path) -> None:
    world = World(tmp_path, routing={"cost_weight": 200.0})
    world.live(80, {"a": 0.7, "b": 0.7})
    dear = BackendSpec(name="a", model="m-a", output_usd_per_mtok=1000.0)
    world.backends = [dear, B]
    assert share(world.live(60, {"a": 0.7, "b": 0.7}), "b") > 0.5


def test_a_request_may_weigh_for_itself(world: World) -> None:
    run = world.open(routing={"objective": "ratio", "cost_weight": 3.0})
    assert run.route is not None
    assert run.route.decision.per_usd == 3.0


def test_a_backend_that_vanishes_is_not_chosen_and_one_that_appears_is_tried(world: World) -> None:
    world.live(60, {"a": 0.3, "b": 0.8})
    new = BackendSpec(name="c", model="m-c")
    world.backends = [A, new]
    chosen = world.live(60, {"a": 0.3, "c": 0.9})
    assert "b" not in chosen
    assert share(chosen[30:], "c") > 0.6


# ── committees ──────────────────────────────────────────────────────────────────────────────────────────────────────────


PLANNERS = [A, replace(B, capabilities=frozenset({"words", "plan"}))]


def test_a_hard_request_goes_to_a_committee_until_comparisons_say_otherwise(tmp_path: Path) -> None:
    world = World(tmp_path, backends=PLANNERS, committee={"threshold": 0.0})
    for _ in range(6):
        run = world.open()
        assert run.route is not None
        assert run.route.decision.arm.strategy == "committee"
        assert isinstance(run.route.strategy, Committee)
        world.answer(run, backend="a")
        world.router.compared(run.request.request_id, 0.0)
    chosen = []
    for _ in range(80):
        run = world.open()
        assert run.route is not None
        chosen.append(run.route.decision.arm.strategy)
        world.answer(run, backend=run.route.backend or "a")
        world.router.compared(run.request.request_id, 0.0 if chosen[-1] == "committee" else 1.0)
    assert chosen[-30:].count("committee") <= 6, "what does not win is left"
    assert world.router.counts.verdicts["comparison"] > 50


def test_a_committee_that_wins_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path, backends=PLANNERS, committee={"threshold": 0.0})
    chosen = []
    for _ in range(80):
        run = world.open()
        assert run.route is not None
        chosen.append(run.route.decision.arm.strategy)
        world.answer(run, backend=run.route.backend or "a")
        world.router.compared(run.request.request_id, 1.0 if chosen[-1] == "committee" else 0.0)
    assert chosen[-30:].count("committee") >= 24


async def test_what_was_heard_of_committees_survives_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, backends=PLANNERS, committee={"threshold": 0.0})
    run = world.open()
    world.answer(run, backend="a")
    world.router.compared(run.request.request_id, 0.0)
    assert world.router.heard_committees == 1
    await world.router.save()
    again = World(tmp_path, backends=PLANNERS, committee={"threshold": 0.0})
    await again.router.load()
    assert again.router.heard_committees == 1


def test_an_easy_request_never_meets_a_committee(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert {option.arm.strategy for option in world.router.options_of(world.open())} == {"single"}
