"""What the ledger forgets, and what it must not: by age, by size, beside what stays."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from registry.journal import Put
from runtime.jobs.records import Caller, StoredReply
from runtime.ledger.registry import LedgerJournal
from runtime.ledger.replies import ReplyLedger
from tests.integration.ledger_file import answer, call, finish, open_ledger, request

pytestmark = pytest.mark.integration


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


async def test_sums_go_with_their_request(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.sqlite", retention_days=10, clock=lambda: 100 * 86_400.0)
    await ledger.accept(request("old"), at=1.0)
    finish(ledger, "old", *[call()] * 1500)
    await ledger.flush()
    assert (await ledger.totals(since=0.0))["backends"]["fast"]["calls"] == 1500
    assert await ledger.enforce_retention() == 1
    assert (await ledger.totals(since=0.0))["backends"] == {}
    await ledger.close()


async def test_what_the_registry_wrote_pushes_no_request_out(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.sqlite", max_bytes=2**20)
    for n in range(20):
        ledger.accept(request(f"r{n}"), at=time.time())
        finish(ledger, f"r{n}", call())
    journal, dice = LedgerJournal(ledger), random.Random(3)
    sizes = [dice.randint(50, 20_000) for _ in range(800)]
    await journal.append([Put(table="versions", key=f"k{n}", row={"text": "x" * size}, at=1.0) for n, size in enumerate(sizes)])
    await ledger.enforce_retention()
    assert len(await ledger.requests(limit=100)) == 20
    assert sum(sizes) > 7 * 2**20
    for n in range(400):
        ledger.accept(request(f"s{n}", "x" * 2000 * 4), at=time.time())
        finish(ledger, f"s{n}", call(), text="y" * 8000)
    await ledger.flush()
    assert await ledger.enforce_retention() > 0, "requests are bounded as ever"
    assert (await ledger.requests(limit=1))[0]["id"] == "s399"
    await ledger.close()


async def test_what_the_journal_takes_is_known_about(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "l.sqlite")
    journal, dice = LedgerJournal(ledger), random.Random(4)
    for low, high in ((20, 300), (1000, 3000), (3000, 9000), (10_000, 90_000)):
        puts = [
            Put(table="standings", key=f"{dice.getrandbits(128):032x}", row={"text": "x" * dice.randint(low, high)}, at=1.0)
            for _ in range(500)
        ]
        await journal.append(puts)
    await ledger.close()
    with sqlite3.connect(ledger.path) as connection:
        ((known,),) = connection.execute("SELECT bytes FROM journal_size").fetchall()
    connection.close()
    taken = ledger.path.stat().st_size
    assert 0.95 * taken < known < 1.25 * taken
