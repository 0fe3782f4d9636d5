"""The ledger and its file: kill -9, a disk that refuses, corruption, files of others."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.records import Draining
from runtime.ledger import store
from runtime.ledger.records import LedgerBusy, LedgerForeign, LedgerTooNew, LedgerUnavailable
from runtime.ledger.store import Ledger
from tests.integration.ledger_file import ROOT, call, finish, open_ledger, request

pytestmark = pytest.mark.integration


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
from tests.integration.ledger_file import finish, open_ledger, request

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
from tests.integration.ledger_file import finish, open_ledger, request

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
