"""Specialists on the request path: routines that are read strictly, written, checked, held, and left where they fail."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from agents.llm.simulated.answers import answer
from agents.llm.simulated.profiles import PROFILES
from agents.llm.simulated.reading import Reading
from agents.records import NodeId, NodeSpec
from registry.records import Review, VersionId
from runtime.controlling.probation import Probation
from runtime.specialists.desk import MOST_FAILURES, TRIES, Claiming, SpecialistDesk, changes_wanted, wanted_of
from runtime.specialists.routine import Said, code_of, inputs_of, judge, question, read
from runtime.topology.claims import held_out
from runtime.topology.payloads import Park, Spawn
from runtime.topology.records import Draft, Prediction, Scope
from runtime.topology.shape import Member, PatternId, Topology
from runtime.topology.verify import Terms
from sandbox.records import Problem, RunResult
from tests.fakes.request_path import request

GOOD = {"match": True, "confidence": 0.9, "backend": "a", "prompt": "be short"}
OWN = [f"freeze my card because {why}" for why in ("it is lost", "somebody stole it", "i am abroad", "i fear fraud")] * 3
OTHERS = [f"what is the weather in {place} today" for place in ("Rome", "Oslo", "Lima", "Bern")] * 3


def test_what_a_routine_says_is_read_strictly() -> None:
    said = read(RunResult(value=GOOD), ["a", "b"])
    assert (said.takes, said.backend, said.prompt) == (True, "a", "be short")
    assert read(RunResult(value={**GOOD, "backend": "gone"}), ["a"]).backend == ""
    assert not read(RunResult(value={**GOOD, "confidence": 0.4}), ["a"]).takes
    assert read(RunResult(value={**GOOD, "match": False, "confidence": 1}), ["a"]).takes is False


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {**GOOD, "match": 1},
        {**GOOD, "confidence": 1.5},
        {**GOOD, "confidence": float("nan")},
        {**GOOD, "prompt": "x" * 1001},
        {**GOOD, "prompt": None},
        {**GOOD, "more": 1},
        {**GOOD, "backend": 7},
    ],
)
def test_anything_else_is_a_fault_and_takes_nothing(value: Any) -> None:
    said = read(RunResult(value=value), ["a"])
    assert said.fault
    assert not said.takes


def test_a_routine_is_good_where_it_takes_its_own_and_leaves_others() -> None:
    yes, no = Said(match=True, confidence=0.9), Said()
    assert judge([("x", yes)] * 9 + [("y", no)], [("z", no)] * 10).good
    all_taken = judge([("x", yes)] * 10, [("z", yes)] * 10)
    assert (all_taken.good, all_taken.false) == (False, 1.0)
    assert '"z"' in all_taken.failures[0]
    none_taken = judge([("x", no)] * 10, [("z", no)] * 10)
    assert (none_taken.good, none_taken.recall) == (False, 0.0)
    assert not judge([("x", yes), ("x", yes), ("x", yes), ("x", Said(fault="it raised"))], []).good


def test_a_simulated_author_writes_one_from_the_examples_that_is_right_on_others() -> None:
    asked = question("card freezing", OWN[::2], OTHERS[::2], ["a"])
    profile = max(PROFILES.values(), key=lambda each: each.skill("code"))
    said = answer(Reading(messages=[{"role": "user", "content": asked}]), profile, 1)
    scope: dict[str, Any] = {}
    exec(code_of(said.text), scope)
    told = [
        (text, read(RunResult(value=scope["run"]({"text": text, "form": False, "count": None})), [])) for text in OWN + OTHERS
    ]
    verdict = judge(told[: len(OWN)], told[len(OWN) :])
    assert verdict.good


class Held:
    def __init__(self, *results: RunResult) -> None:
        self.results, self.asked = list(results), []

    async def call(self, inputs: Any = None) -> RunResult:
        self.asked.append(inputs)
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]

    async def aclose(self) -> None: ...


class Registry:
    def __init__(self) -> None:
        self.catalog = SimpleNamespace(artifacts={"specialist-p2"})

    def versions_of(self, name: str, state: str) -> Sequence[Any]:
        return [SimpleNamespace(version_id=f"{name}@1.0.0")] if state == "published" else []

    async def content(self, version: str) -> Any:
        return SimpleNamespace(content="def run(inputs): ...")


class World:
    def __init__(self, *results: RunResult, now: float = 0.0) -> None:
        self.now, self.held = now, Held(*results)
        self.share, self.open, self.claims = 0.0, set[Any](), dict[str, bool]()
        spec = NodeSpec(node_id=NodeId("n"), name="cards", role="specialist")
        self.members = {spec.node_id: Member(spec=spec, patterns=(PatternId("p1"),))}
        current = {"p1": "p2", "p2": "p2"}
        self.patterns: Any = SimpleNamespace(found=SimpleNamespace(current=current.get))
        self.desk = SpecialistDesk(
            patterns=self.patterns,
            registry=SimpleNamespace(registry=Registry()),
            sandbox=SimpleNamespace(hold=lambda code, limits: self.held),
            topology=lambda: Topology(members=self.members),
            backends=lambda: [SimpleNamespace(name="a")],
            asks=SimpleNamespace(able=lambda need: None),
            reviews=False,
            claims=Claiming(share=lambda: self.share, kept=lambda origin: origin not in self.open, note=self.note),
            clock=lambda: self.now,
            wall=lambda: self.now,
        )

    def note(self, request_id: str, node: str, held: bool) -> None:
        assert node == "cards"
        self.claims[request_id] = held

    async def ask(self, **fields: Any) -> Any:
        run: Any = SimpleNamespace(request=request(**fields), pattern="p1", taken=None, events=[])
        run.note = run.events.append
        await self.desk.choose(run)
        return run


async def test_a_live_specialist_takes_what_its_routine_says_is_its_own() -> None:
    world = World(RunResult(value=GOOD))
    await world.desk.look()
    run = await world.ask(count=3)
    assert (run.taken.node, run.taken.backend, run.taken.prompt, run.taken.pattern) == ("cards", "a", "be short", "p2")
    assert world.held.asked[-1] == inputs_of(request(count=3), "hi")
    assert run.events[0].data["way"] == "specialist"
    assert world.desk.counts == {"taken": 1}


async def test_a_share_of_a_kept_specialists_requests_goes_on_without_it() -> None:
    world = World(RunResult(value=GOOD))
    await world.desk.look()
    world.share = 0.2
    runs = {f"req_{number}": await world.ask(request_id=f"req_{number}") for number in range(300)}
    assert 40 <= sum(world.claims.values()) <= 80
    for name, run in runs.items():
        assert (run.taken is None) is world.claims[name] is held_out(name, 0.2)
        assert [event.data["way"] for event in run.events] == ["holdout" if run.taken is None else "specialist"]
    assert world.desk.counts == {"held": sum(world.claims.values()), "taken": 300 - sum(world.claims.values())}


async def test_no_request_is_held_out_while_a_specialist_is_on_probation_or_where_nobody_wants_it() -> None:
    world = World(RunResult(value=GOOD))
    world.open.add(None)  # the proposal that the node came from
    await world.desk.look()
    for world.share, world.open in ((0.5, {None}), (0.0, set[Any]())):
        for number in range(50):
            assert (await world.ask(request_id=f"req_{number}")).taken is not None
    assert world.claims == {}


@pytest.mark.parametrize("fields", [{"backend": "a"}, {"source": "registry"}])
async def test_a_request_that_names_who_answers_is_not_asked_about(fields: dict[str, Any]) -> None:
    world = World(RunResult(value=GOOD))
    await world.desk.look()
    before = len(world.held.asked)
    assert (await world.ask(**fields)).taken is None
    assert len(world.held.asked) == before


@pytest.mark.parametrize("problem", [Problem.TIMED_OUT, Problem.RAISED, Problem.CRASHED, Problem.UNAVAILABLE])
async def test_whatever_goes_wrong_the_request_goes_on_and_a_failing_routine_rests(problem: Problem) -> None:
    world = World(RunResult(value=GOOD), RunResult(problem=problem, error="no"))
    await world.desk.look()
    for _ in range(MOST_FAILURES):
        assert (await world.ask()).taken is None
    asked = len(world.held.asked)
    assert (await world.ask()).taken is None
    assert len(world.held.asked) == asked
    world.now += 1_000
    await world.ask()
    assert len(world.held.asked) == asked + 1


async def test_a_specialist_that_is_gone_takes_nothing_more() -> None:
    world = World(RunResult(value=GOOD))
    await world.desk.look()
    world.members.clear()
    await world.desk.look()
    assert (await world.ask()).taken is None


def test_parked_nodes_and_generalists_are_nobodys_specialists() -> None:
    world = World(RunResult(value=GOOD))
    (member,) = world.members.values()
    parked = Topology(members={NodeId("n"): Member(spec=member.spec, life="parked", patterns=member.patterns)})
    assert wanted_of(parked, world.patterns) == {}
    assert set(wanted_of(Topology(members=world.members), world.patterns)) == {"p2"}


async def test_a_new_specialist_is_measured_from_when_its_routine_is_asked() -> None:
    world = World(RunResult(value=GOOD), now=50.0)

    def proposal(**more: Any) -> Any:
        spec = NodeSpec(node_id=NodeId("n"), name="cards", role="specialist")
        payload = more.pop("payload", None) or Spawn(spec=spec, patterns=(PatternId(more.pop("pattern", "p1")),))
        return SimpleNamespace(draft=SimpleNamespace(payload=payload), applied_at=10.0, updated_at=9.0)

    assert world.desk.begins(proposal()) == 10.0  # nobody can write one
    world.desk._asks = SimpleNamespace(able=lambda need: "a model")
    assert world.desk.begins(proposal()) is None
    await world.desk.look()
    assert world.desk.begins(proposal()) == 50.0
    world.now = 70.0
    await world.desk.look()
    assert world.desk.begins(proposal()) == 50.0
    assert world.desk.begins(proposal(payload=Park(node=NodeId("n")))) == 10.0
    world.desk._tried["p2"] = (TRIES, 0.0)
    world.desk._serving.clear()
    assert world.desk.begins(proposal()) == 10.0  # none will be written


async def test_what_is_not_at_work_yet_is_not_measured() -> None:
    asked: list[float] = []

    class Values:
        async def of(self, metric: str, scope: Any, *, since: float, **more: Any) -> tuple[list[float], int]:
            asked.append(since)
            return [0.0], 1

    probation, begins = Probation(Values()), [None, 30.0]
    probation.begins = lambda proposal: begins[0]
    promise = Prediction(metric="failure", baseline=0.0, expected=0.0, margin=0.1, scope=Scope())
    draft = Draft(payload=Park(node=NodeId("n")), reason="r", evidence=(), predictions=(promise,))
    case: Any = SimpleNamespace(proposal=SimpleNamespace(proposal_id="x", draft=draft, until=99.0, extended=0))
    await probation.look(case, Terms(), now=20.0)
    assert asked == []
    begins.pop(0)
    await probation.look(case, Terms(), now=40.0)
    assert asked == [30.0]


@pytest.mark.parametrize(("state", "told"), [("archived", ("reviewers of the last one want: no loop",)), ("published", ())])
def test_what_reviewers_of_a_routine_want_is_told_to_its_next_author(state: str, told: tuple[str, ...]) -> None:
    objection = {"role": "performance", "opinion": "reject", "score": 0.2, "at": 1.0, "required_changes": ("no loop",)}
    review = Review(version_id=VersionId("specialist-p2@1.0.0"), reviewer="r", **objection)
    version = SimpleNamespace(version_id=review.version_id)
    catalog = SimpleNamespace(
        artifacts={"specialist-p2"},
        standings={review.version_id: SimpleNamespace(state=state)},
        reviews={review.version_id: [review]},
    )
    registry: Any = SimpleNamespace(catalog=catalog, versions_of=lambda name: [version])
    assert changes_wanted(registry, "p2") == told
    assert changes_wanted(registry, "p9") == ()
