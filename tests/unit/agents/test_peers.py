"""What a task may ask of its peers: within its time and budget, and never at the cost of its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents import peers as peers_module
from agents.calls import CallRecord, Usage
from agents.committee.records import Convened, Design, PeerAnswer, Taken
from agents.peers import Peers
from agents.records import BudgetExceeded, Event, NodeLost, NotFound, Overloaded, Task
from agents.strategy_specs import Seat
from agents.task_toolbox import TaskToolbox
from tests.fakes.lone_node import a_task
from tests.fakes.toolbox import FakePool

SEATS = (Seat(speciality="Pilot"), Seat(speciality="Clerk"))
DESIGN = Design(members=SEATS, rounds=1, origin="rules")


class Hub:
    """Answers, raises, or hangs."""

    def __init__(self, says: Any = None) -> None:
        self.says = says
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def _said(self, method: str, more: dict[str, Any], default: Any) -> Any:
        self.asked.append((method, more))
        if isinstance(self.says, BaseException):
            raise self.says
        if self.says == "hang":
            await asyncio.Event().wait()
        return default if self.says is None else self.says

    async def ask_peer(self, peer: str, question: str, **more: Any) -> Any:
        return await self._said("ask_peer", {"peer": peer, "question": question, **more}, PeerAnswer(text="yes"))

    async def pooled_design(self, problem: str, **more: Any) -> Any:
        return await self._said("pooled_design", {"problem": problem, **more}, None)

    async def convene(self, problem: str, seats: Any, **more: Any) -> Any:
        found = Convened(committee_id="c1", seats=tuple(Taken(speciality=seat.speciality, node="n", by="warm") for seat in seats))
        return await self._said("convene", {"problem": problem, **more}, found)

    async def dissolve(self, committee_id: str, **more: Any) -> None:
        await self._said("dissolve", {"committee_id": committee_id, **more}, None)


def box(hub: Hub, task: Task | None = None) -> tuple[TaskToolbox, list[Event]]:
    told: list[Event] = []
    task = task or a_task()
    served: Any = hub
    peers = Peers(served, task, locale="harbour")
    return TaskToolbox(task, pool=FakePool("x"), sink=told.append, max_items_per_call=5, max_parallel=2, peers=peers), told


async def test_a_question_goes_within_the_tasks_time_as_far_as_it_has_come() -> None:
    hub = Hub()
    toolbox, _ = box(hub, a_task(deadline_s=9.0, hops=2))
    answer = await toolbox.ask_peer("expert", "why?", instructions="You know.", max_tokens=50, within_s=4.0)
    assert answer.text == "yes"
    ((_, asked),) = hub.asked
    assert (asked["peer"], asked["hops"], asked["instructions"], asked["max_tokens"]) == ("expert", 2, "You know.", 50)
    assert asked["deadline_s"] == 4.0
    await toolbox.ask_peer("expert", "why?")
    assert 8.0 < hub.asked[1][1]["deadline_s"] <= 9.0


async def test_what_a_peer_spends_is_spent_also_where_it_fails() -> None:
    toolbox, _ = box(Hub(PeerAnswer(text="yes", cost_usd=0.3, tokens=400)), a_task(usd=1.0, tokens=1_000))
    await toolbox.ask_peer("expert", "why?")
    assert toolbox.remaining_usd() == pytest.approx(0.7)
    assert toolbox.remaining_tokens() == 600
    call = CallRecord(backend="b", model="m", started_at=0.0, latency_s=1.0, cost_usd=0.5, usage=Usage(prompt_tokens=590))
    toolbox, _ = box(Hub(NodeLost("gone", calls=(call,))), a_task(usd=1.0, tokens=600))
    with pytest.raises(NodeLost):
        await toolbox.ask_peer("expert", "why?")
    assert (toolbox.remaining_usd(), toolbox.remaining_tokens()) == (0.5, 10)
    with pytest.raises(BudgetExceeded):
        await toolbox.ask_peer("expert", "why? " * 100)


async def test_a_committee_is_convened_and_dissolved_through_the_hub() -> None:
    hub = Hub()
    toolbox, _ = box(hub)
    committee = await toolbox.convene("the problem " * 1_000, SEATS)
    assert [seat.node for seat in committee.seats] == ["n", "n"]
    assert hub.asked[0][1]["locale"] == "harbour"
    assert len(hub.asked[0][1]["problem"]) == 4_000
    await toolbox.dissolve(committee, design=DESIGN, problem="p", passed=True)
    assert hub.asked[1][1]["passed"] is True


async def test_whoever_was_asked_by_a_peer_convenes_nobody() -> None:
    hub = Hub()
    toolbox, told = box(hub, a_task(hops=1))
    assert [seat.by for seat in (await toolbox.convene("p", SEATS)).seats] == ["role", "role"]
    assert not hub.asked
    assert "convenes no nodes" in told[0].data["text"]


@pytest.mark.parametrize("says", [Overloaded("full"), "hang"])
async def test_a_daemon_that_refuses_or_is_slow_costs_nobody_an_answer(says: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "CONVENE_S", 0.01)
    monkeypatch.setattr(peers_module, "POOL_S", 0.01)
    toolbox, told = box(Hub(says))
    assert await toolbox.pooled_design("p") is None
    committee = await toolbox.convene("p", SEATS)
    assert [seat.by for seat in committee.seats] == ["role", "role"]
    await toolbox.dissolve(committee, design=DESIGN, problem="p", passed=False)
    assert len(told) == 3, "and the trace says so each time"


async def test_without_a_hub_there_are_no_peers() -> None:
    toolbox = TaskToolbox(a_task(), pool=FakePool("x"), sink=lambda event: None, max_items_per_call=5, max_parallel=2)
    with pytest.raises(NotFound):
        await toolbox.ask_peer("expert", "why?")
    assert await toolbox.pooled_design("p") is None
    assert [seat.by for seat in (await toolbox.convene("p", SEATS)).seats] == ["role", "role"]
