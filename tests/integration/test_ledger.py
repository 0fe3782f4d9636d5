"""The ledger on a real file: group commit, kill -9, a disk that refuses, corruption, retention, restarts."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.calls import CallRecord, Usage
from agents.records import AgentError, BackendTimeout, Cancelled, Draft, Draining, Event, NodeId, NodeSpec, RequestId
from agents.strategy_specs import Pipeline, Single, Stage
from agents.verdicts import Check, Verdict
from runtime.jobs.records import Caller, StoredReply
from runtime.keys import KeyRing
from runtime.ledger import store
from runtime.ledger.records import LedgerBusy, LedgerError, LedgerForeign, LedgerTooNew, LedgerUnavailable
from runtime.ledger.replies import ReplyLedger
from runtime.ledger.store import Ledger
from runtime.records import Answer, Request, Target

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


async def open_ledger(path: Path, **changes: Any) -> Ledger:
    settings: dict[str, Any] = {
        "flush_ms": 2.0,
        "retention_days": 30.0,
        "max_bytes": 2**30,
        "store_bodies": True,
        "max_stored_chars": 2000,
    }
    return await Ledger.open(path, **{**settings, **changes})


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await open_ledger(tmp_path / "data" / "ledger.sqlite")
    yield ledger
    await ledger.close()


def request(name: str, text: str = "hello", **changes: Any) -> Request:
    fields: dict[str, Any] = {"source": "openai", "messages": ({"role": "user", "content": text},)}
    return Request(request_id=RequestId(name), **{**fields, **changes})


def call(backend: str = "fast", **changes: Any) -> CallRecord:
    fields: dict[str, Any] = {"model": "m", "started_at": 100.0, "latency_s": 0.5, "cost_usd": 0.25}
    usage = Usage(prompt_tokens=10, completion_tokens=5)
    return CallRecord(backend=backend, **{"usage": usage, **fields, **changes})


def answer(name: str, text: str = "world", *calls: CallRecord, complete: bool = True) -> Answer:
    draft = Draft(text=text, complete=complete)
    return Answer(request_id=RequestId(name), draft=draft, calls=calls, node="root", strategy="single", attempts=1, latency_s=0.6)


def finish(
    ledger: Ledger,
    name: str,
    *calls: CallRecord,
    error: AgentError | None = None,
    events: tuple[Event, ...] = (),
    text: str = "world",
) -> None:
    ledger.finish(
        name,
        answer=None if error else answer(name, text, *calls),
        error=error,
        calls=calls,
        events=events,
        at=101.0,
        latency_s=0.6,
        overhead_s=0.1,
    )


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


async def test_a_locked_database_is_waited_for_and_reported(ledger: Ledger) -> None:
    await ledger.accept(request("before"), at=100.0)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    future = ledger.accept(request("r1"), at=100.0)
    finish(ledger, "r1", call())
    with pytest.raises(LedgerUnavailable):
        await ledger.flush(timeout_s=1.4)
    assert "locked" in ledger.healthy()
    assert ledger.load().lag_s > 1.0
    assert not future.done()
    assert [row["id"] for row in await ledger.requests(limit=9)] == ["before"], "reads do not wait for the writer"
    other.execute("ROLLBACK")
    other.close()
    await asyncio.wait_for(future, 10)
    await ledger.flush()
    assert ledger.healthy() == "ok"
    trace = await ledger.trace("r1")
    assert trace is not None
    assert trace["status"] == "ok"


async def test_close_gives_up_on_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_CLOSE_S", 0.5)
    ledger = await open_ledger(tmp_path / "l.sqlite")
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    future = ledger.accept(request("r1"), at=100.0)
    await asyncio.wait_for(ledger.close(), 8)
    other.close()
    with pytest.raises(LedgerUnavailable):
        await future
    with pytest.raises(Draining):
        await ledger.accept(request("r2"), at=100.0)


FULL_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.integration.test_ledger import finish, open_ledger, request

async def main():
    ledger = await open_ledger(Path(sys.argv[1]))
    await ledger.accept(request("before"), at=1.0)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The next page of any file is one too many: the kernel refuses as it does on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    futures = [ledger.accept(request(f"r{n}"), at=1.0) for n in range(50)]
    for n in range(50):
        finish(ledger, f"r{n}")
    await asyncio.sleep(0.4)
    said, pending = ledger.healthy(), sum(not f.done() for f in futures)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    await asyncio.wait_for(asyncio.gather(*futures), 15)
    await ledger.flush()
    rows = await ledger.requests(limit=100)
    out = {"said": said, "pending": pending, "now": ledger.healthy(), "ok": sum(r["status"] == "ok" for r in rows)}
    await ledger.close()
    print(json.dumps(out))

asyncio.run(main())
"""


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "l.sqlite"), str(ROOT)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    out = json.loads(run.stdout)
    assert out["said"].startswith("cannot write")
    assert (out["pending"], out["now"], out["ok"]) == (50, "ok", 50)


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.integration.test_ledger import finish, open_ledger, request

async def main():
    ledger = await open_ledger(Path(sys.argv[1]))
    n = 0
    while True:
        names = [f"r{n + i}" for i in range(20)]
        n += 20
        await asyncio.gather(*(ledger.accept(request(name), at=1.0) for name in names))
        for name in names[::2]:
            finish(ledger, name)
        print(" ".join(names), flush=True)

asyncio.run(main())
"""


def kill_in_mid_work(path: Path) -> list[str]:
    """The ids that the child saw confirmed before it was killed."""
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(ROOT)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout as lines:
        confirmed = [name for line in itertools.islice(lines, 30) for name in line.split()]
        os.kill(child.pid, signal.SIGKILL)
        confirmed += [name for line in lines if line.endswith("\n") for name in line.split()]
    child.wait(10)
    return confirmed


async def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    confirmed = await asyncio.to_thread(kill_in_mid_work, path)
    assert len(confirmed) >= 600
    ledger = await open_ledger(path)
    assert ledger.set_aside is None
    rows: list[dict[str, Any]] = []
    while page := await ledger.requests(limit=1000, before=rows[-1]["id"] if rows else None):
        rows += page
    states = {row["id"]: row["status"] for row in rows}
    assert not [name for name in confirmed if name not in states]
    assert set(states.values()) == {"ok", "interrupted"}
    assert all(states[name] == "interrupted" for name in confirmed[1::2])
    assert ledger.interrupted == sum(state == "interrupted" for state in states.values())
    await ledger.close()
    again = await open_ledger(path)
    assert again.interrupted == 0
    await again.close()


async def test_files_are_private(ledger: Ledger) -> None:
    await ledger.accept(request("r1"), at=100.0)
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700
    for file in ledger.path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file


@pytest.mark.parametrize("damage", ["garbage", "middle"])
async def test_a_corrupt_file_is_set_aside_and_kept(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "l.sqlite"
    ledger = await open_ledger(path)
    await asyncio.gather(*(ledger.accept(request(f"r{n}", "x" * 500), at=100.0) for n in range(400)))
    await ledger.close()
    data = bytearray(path.read_bytes())
    data[0 if damage == "garbage" else 8192 :] = os.urandom(len(data) - (0 if damage == "garbage" else 8192))
    path.write_bytes(data)
    ledger = await open_ledger(path, clock=lambda: 0.0)
    assert ledger.set_aside is not None
    assert ledger.set_aside.name == "l.sqlite.corrupt-19700101T000000Z"
    assert ledger.set_aside.read_bytes() == bytes(data)
    assert await ledger.requests(limit=5) == []
    await ledger.accept(request("new"), at=100.0)
    await ledger.close()


async def test_files_that_are_not_ours_to_open_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    ledger = await open_ledger(path)
    with pytest.raises(LedgerBusy):
        await open_ledger(path)
    await ledger.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerTooNew, match="99"):
        await open_ledger(path)
    assert not [name for name in os.listdir(tmp_path) if "corrupt" in name]
    foreign = tmp_path / "photos.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE photos (x)")
    connection.close()
    with pytest.raises(LedgerForeign):
        await open_ledger(foreign)
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable):
        await open_ledger(tmp_path / "file" / "l.sqlite")


async def test_the_old_is_forgotten_by_age(tmp_path: Path) -> None:
    day = 86_400.0
    ledger = await open_ledger(tmp_path / "l.sqlite", retention_days=10, clock=lambda: 100 * day)
    for n in range(500):
        ledger.accept(request(f"old{n}"), at=80 * day)
        finish(ledger, f"old{n}", call())
    finish(ledger, "orphan", call())
    await ledger.accept(request("new"), at=95 * day)
    await ledger.flush()
    assert await ledger.enforce_retention() == 500
    assert [row["id"] for row in await ledger.requests(limit=9)] == ["new"]
    assert await ledger.trace("old0") is None
    assert await ledger.trace("orphan") is None
    assert await ledger.enforce_retention() == 0
    await ledger.close()


async def test_the_old_is_forgotten_by_size_and_the_space_given_back(tmp_path: Path) -> None:
    limit = 4 * 2**20
    ledger = await open_ledger(tmp_path / "l.sqlite", max_bytes=limit, max_stored_chars=16_000)
    await ledger.accept(request("running"), at=time.time())
    for n in range(1000):
        ledger.accept(request(f"r{n}", "x" * 8000), at=time.time())
        finish(ledger, f"r{n}", call())
    await ledger.flush()
    assert await ledger.enforce_retention() > 300
    rows = await ledger.requests(limit=1000)
    assert rows[0]["id"] == "r999"
    assert rows[-1]["id"] == "running", "a running request is kept"
    await ledger.close()
    assert 0 < (tmp_path / "l.sqlite").stat().st_size <= limit


async def test_kept_replies_are_forgotten_before_they_push_requests_out(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "ledger.sqlite", max_bytes=2**20)
    await ledger.accept(request("a"), at=time.time())
    ledger.finish("a", answer=answer("a"), error=None, calls=(), events=(), at=time.time(), latency_s=0.1, overhead_s=0.0)
    replies = ReplyLedger(ledger)
    for number in range(20):
        body = bytes(100_000)
        kept = StoredReply(digest=b"d", at=time.time() + number, request_id="a", status=200, headers={}, body=body)
        await replies.keep(Caller(key_id=None, key=str(number)), kept)
    await replies.tidy()
    await ledger.enforce_retention()
    assert [await replies.find(Caller(key_id=None, key=str(n))) is not None for n in (0, 18, 19)] == [False, False, True]
    assert await ledger.trace("a") is not None
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
