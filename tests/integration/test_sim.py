"""Some simulated days of the whole network: a specialist comes about and is verified, and what is told is what the ledger has."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ops.sim.clock import START
from ops.sim.run import run
from ops.sim.script import Script

pytestmark = pytest.mark.integration

DAY_S = 86_400.0
DAYS, PER_DAY = 3, 64
SETTINGS = """
[patterns]
min_requests = 5
[routing]
enabled = false
[routers]
enabled = false
[registry]
review = false
[observe]
every_requests = 64
every_s = 3600.0
ask_models = false
[topology]
round_s = 0.1
[topology.approval]
spawn = "operator"
[topology.probation]
lasts_s = 28800.0
"""
KINDS = [
    {
        "name": "orchards",
        "wordings": ["An orchard has {a} + {b} * {c} apple trees; how many is that?", "Count the apple trees: {a} + {b} * {c}."],
        "numbers": {"a": [10, 90], "b": [11, 60], "c": [3, 9]},
        "worked": {"total": "a + b * c"},
        "truth": {"": "total"},
        "told": 1.0,
        "weights": [(0, 3), (DAYS, 3)],
    },
    {
        "name": "odd",
        "wordings": ["Tell of {what}."],
        "rows": [{"what": ["chalk", "harps", "moss", "dunes", "brass", "kelp", "snow"]}],
        "weights": [(0, 1), (DAYS, 1)],
    },
]


async def test_some_simulated_days_bring_a_specialist_and_the_numbers_are_the_ledgers(tmp_path: Path) -> None:
    script = Script.model_validate(
        {
            "days": DAYS,
            "requests_per_day": PER_DAY,
            "hours": [8, 18],
            "decides_after_h": 1,
            "settings": SETTINGS,
            "kinds": KINDS,
        }
    )
    found = await run(script, tmp_path, days=DAYS, seed=5, speed=0.0)
    assert found["simulated"]
    assert (sum(found["asked"].values()), found["refused"]) == (DAYS * PER_DAY, {})

    born = [each for each in found["changes"] if each["kind"] == "spawn" and each["applied"] is not None]
    assert born, found["changes"]
    first = born[0]
    assert first["measured"]["requests"] >= 20
    assert first["status"] in ("kept", "rolled_back"), first
    assert {each["live"] for each in found["shape"]} <= {1, 2, 3}

    (week,) = found["weeks"]
    assert week["shares"]["specialists"] > 0.05
    with sqlite3.connect(tmp_path / "data" / "ledger.sqlite") as ledger:
        sql = """SELECT count(*), sum(o.cost_usd), min(o.at), max(o.at) FROM outcomes o JOIN requests r USING (request_id)
            WHERE r.source = 'native'"""
        count, cost_usd, since, until = ledger.execute(sql).fetchone()
        (taken,) = ledger.execute("SELECT count(*) FROM outcomes WHERE node = ?", (first["node"],)).fetchone()
        (status,) = ledger.execute("SELECT status FROM proposals WHERE kind = 'spawn' ORDER BY created_at LIMIT 1").fetchone()
        (words,) = ledger.execute("SELECT group_concat(who) FROM proposal_moves").fetchone()
    assert count == week["requests"] == DAYS * PER_DAY
    assert week["cost_usd_per_request"] == pytest.approx(cost_usd / count, rel=1e-3)
    assert START < since < until < START + DAYS * DAY_S
    assert taken > 0
    assert status == first["status"]
    assert "operator" in words
