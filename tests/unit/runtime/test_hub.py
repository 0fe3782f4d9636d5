"""What nodes reach of the daemon: permits, peers, embeddings, announcements; each bounded."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec
from agents.llm.desk import Desk
from agents.records import DeadlineExceeded, Event, InvalidRequest, NodeLost, NotFound, Overloaded
from registry.records import RegistryError
from runtime import hub as hub_module
from runtime.accounts import Limits
from runtime.hub import MAX_QUESTION_CHARS, DaemonHub
from tests.fakes.backends import HANG
from tests.fakes.cluster import ScriptedCluster, call, node


class Embedder:
    model = "tiny"
    ready = True

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def load(self) -> None: ...

    async def embed(self, texts: Sequence[str]) -> Any:
        if self.error:
            raise self.error
        return np.asarray([[0.5, float(len(text))] for text in texts], dtype=np.float32)

    async def count_tokens(self, texts: Sequence[str]) -> int:
        return len(texts)

    async def aclose(self) -> None: ...


def make(
    *attempts: Sequence[Any], embedder: Any = None, nodes: Any = None
) -> tuple[DaemonHub, ScriptedCluster, Desk, list[Event]]:
    desk = Desk([BackendSpec(name="a", max_concurrency=2)], breaker=BreakerPolicy())
    told: list[Event] = []
    hub = DaemonHub(desk=desk, embedder=embedder, max_hops=2, announce=told.append, wall=lambda: 7.0)
    hub.cluster = cluster = ScriptedCluster(*attempts, nodes=nodes)
    return hub, cluster, desk, told


async def ask(hub: DaemonHub, peer: str = "generalist", **changes: Any) -> str:
    return (await hub.ask_peer(peer, **{"question": "why?", "task_id": "r1/x.1.1", "hops": 0, "deadline_s": 5.0, **changes})).text


async def test_a_peer_is_asked_one_hop_further_for_the_same_request() -> None:
    hub, cluster, _, _ = make(["because"])
    assert await ask(hub, hops=1) == "because"
    (task,) = cluster.tasks
    assert (task.request_id, task.hops, task.budget.deadline_s) == ("r1", 2, 5.0)
    assert task.work.messages == ({"role": "user", "content": "why?"},)
    await ask(hub)
    assert cluster.tasks[0].task_id != cluster.tasks[1].task_id


async def test_a_peer_is_told_as_what_it_is_asked_and_how_long_it_may_answer() -> None:
    hub, cluster, _, _ = make([call("a", cost_usd=0.25), "because"])
    answer = await hub.ask_peer(
        "generalist", "why?", task_id="r1/x.1.1", hops=0, deadline_s=5.0, instructions="You are a pilot.", max_tokens=80
    )
    assert (answer.text, answer.backend, answer.cost_usd) == ("because", "a", 0.25)
    (task,) = cluster.tasks
    assert task.work.messages[0] == {"role": "system", "content": "You are a pilot."}
    assert task.work.params == {"max_tokens": 80}


async def test_a_peer_knows_what_is_left_of_the_requests_budget() -> None:
    hub, cluster, _, _ = make(["because"])
    hub.cashier.open("r1/x.1", key_id=None, limits=Limits(usd=0.5, tokens=900))
    await ask(hub, task_id="r1/x.1/1")
    await ask(hub, task_id="r2/x.9/1")
    assert [(task.budget.usd, task.budget.tokens) for task in cluster.tasks] == [(0.5, 900), (None, None)]


@pytest.mark.parametrize(
    ("changes", "error", "param"),
    [
        ({"hops": 2}, InvalidRequest, "cluster.max_hops"),
        ({"hops": 9}, InvalidRequest, "cluster.max_hops"),
        ({"deadline_s": 0.0}, DeadlineExceeded, None),
        ({"question": "x" * (MAX_QUESTION_CHARS + 1)}, InvalidRequest, "question"),
        ({"peer": "nobody"}, NotFound, "peer"),
        ({"peer": "asleep"}, NotFound, "peer"),
    ],
)
async def test_questions_are_bounded(changes: dict[str, Any], error: type[Exception], param: str | None) -> None:
    hub, cluster, _, _ = make(nodes=[node(), node("asleep", state="parked")])
    with pytest.raises(error) as caught:
        await ask(hub, **changes)
    assert getattr(caught.value, "param") == param  # noqa: B009
    assert cluster.tasks == []


@pytest.mark.parametrize("steps", [["because"], [NodeLost("gone")], [], ["because", HANG]])
async def test_the_peers_permits_come_back_and_its_answer_is_closed(steps: list[Any]) -> None:
    hub, cluster, desk, _ = make()
    cluster.script = [
        [lambda: desk.try_lease("a", holder=cluster.tasks[-1].task_id), lambda: seen.append(desk.inflight("a")), *steps]
    ]
    seen: list[int] = []
    try:
        await ask(hub)
    except (NodeLost, NotFound):
        assert "because" not in steps
    assert seen == [1]
    assert desk.inflight("a") == 0
    assert cluster.open == 0


async def test_a_peer_that_hangs_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "GRACE_S", 0.0)
    hub, cluster, desk, _ = make([HANG])
    with pytest.raises(DeadlineExceeded):
        await ask(hub, deadline_s=0.01)
    assert (cluster.open, desk.inflight("a")) == (0, 0)


async def test_permits_are_the_desks() -> None:
    hub, _, desk, _ = make()
    permit = await hub.lease("a", holder="t", wait_s=0.0)
    await hub.lease("a", holder="t", wait_s=0.0)
    with pytest.raises(Overloaded):
        await hub.lease("a", holder="t", wait_s=0.0)
    hub.release(permit, None)
    hub.release(permit, None)
    assert desk.inflight("a") == 1


async def test_embeddings_are_plain_lists_and_failures_are_named() -> None:
    assert await make(embedder=Embedder())[0].embed(["ab", "c"]) == [[0.5, 2.0], [0.5, 1.0]]
    with pytest.raises(InvalidRequest, match="no embedding model"):
        await make()[0].embed(["a"])
    with pytest.raises(InvalidRequest, match="too long"):
        await make(embedder=Embedder(RegistryError("too long")))[0].embed(["a"])


async def test_announcements_carry_topic_and_task() -> None:
    hub, _, _, told = make()
    await hub.announce("schema", {"name": "users"}, task_id="r1/1")
    assert told == [Event(kind="peer", at=7.0, data={"topic": "schema", "task_id": "r1/1", "name": "users"})]


@pytest.mark.parametrize("end", ["because", NodeLost("gone", calls=(call("b", cost_usd=0.5),)), HANG])
async def test_what_a_peer_spends_is_told_whatever_comes_of_it(end: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "GRACE_S", 0.0)
    hub, _, _, _ = make([call("a", cost_usd=0.25), end])
    told: list[Any] = []
    hub.heard = told.append
    with contextlib.suppress(NodeLost, DeadlineExceeded):
        await ask(hub, deadline_s=0.02)
    asked, answered = told
    assert (asked.kind, asked.text) == ("ask", "why?")
    assert (answered.kind, answered.task_id, answered.asked) == ("answer", "r1/x.1.1", "generalist")
    assert answered.text == ("because" if isinstance(end, str) and end != HANG else "")
    assert sum(record.cost_usd for record in answered.calls) == (0.75 if isinstance(end, NodeLost) else 0.25)
    assert answered.error == {NodeLost: "node_lost", str: None}.get(type(end), "deadline_exceeded")
