"""The ledger on a real file: what is written can be read back, in groups, bounded, and never holding up the event loop."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.records import BackendTimeout, Cancelled, Event, NodeId, NodeSpec
from agents.strategy_specs import Pipeline, Single, Stage
from agents.verdicts import Check, Verdict
from runtime.keys import KeyRing
from runtime.ledger.jobs import JobLedger
from runtime.ledger.records import LedgerError
from runtime.ledger.store import Ledger
from runtime.records import Target
from tests.integration.ledger_file import answer, call, finish, open_ledger, request

pytestmark = pytest.mark.integration


async def test_a_verdict_can_be_read_back(ledger: Ledger) -> None:
    checks = (Check(name="count", score=0.8, detail="5 items were asked, 4 came"),)
    verdict = Verdict(score=0.8, source="checks", checks=checks)
    await ledger.accept(request("r1"), at=100.0)
    judged = replace(answer("r1"), verdict=verdict)
    ledger.finish("r1", answer=judged, error=None, calls=(), events=(), at=101.0, latency_s=0.6, overhead_s=0.1)
    await ledger.accept(request("r2"), at=102.0)
    finish(ledger, "r2", call())
    await ledger.flush()
    trace = await ledger.trace("r1")
    assert trace is not None
    outcome = trace["outcome"]
    assert (outcome["quality_score"], outcome["quality_source"]) == (0.8, "checks")
    assert outcome["quality_checks"] == [{"name": "count", "score": 0.8, "detail": "5 items were asked, 4 came"}]
    assert [row["quality"] for row in await ledger.requests(limit=5)] == [None, 0.8]


async def test_a_request_and_its_outcome_can_be_read_back(ledger: Ledger) -> None:
    target = Target(kind="node", name="root")
    await ledger.accept(request("r1", target=target, params={"temperature": 0.5}, count=3, key_id="k1", stream=True), at=100.0)
    assert [(row["id"], row["status"]) for row in await ledger.requests(limit=5)] == [("r1", "running")]
    events = (
        Event(kind="delta", at=100.1, data={"text": "wo"}),
        Event(kind="call", at=100.2, data={"record": call()}),
        Event(kind="stage", at=100.3, data={"stage": "draft"}),
    )
    finish(ledger, "r1", call(error="backend_timeout", detail="slow"), call("good", simulated=True, attempt=2), events=events)
    await ledger.flush()
    [row] = await ledger.requests(limit=5)
    assert row["target"] == "node/root"
    assert (row["status"], row["strategy"], row["node"], row["backend"]) == ("ok", "single", "root", "good")
    assert (row["tokens"], row["cost_usd"], row["simulated"], row["error"]) == (30, 0.5, True, None)
    assert row["latency_s"] == 0.6
    trace = await ledger.trace("r1")
    assert trace is not None
    assert trace["request"]["body"] == {"messages": [{"role": "user", "content": "hello"}], "params": {"temperature": 0.5}}
    assert (trace["request"]["item_count"], trace["request"]["key_id"], trace["request"]["streamed"]) == (3, "k1", True)
    assert trace["outcome"]["body"] == {"text": "world"}
    assert [(c["backend"], c["error"], c["detail"], c["attempt"]) for c in trace["calls"]] == [
        ("fast", "backend_timeout", "slow", 1),
        ("good", None, None, 2),
    ]
    assert [(e["kind"], e["data"]) for e in trace["events"]] == [
        ("call", {"backend": "fast", "attempt": 1, "error": None}),
        ("stage", {"stage": "draft"}),
    ]
    assert await ledger.trace("nonesuch") is None
    json.dumps(trace)


async def test_only_the_first_outcome_counts(ledger: Ledger) -> None:
    await ledger.accept(request("r1"), at=100.0)
    finish(ledger, "r1", call())
    finish(ledger, "r1", call(), call(), error=BackendTimeout("late"))  # in the same batch
    await ledger.flush()
    finish(ledger, "r1", call(), call(), call(), error=BackendTimeout("later"))  # in another one
    await ledger.flush()
    trace = await ledger.trace("r1")
    assert trace is not None
    assert trace["status"] == "ok"
    assert len(trace["calls"]) == 1


async def test_errors_partial_answers_and_cancellations_have_their_own_status(ledger: Ledger) -> None:
    finish(ledger, "error", error=BackendTimeout("slow: Bearer abcdefgh12345678", backend="fast", param="model"))
    finish(ledger, "cancelled", error=Cancelled("hung up"))
    fields: dict[str, Any] = {"calls": (), "events": (), "at": 1.0, "latency_s": 1.0, "overhead_s": 0.0, "error": None}
    ledger.finish("partial", answer=answer("partial", complete=False), **fields)
    ledger.finish("neither", answer=None, **fields)
    await ledger.flush()
    traces = {name: await ledger.trace(name) for name in ("error", "cancelled", "partial", "neither")}
    assert {name: trace and trace["status"] for name, trace in traces.items()} == {
        "error": "error",
        "cancelled": "cancelled",
        "partial": "partial",
        "neither": "cancelled",
    }
    outcome = (traces["error"] or {})["outcome"]
    assert (outcome["error_code"], outcome["error_param"], outcome["backend"]) == ("backend_timeout", "model", "fast")
    assert "abcdefgh" not in outcome["error_message"]


async def test_pages_are_newest_first_without_gaps(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.accept(request(f"r{n}"), at=100.0) for n in range(25)))
    seen: list[str] = []
    before = None
    while page := await ledger.requests(limit=10, before=before):
        seen += [row["id"] for row in page]
        before = seen[-1]
    assert seen == [f"r{n}" for n in reversed(range(25))]
    assert await ledger.requests(limit=10, before="nonesuch") == []


async def test_sums_by_backend(ledger: Ledger) -> None:
    for name in ("a", "b"):
        await ledger.accept(request(name), at=100.0)
    finish(ledger, "a", call("x"), call("y", simulated=True))
    finish(ledger, "b", call("x", error="backend_timeout"), error=BackendTimeout("slow"))
    await ledger.flush()
    sums = await ledger.totals(since=50.0)
    assert (sums["requests"], sums["finished"], sums["errors"], sums["simulated"]) == (2, 2, 1, 1)
    assert (sums["cost_usd"], sums["tokens"]) == (0.75, 45)
    assert (sums["backends"]["x"]["calls"], sums["backends"]["x"]["errors"], sums["backends"]["x"]["tokens"]) == (2, 1, 30)
    nothing = await ledger.totals(since=500.0)
    assert (nothing["requests"], nothing["cost_usd"], nothing["backends"]) == (0, 0.0, {})


async def test_sums_by_backend_have_all_calls_also_where_not_each_is_kept(ledger: Ledger) -> None:
    many = [
        call("x" if n % 2 else "y", started_at=7200.0 + n, error="backend_failed" if n % 10 == 9 else None) for n in range(1600)
    ]
    finish(ledger, "one", *many)
    jobs = JobLedger(ledger)
    await jobs.accept(request("job"), "{}", at=100.0, deadline_at=1e9, total=4)
    for start in range(0, 1600, 400):
        jobs.spend("job", many[start : start + 400], ())
    await ledger.flush()
    sums = await ledger.totals(since=7200.0)
    assert {name: (each["calls"], each["errors"], each["tokens"]) for name, each in sums["backends"].items()} == {
        "x": (1600, 320, 24_000),
        "y": (1600, 0, 24_000),
    }
    assert sum(each["cost_usd"] for each in sums["backends"].values()) == 800.0
    trace = await ledger.trace("one")
    assert trace is not None
    assert len(trace["calls"]) == 1000
    assert (await ledger.totals(since=4 * 3600.0))["backends"] == {}


async def test_writes_are_committed_in_groups(ledger: Ledger) -> None:
    before = ledger.load().commits
    await asyncio.gather(*(ledger.accept(request(f"r{n}"), at=100.0) for n in range(400)))
    assert ledger.load().commits - before <= 3
    assert len(await ledger.requests(limit=1000)) == 400


async def test_a_write_costs_the_event_loop_little(ledger: Ledger) -> None:
    requests = [request(f"r{n}") for n in range(2000)]
    events = (Event(kind="stage", at=1.0, data={"stage": "x"}),)
    rounds = []
    for part in (requests[:500], requests[500:1000], requests[1000:1500], requests[1500:]):
        start = time.perf_counter()
        for one in part:
            ledger.accept(one, at=100.0)
            finish(ledger, one.request_id, call(), events=events)
        rounds.append((time.perf_counter() - start) / len(part) * 1e6)
        await ledger.flush()
    assert min(rounds) < 60


async def test_one_record_that_cannot_be_stored_holds_up_nobody(ledger: Ledger) -> None:
    bad = request("bad", messages=({"role": "user", "content": "x"},), target="not a target")
    futures = [ledger.accept(one, at=100.0) for one in (request("a"), bad, request("b"))]
    done = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(one) for one in done] == [type(None), LedgerError, type(None)]
    assert {row["id"] for row in await ledger.requests(limit=9)} == {"a", "b"}
    assert ledger.load().lost == 1
    assert ledger.healthy() == "ok"


async def test_when_the_queue_is_full_accept_waits_and_nothing_is_dropped(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.sqlite", max_queued=10)
    futures = [ledger.accept(request(f"r{n}"), at=100.0) for n in range(50)]
    assert (ledger.load().queued, ledger.load().waiting) == (10, 40)
    futures[30].cancel()
    for n in range(20):
        finish(ledger, f"r{n}")
    assert ledger.load().over_limit == 20
    done = await asyncio.gather(*futures, return_exceptions=True)
    assert sum(one is None for one in done) == 49
    await ledger.flush()
    rows = {row["id"]: row["status"] for row in await ledger.requests(limit=100)}
    assert set(rows) == {f"r{n}" for n in range(50)} - {"r30"}
    assert sum(status == "ok" for status in rows.values()) == 20
    await ledger.close()


async def test_long_bodies_are_cut(ledger: Ledger) -> None:
    await ledger.accept(request("r1", "q" * 100_000), at=100.0)
    finish(ledger, "r1", text="a" * 100_000)
    await ledger.flush()
    trace = await ledger.trace("r1")
    assert trace is not None
    for text in (trace["request"]["body"]["messages"][0]["content"], trace["outcome"]["body"]["text"]):
        assert len(text) < 2100
        assert "of 100000 characters" in text


async def test_without_bodies_nothing_of_the_text_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    ledger = await open_ledger(path, store_bodies=False)
    await ledger.accept(request("r1", "very private words"), at=100.0)
    finish(ledger, "r1", call(detail="very private words"), text="very private words")
    finish(ledger, "r2", error=BackendTimeout("very private words"))
    await ledger.flush()
    [row] = await ledger.requests(limit=5)
    assert row["tokens"] == 15
    await ledger.close()
    assert all(b"very private" not in (tmp_path / name).read_bytes() for name in os.listdir(tmp_path))


async def test_nodes_and_keys_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    ledger = await open_ledger(path)
    spec = NodeSpec(node_id=NodeId("n1"), name="root", role="generalist", backends=("a", "b"), strategy=Single(tier="cheap"))
    await ledger.save_node(spec, "live")
    await ledger.save_node(spec, "parked")
    pipeline = Pipeline(stages=(Stage(name="one", strategy=Single()),))
    with pytest.raises(LedgerError, match="encoder"):
        await ledger.save_node(NodeSpec(node_id=NodeId("n2"), name="x", role="reviewer", strategy=pipeline), "live")
    ring = await KeyRing.load(ledger)
    kept_id, kept = await ring.create("kept", "client")
    gone_id, gone = await ring.create("gone", "operator")
    assert await ring.revoke(gone_id)
    await ledger.close()
    assert kept.encode() not in path.read_bytes()
    ledger = await open_ledger(path)
    assert await ledger.nodes() == [(spec, "parked")]
    ring = await KeyRing.load(ledger)
    principal = ring.authenticate(kept, loopback=False, require_client_key=True)
    assert principal is not None
    assert principal.key_id == kept_id
    assert ring.authenticate(gone, loopback=True, require_client_key=False) is None
    await ledger.close()


async def test_a_given_pair_writes_any_strategy(tmp_path: Path) -> None:
    pipeline = Pipeline(stages=(Stage(name="one", strategy=Single()),))
    ledger = await open_ledger(tmp_path / "l.sqlite", encode=lambda spec: {"stages": 1}, decode=lambda value: pipeline)
    spec = NodeSpec(node_id=NodeId("n"), name="x", role="reviewer", strategy=pipeline)
    await ledger.save_node(spec, "live")
    assert await ledger.nodes() == [(spec, "live")]
    await ledger.close()
