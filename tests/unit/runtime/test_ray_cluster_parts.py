"""The parts of the Ray cluster that need no Ray: mailbox, hub at both ends, gathering of events, states, delays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from agents.calls import Permit
from agents.records import AgentError, Event, NotFound, Overloaded, Refused
from runtime.ray_cluster import hub_client, mailbox
from runtime.ray_cluster.actor import Item, batches
from runtime.ray_cluster.hub_client import MailboxHub
from runtime.ray_cluster.hub_server import HubServer
from runtime.ray_cluster.mailbox import Call, Mailbox, Release
from runtime.ray_cluster.table import MAX_PARKED, MOVES, NodeTable, restart_delay_s
from tests.fakes.nodes import DeskHub, a_spec


class InProcess:
    """Stands for an actor handle: ``handle.method.remote(...)`` runs the method as a task. ``broken`` calls fail first."""

    def __init__(self, plain: Mailbox) -> None:
        self.plain = plain
        self.broken = 0

    def __getattr__(self, name: str) -> Any:
        handle = self

        class Method:
            @staticmethod
            def remote(*args: Any) -> asyncio.Future[Any]:
                return asyncio.ensure_future(handle._run(getattr(handle.plain, name), args))

        return Method

    async def _run(self, method: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> Any:
        if self.broken > 0:
            self.broken -= 1
            raise ActorUnavailableError("down", b"0" * 16)
        return await method(*args)


@pytest.fixture
def hub() -> DeskHub:
    return DeskHub(limit=1)


@pytest.fixture
def handle() -> InProcess:
    return InProcess(Mailbox())


@pytest.fixture
async def server(hub: DeskHub, handle: InProcess) -> AsyncIterator[HubServer]:
    made = HubServer(hub=hub, mailbox=handle)
    made.start()
    yield made
    await made.stop()


@pytest.fixture
async def node_hub(handle: InProcess, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MailboxHub]:
    monkeypatch.setattr(hub_client, "RESENDS_AFTER_S", (0.0, 0.0, 0.0))
    made = MailboxHub(handle, "host-1")
    yield made
    made._poster.cancel()
    await asyncio.gather(made._poster, return_exceptions=True)


async def turns(count: int = 60) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_lease_and_release_reach_the_desk(hub: DeskHub, node_hub: MailboxHub) -> None:
    permit = await node_hub.lease("b", holder="t", wait_s=1.0)
    assert hub.desk.inflight("b") == 1
    node_hub.release(permit, None)
    await node_hub.flush()
    await turns()
    assert hub.desk.inflight("b") == 0
    with pytest.raises(NotFound):
        await node_hub.lease("nobody", holder="t", wait_s=1.0)
    with pytest.raises(AgentError, match="RuntimeError"):
        await node_hub.ask_peer("defect", "?", task_id="t", hops=0, deadline_s=1.0)


async def test_a_cancelled_lease_leaves_neither_queue_nor_permit(hub: DeskHub, node_hub: MailboxHub) -> None:
    held = await node_hub.lease("b", holder="t", wait_s=1.0)
    waiting = asyncio.create_task(node_hub.lease("b", holder="t2", wait_s=10.0))
    await turns()
    assert hub.desk.queued("b") == 1
    waiting.cancel()
    await turns()
    assert hub.desk.queued("b") == 0
    # Granted in the moment of the cancel: the permit is on its way to somebody who has gone.
    late = asyncio.create_task(node_hub.lease("b", holder="t3", wait_s=10.0))
    await turns()
    node_hub.release(held, None)
    hub.desk.release(held, None)
    late.cancel()
    await turns()
    assert hub.desk.inflight("b") == 0


async def test_a_call_that_is_sent_twice_is_served_once(hub: DeskHub, handle: InProcess, server: HubServer) -> None:
    call = Call(call_id="c", host="host-1", method="lease", args={"backend": "b", "holder": "t", "wait_s": 1.0})
    first = await handle.plain.ask(call)
    second = await handle.plain.ask(call)
    assert first == second
    assert isinstance(first.value, Permit)
    assert hub.desk.inflight("b") == 1


async def test_a_mailbox_that_is_down_for_a_moment_loses_nothing(hub: DeskHub, handle: InProcess, node_hub: MailboxHub) -> None:
    handle.broken = 2
    permit = await node_hub.lease("b", holder="t", wait_s=1.0)
    handle.broken = 2
    node_hub.release(permit, None)
    await node_hub.flush()
    await turns()
    assert hub.desk.inflight("b") == 0


async def test_what_a_dead_actor_wanted_is_dropped_but_its_releases_count(
    hub: DeskHub, handle: InProcess, server: HubServer, node_hub: MailboxHub
) -> None:
    held = await hub.lease("b", holder="t", wait_s=1.0)
    waiting = asyncio.create_task(node_hub.lease("b", holder="t2", wait_s=10.0))
    await turns()
    assert hub.desk.queued("b") == 1
    server.forget("host-1")
    await turns()
    assert hub.desk.queued("b") == 0
    late = Call(call_id="late", host="host-1", method="lease", args={"backend": "b", "holder": "t2", "wait_s": 1.0})
    await handle.plain.post([late, Release(host="host-1", permit=held, record=None)])
    await turns()
    assert hub.desk.inflight("b") == 0
    await asyncio.gather(waiting, return_exceptions=True)


async def test_the_mailbox_refuses_more_waiting_calls_than_it_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MAX_WAITING", 1)
    box = Mailbox()
    waiting = asyncio.create_task(box.ask(Call(call_id="1", host="h", method="embed")))
    await turns(2)
    refused = await box.ask(Call(call_id="2", host="h", method="embed"))
    assert isinstance(refused.error, Overloaded)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await box.take([], 0.001) == [Call(call_id="1", host="h", method="embed")]
    assert await box.take([], 0.001) == []


async def test_events_gather_into_lists_and_the_first_leaves_at_once() -> None:
    inbox: asyncio.Queue[Item | None] = asyncio.Queue()
    events = [Event(kind="delta", at=float(n)) for n in range(70)]
    lists = batches(inbox, flush_s=30.0, max_items=32)
    inbox.put_nowait(events[0])
    assert await anext(lists) == events[:1]
    for event in events[1:]:
        inbox.put_nowait(event)
    inbox.put_nowait(None)
    rest = [batch async for batch in lists]
    assert [len(batch) for batch in rest] == [32, 32, 5]
    assert [event for batch in rest for event in batch] == events[1:]


def test_restarts_are_delayed_more_with_every_early_death() -> None:
    delays = [restart_delay_s(falls) for falls in (1, 2, 3, 4, 50)]
    assert delays == [0.0, 0.2, 0.4, 0.8, 10.0]


def test_the_table_admits_up_to_its_cap_and_forgets_the_oldest_parked() -> None:
    table = NodeTable(max_live=1)
    entry = table.admit(a_spec("a"), 1.0)
    assert table.admit(a_spec("a"), 2.0) is entry
    with pytest.raises(Refused):
        table.admit(a_spec("b"), 1.0)
    table.shelve(entry)
    with pytest.raises(NotFound):
        table.find(a_spec("a").node_id)
    for n in range(MAX_PARKED):
        table.shelve(table.admit(a_spec(str(n)), 1.0))
    assert len(table.entries()) == MAX_PARKED
    assert all(other.spec.name != "a" for other in table.entries())


def test_a_move_that_the_table_does_not_have_is_a_defect() -> None:
    entry = NodeTable(max_live=1).admit(a_spec(), 1.0)
    entry.move("live")
    assert entry.up.is_set()
    with pytest.raises(ValueError, match="cannot go from live to parked"):
        entry.move("parked")
    assert {state for moves in MOVES.values() for state in moves} == set(MOVES)
