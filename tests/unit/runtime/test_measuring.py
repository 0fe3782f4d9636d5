"""The report's measures as metrics: what is known is shown, what is not has no row, and a ledger that fails loses nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.learner import measuring
from runtime.learner.measuring import WINDOW_S, Measuring
from runtime.ledger.records import LedgerUnavailable
from runtime.metrics import Metrics
from runtime.report import report

EMPTY: dict[str, Any] = {
    "outcomes": {"finished": 10, "ok": 8, "partial": 1, "cancelled": 0, "errors": 1, "cost_usd": 0.0, "simulated": 0},
    "feedback": {"given": 4, "score": 0.75, "good": 3},
    "hit": {"hit": 2, "answered": 1},
    "quality": [{"source": "checks", "answers": 5, "score": 0.9}],
    "ways": [{"strategy": "library", "answers": 3}, {"strategy": "single", "answers": 6}],
    "tokens": [],
    "committees": [],
    "latencies_s": [0.1],
}


class Reports:
    """The report of EMPTY; ``down`` while the ledger cannot be read."""

    def __init__(self) -> None:
        self.windows: list[tuple[float, float]] = []
        self.down = False

    async def report(self, *, since: float, until: float) -> dict[str, Any]:
        if self.down:
            raise LedgerUnavailable("away")
        self.windows.append((since, until))
        return report(EMPTY, [], [], since=since, until=until)


def shown(each: Measuring) -> dict[str, float]:
    metrics = Metrics(process=False)
    metrics.present.measures = each.series
    rows = (line.rpartition(" ") for line in metrics.render()[0].decode().splitlines())
    return {name: float(value) for name, _, value in rows if name.startswith("morphogen_measured")}


async def test_what_is_known_is_shown_and_what_is_not_has_no_row() -> None:
    reports = Reports()
    each = Measuring(reports, wall=lambda: 10_000.0)
    assert shown(each) == {}
    await each.look()
    assert reports.windows == [(10_000.0 - WINDOW_S, 10_000.0)]
    found = shown(each)
    assert found['morphogen_measured_ratio{measure="satisfaction"}'] == 0.75
    assert found['morphogen_measured_ratio{measure="by_library"}'] == pytest.approx(1 / 3)
    assert found['morphogen_measured_ratio{measure="resilience"}'] == 0.5
    assert 'morphogen_measured_ratio{measure="saved"}' not in found, "without backends nothing is known of the dearest"
    assert found["morphogen_measured_drifts"] == 0.0
    assert "morphogen_measured_requests_to_recover" not in found


async def test_while_the_ledger_is_away_the_last_measures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "EVERY_S", 0.0)
    reports = Reports()
    each = Measuring(reports, wall=lambda: 10_000.0)
    await each.look()
    reports.down = True
    running = asyncio.create_task(each.run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    assert shown(each)['morphogen_measured_ratio{measure="quality"}'] == pytest.approx(0.9)
