"""The daemon as its surfaces see it: each question goes to the right part."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec
from agents.llm.desk import Desk
from agents.llm.pool import Pool
from agents.llm.retry import RetryPolicy
from agents.records import BackendFailed, NotFound, Overloaded, Refused, RequestId
from registry.records import EmbeddingBusy, RegistryError
from runtime.admission import Cashier
from runtime.dispatch import Dispatch
from runtime.records import Answer, Request, Service, Target
from runtime.service import DaemonService
from tests.fakes.backends import ScriptedBackend
from tests.fakes.cluster import RecordingLedger, RecordingMetrics, ScriptedCluster
from tests.fakes.escalations import FakeEscalations
from tests.fakes.routing import idle_router
from tests.fakes.service import fake_settings
from tests.fakes.topology_port import idle_controller


class Embedder:
    """Counts characters; ``error`` is raised instead."""

    model = "tiny"
    ready = True
    error: Exception | None = None

    async def load(self) -> None: ...

    async def embed(self, texts: Sequence[str]) -> Any:
        if self.error:
            raise self.error
        return np.asarray([[float(len(text))] for text in texts], dtype=np.float32)

    async def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(text) for text in texts)

    async def aclose(self) -> None: ...


WHO: dict[str, Any] = {"request_id": "r1", "key_id": None}


def make(
    *script: Any, embedder: Any = None, nodes: Any = None, backends: Sequence[str] = ("a", "b"), **sections: Any
) -> DaemonService:
    scripted = [ScriptedBackend(BackendSpec(name=name, model="m", aliases=(f"{name}-alias",)), *script) for name in backends]
    settings = fake_settings(**sections)
    desk = Desk([backend.spec for backend in scripted], breaker=BreakerPolicy())
    cashier = Cashier(desk)
    pool = Pool(scripted, admission=cashier, retry=RetryPolicy(enabled=False))
    cluster = ScriptedCluster(["hello"], nodes=nodes)
    ledger: Any = RecordingLedger()
    metrics: Any = RecordingMetrics()
    keys: Any = object()
    jobs: Any = object()
    fields: dict[str, Any] = {"settings": settings, "pool": pool, "desk": desk, "cashier": cashier}
    fields |= {"ledger": ledger, "metrics": metrics}
    dispatch = Dispatch(cluster=cluster, **fields)
    return DaemonService(
        pool_reason="configured",
        cluster_port=cluster,
        keys=keys,
        dispatch=dispatch,
        embedder=embedder,
        jobs=jobs,
        replies=jobs,
        escalations=FakeEscalations(),
        registry=jobs,
        code=jobs,
        library=jobs,
        patterns=jobs,
        router=idle_router(settings),
        controller=idle_controller(settings),
        board=jobs,
        observing=jobs,
        sandbox_desk=jobs,
        **fields,
    )


def test_it_has_all_that_surfaces_ask_for() -> None:
    wanted = {name for name, _ in inspect.getmembers(Service) if not name.startswith("_")}
    assert wanted - set(dir(make())) == set()


def test_it_is_ready_when_every_part_is() -> None:
    service = make()
    assert service.readiness()["daemon"] == "starting"
    service.starting = False
    assert set(service.readiness().values()) == {"ok"}
    bare = make(nodes=[], backends=()).readiness()
    assert (bare["nodes"], bare["backends"]) == ("no node is live", "no backend is enabled")


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("auto", Target()),
        ("b-alias", Target(kind="backend", name="b")),
        ("node/generalist", Target(kind="node", name="generalist")),
        ("strategy/mine", Target(kind="strategy", name="mine")),
    ],
)
def test_names_are_resolved_against_what_is_configured_and_live(model: str, target: Target) -> None:
    assert make(strategies={"mine": "single"}).resolve(model) == target


def test_built_in_and_configured_strategies_are_listed_once() -> None:
    names = make(strategies={"mine": "single", "single": "single"}).strategies()
    assert "mine" in names
    assert sorted(set(names)) == sorted(names)


async def test_runs_and_streams_end_in_the_trace() -> None:
    service = make()
    request = Request(request_id=RequestId("r1"), source="native", messages=({"role": "user", "content": "hi"},))
    assert (await service.run(request)).draft.text == "hello"
    items = [item async for item in service.stream(request)]
    assert isinstance(items[-1], Answer)
    assert (await service.trace("r1") or {})["request_id"] == "r1"
    assert await service.trace("unknown") is None
    assert len(await service.requests(limit=10)) == 2


def test_backends_show_their_load() -> None:
    service = make()
    assert service.desk.try_lease("b", holder="t") is not None
    assert [(status.spec.name, status.inflight, status.queued) for status in service.backends()] == [("a", 0, 0), ("b", 1, 0)]


@pytest.mark.parametrize("model", ["auto", "tiny"])
async def test_the_built_in_model_embeds(model: str) -> None:
    vectors, usage, name = await make(embedder=Embedder()).embed(["ab", "c"], model, **WHO)
    assert (vectors, usage.prompt_tokens, name) == ([[2.0], [1.0]], 3, "tiny")


@pytest.mark.parametrize(("raised", "error"), [(EmbeddingBusy(8), Overloaded), (RegistryError("gone"), Refused)])
async def test_embedding_trouble_is_a_refusal(raised: Exception, error: type[Exception]) -> None:
    embedder = Embedder()
    embedder.error = raised
    with pytest.raises(error):
        await make(embedder=embedder).embed(["a"], "auto", **WHO)


@pytest.mark.parametrize("embedder", [None, Embedder()])
async def test_what_makes_no_embeddings_is_named(embedder: Any) -> None:
    with pytest.raises(NotFound, match="backend's name") as caught:
        await make(embedder=embedder).embed(["a"], "node/generalist", **WHO)
    assert caught.value.param == "model"


async def test_a_backend_embeds_and_its_call_is_counted_also_when_it_fails() -> None:
    service = make()
    metrics: Any = service.metrics
    vectors, usage, name = await service.embed(["ab"], "a-alias", **WHO)
    assert (vectors, usage.prompt_tokens, name) == ([[2.0, 1.0]], 1, "a")
    assert [call.error for call in metrics.calls] == [None]
    failing = make(BackendFailed("500", backend="a"))
    metrics = failing.metrics
    with pytest.raises(BackendFailed):
        await failing.embed(["ab"], "a", **WHO)
    assert [call.error for call in metrics.calls] == ["backend_failed"]
    assert failing.desk.inflight("a") == 0
