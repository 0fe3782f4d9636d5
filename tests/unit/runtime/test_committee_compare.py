"""Whether a committee is worth it: which answers are compared, by whom, and who hears of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from agents.calls import CallRecord, Usage
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.records import AgentError, BackendFailed, BudgetExceeded, Draft, Event, InvalidRequest, RequestId
from agents.strategy_specs import Committee, Pipeline, Seat, Single, Stage
from agents.verdicts import Verdict
from runtime.committees.compare import MAX_WAITING, ComparisonRow, Comparisons, Offered
from runtime.committees.rules import capped, check_caps, hardness, wants_committee
from runtime.committees.verdict import by_checks, judge_of, of_judge
from runtime.config.committee import CommitteeSettings
from runtime.ledger.records import LedgerUnavailable
from runtime.open_request import OpenRequest
from runtime.records import Answer, Request, Target
from tests.fakes.toolbox import texts

JUDGE = BackendSpec(name="judge", output_usd_per_mtok=9.0, capabilities=frozenset({"words", "critique"}))
CHEAP = BackendSpec(name="cheap", output_usd_per_mtok=1.0)
PLANNERS = (CHEAP, BackendSpec(name="planner", capabilities=frozenset({"plan"})))
HARD = (
    "Compare, analyse and evaluate three plans, design a strategy step by step, explain and justify the trade-offs, derive the "
    "constraints, estimate probabilities, prove that at least 4 of 12 ferries sail exactly on time:\n- A\n- B\n- C\nWhy? Which?"
)


def request(**fields: Any) -> Request:
    base: dict[str, Any] = {
        "request_id": RequestId("r1"),
        "source": "native",
        "messages": ({"role": "user", "content": "Sail?"},),
    }
    return Request(**{**base, **fields})


def answer(
    text: str = "They wait.", *, strategy: str = "committee", usd: float = 0.04, score: float | None = None, **draft: Any
) -> Answer:
    usage = Usage(prompt_tokens=900, completion_tokens=100)
    call = CallRecord(backend="cheap", model="m", started_at=0.0, latency_s=1.0, usage=usage, cost_usd=usd, simulated=True)
    return Answer(
        request_id=RequestId("r1"),
        draft=Draft(text=text, backend="cheap", **draft),
        calls=(call,),
        node="n",
        strategy=strategy,
        attempts=1,
        latency_s=3.0,
        verdict=None if score is None else Verdict(score=score, source="checks"),
    )


@dataclass
class World:
    """``other`` is what the other way gives (or raises), ``judge`` says which text is better."""

    other: Any = None
    judge: Any = lambda first, second: "equal"
    settings: CommitteeSettings = field(default_factory=lambda: CommitteeSettings(compare_share=1.0))
    spent: float = 0.0
    backends: tuple[BackendSpec, ...] = (CHEAP, JUDGE)

    def __post_init__(self) -> None:
        self.asked: list[Request] = []
        self.rows: list[ComparisonRow] = []
        self.heard: list[tuple[str, float]] = []
        self.lost: list[str] = []
        self.read: list[str] = []
        self.comparisons = Comparisons(
            settings=lambda: self.settings,
            book=self,
            ask=self._ask,
            backends=lambda: self.backends,
            heard=lambda request_id, score: self.heard.append((request_id, score)),
            lost=lambda request: self.lost.append(request.request_id),
            rng=random.Random(1),
            wall=lambda: 86_400.0 * 20,
        )

    def write(self, row: ComparisonRow) -> None:
        self.rows.append(row)

    async def spent_since(self, since: float) -> float:
        if self.spent < 0:
            raise LedgerUnavailable("the disk refuses")
        assert since == 86_400.0 * 20
        return self.spent

    async def run(self, request: Request) -> Answer:
        self.asked.append(request)
        found = self.other if self.other is not None else answer("They sail.", strategy="single", usd=0.01)
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, Answer)
        return found

    async def _ask(self, request: ChatRequest, judge: BackendSpec, booked: Any) -> ChatReply:
        said = texts(request)
        self.read.append(said)
        first, second = said.split("The first answer:")[1].split("The second answer:")
        verdict = self.judge(first.strip(), second.strip())
        if isinstance(verdict, BaseException):
            raise verdict
        booked(CallRecord(backend=judge.name, model="j", started_at=0.0, latency_s=0.1, cost_usd=0.005))
        return ChatReply(text=orjson.dumps({"better": verdict, "reason": "so"}).decode(), model="j", usage=Usage())

    async def compare(self, ours: Answer | None = None) -> ComparisonRow:
        await self.comparisons.compare(Offered(request=request(), answer=ours or answer()), self)
        return self.rows[-1]


async def test_the_best_other_way_has_the_same_tokens_and_is_no_committee() -> None:
    world = World()
    await world.compare()
    (asked,) = world.asked
    assert (asked.source, asked.target, asked.strategy, asked.library) == ("committee", Target(), None, "off")
    assert asked.budget_tokens == 1_000
    assert asked.budget_usd == pytest.approx(0.5)
    assert asked.key_id is None
    assert asked.request_id != "r1"
    assert not wants_committee(asked, CommitteeSettings(threshold=0.0), PLANNERS)


async def test_a_judge_reads_both_blind_and_in_both_orders() -> None:
    world = World(judge=lambda first, second: "first" if "wait" in first else "second")
    row = await world.compare()
    assert (row.outcome, row.decided_by, row.judge_usd) == ("won", "judge", pytest.approx(0.01))
    assert [said.index("They wait.") < said.index("They sail.") for said in world.read] == [True, False]
    assert not any("committee" in said.lower() for said in world.read)
    assert world.heard == [("r1", 1.0), (world.asked[0].request_id, 0.0)]
    assert (row.committee_usd, row.other_usd, row.committee_tokens, row.other_strategy) == (0.04, 0.01, 1_000, "single")
    assert row.simulated


async def test_a_judge_that_prefers_a_place_sees_no_difference() -> None:
    row = await World(judge=lambda first, second: "first").compare()
    assert (row.outcome, row.why) == ("tied", "the judge's word changes with the order")


async def test_a_committee_that_does_worse_is_told_to_the_router_and_its_design_goes() -> None:
    world = World(judge=lambda first, second: "second" if "wait" in first else "first")
    row = await world.compare()
    assert row.outcome == "lost"
    assert world.heard[0] == ("r1", 0.0)
    assert world.lost == ["r1"]


async def test_checks_decide_where_they_differ_and_no_judge_is_paid() -> None:
    world = World(other=answer("x", strategy="single", score=0.6))
    row = await world.compare(answer(score=0.95))
    assert (row.outcome, row.decided_by) == ("won", "checks")
    assert not world.read


@pytest.mark.parametrize(
    ("error", "outcome", "heard"),
    [(BudgetExceeded("spent"), "won", 2), (BackendFailed("down"), "none", 0)],
)
async def test_another_way_that_gives_nothing(error: AgentError, outcome: str, heard: int) -> None:
    world = World(other=error)
    row = await world.compare()
    assert row.outcome == outcome
    assert len(world.heard) == heard


async def test_a_judge_that_fails_or_costs_too_much_decides_nothing() -> None:
    world = World(judge=lambda first, second: BackendFailed("down"))
    row = await world.compare()
    assert (row.outcome, row.other_usd, world.heard) == ("none", 0.01, [])
    dear = BackendSpec(name="judge", output_usd_per_mtok=90_000.0, capabilities=frozenset({"critique"}))
    assert (await World(backends=(CHEAP, dear)).compare()).why == "the day's money does not pay for a judge"
    assert (await World(backends=(CHEAP,)).compare()).why == "no backend can judge"


async def test_the_days_money_ends_comparing_and_is_known_from_the_ledger() -> None:
    world = World(spent=0.5)
    await world.comparisons.compare(Offered(request=request(), answer=answer()), world)
    assert not world.asked
    assert world.comparisons.counts["no_money"] == 1
    world = World(spent=0.47)
    await world.compare()
    await world.compare()
    assert len(world.asked) == 2
    await world.comparisons.compare(Offered(request=request(), answer=answer()), world)
    assert len(world.asked) == 2, "two comparisons of 0.02 USD have used up what was left"


async def test_while_the_ledger_cannot_be_read_nothing_is_spent() -> None:
    world = World(spent=-1.0)
    await world.comparisons.compare(Offered(request=request(), answer=answer()), world)
    assert not world.asked


def offered(world: World, *, formed: bool = True, given: Answer | None = None, **fields: Any) -> int:
    run = OpenRequest(request=request(**fields), started=0.0, deadline_s=1.0, number=1, work_id="r1/x.1")
    if formed:
        run.note(Event(kind="committee", at=0.0, data={"state": "formed"}))
    before = len(world.comparisons._waiting)
    world.comparisons.offer(run, given or answer())
    return len(world.comparisons._waiting) - before


def test_only_answers_of_committees_are_offered_and_only_a_share() -> None:
    world = World()
    assert offered(world) == 1
    assert offered(world, formed=False) == 0, "the money did not pay for one, so that one model answered"
    assert offered(world, given=answer(strategy="single")) == 0
    assert offered(world, given=answer(" ")) == 0
    world.settings = CommitteeSettings(compare_share=0.0)
    assert offered(world) == 0
    world.settings = CommitteeSettings(compare_share=1.0)
    assert sum(offered(world) for _ in range(2 * MAX_WAITING)) == MAX_WAITING - 1
    assert world.comparisons.counts["dropped"] == MAX_WAITING + 1


# ── pure ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_that_is_not_whole_is_worse_than_one_that_is() -> None:
    found = by_checks(answer(complete=False), answer("x"))
    assert found is not None
    assert found.outcome == "lost"
    assert by_checks(answer(score=0.991), answer("x", score=1.0)) is None


def test_what_a_judge_says_is_read_with_care() -> None:
    assert of_judge("nonsense", {"better": "second"}).outcome == "tied"
    assert of_judge({"better": "first"}, {"better": "equal"}).outcome == "tied"
    assert (
        judge_of((JUDGE, BackendSpec(name="cheap", output_usd_per_mtok=99.0, capabilities=frozenset({"critique"}))), (answer(),))
        == JUDGE
    )


def test_hard_requests_that_leave_it_open_go_to_a_committee() -> None:
    hard = ({"role": "user", "content": HARD},)
    item = {"type": "object", "properties": {"a": {"enum": [1]}}}
    shape = {"type": "object", "properties": {f"field{n}": {"type": "array", "items": item} for n in range(9)}}
    given: dict[str, Any] = {"messages": hard, "schema": shape}
    settings = CommitteeSettings()
    assert hardness(request()) < 0.2
    assert hardness(request(**given)) >= 0.7
    assert wants_committee(request(**given), settings, PLANNERS)
    assert not wants_committee(request(), settings, PLANNERS)
    assert not wants_committee(request(**given), settings, (CHEAP, JUDGE)), "no model here can plan"
    assert not wants_committee(request(**given), CommitteeSettings(enabled=False), PLANNERS)
    for closed in (
        {"strategy": Single()},
        {"backend": "a"},
        {"target": Target(kind="strategy", name="single")},
        {"stream": True},
        {"source": "mock"},
        {"source": "committee"},
        {"params": {"tools": [{}]}},
        {"params": {"n": 2}},
        {"messages": ({"role": "user", "content": [{"type": "text", "text": HARD}, {"type": "image_url", "image_url": {}}]},)},
    ):
        assert not wants_committee(request(**{**given, **closed}), settings, PLANNERS), closed


def test_no_committee_is_larger_than_the_host_allows() -> None:
    settings = CommitteeSettings(size=3, rounds=1)
    nested = Pipeline(stages=(Stage(name="a", strategy=Single()), Stage(name="b", strategy=Committee(size=8, rounds=5))))
    found = capped(nested, settings)
    assert found.stages[0] == nested.stages[0]
    assert found.stages[1].strategy == Committee(size=3, rounds=1)
    assert capped(Single(), settings) == Single()
    many = Committee(members=tuple(Seat(speciality=name) for name in "abcd"))
    with pytest.raises(InvalidRequest, match="at most 3 members"):
        check_caps(Pipeline(stages=(Stage(name="b", strategy=many),)), settings)
    check_caps(nested, settings)
