"""What the demo says of code: read from traces and the registry, and an error where it is not what was asked."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from runtime.cli import demo_code
from runtime.cli.demo_asks import Unexpected
from runtime.cli.errors import CliError

USED = {"kind": "code", "data": {"step": "write", "how": "used", "artifact": "a@1.0.0"}}
FORKED = {"kind": "code", "data": {"step": "repair", "how": "modified", "artifact": "a@1.0.0"}}
NEW = {"kind": "code", "data": {"step": "write", "how": "new", "artifact": ""}}
RAN = {"kind": "code", "data": {"state": "ran", "artifact": "a@1.0.0", "ok": True}}


class Daemon:
    """A client of a daemon that is opening its registry at first."""

    def __init__(self, *, status: str = "done", items: int = demo_code.SIZE, events: Any = (NEW,)) -> None:
        self.status, self.items, self.events = status, items, events
        self.opening = 1
        self.posted: dict[str, Any] = {}

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.posted = body
        return {"id": "req_1", "status": "queued"}

    def get(self, path: str, *, operator: bool) -> dict[str, Any]:
        if path.endswith("/lineage"):
            family = {"b@1.0.0": (["a@1.0.0"], []), "a@1.0.0": ([], ["b@1.0.0"])}
            above, below = family[path.split("/")[-2]]
            return {"drawing": ["a@1.0.0 ◀", "└─ b@1.0.0"], "ancestors": above, "descendants": below}
        if "/artifacts/" in path:
            return {"version": {"improvements": ["adds a column"]}}
        if path == "/v1/registry":
            self.opening -= 1
            if self.opening >= 0:
                raise CliError("opening", status=503)
            return REPORT
        item = {"minutes": 3, **({"cars": 1} if len(self.posted["constraints"]) == 2 else {})}
        outcome = {"backend": "generator", "simulated": True, "cost_usd": 0.1, "error_code": None}
        answer = {"data": {"waits": [item] * self.items}}
        return {"status": self.status, "outcome": outcome, "answer": answer, "events": list(self.events)}


REPORT: Any = {
    "totals": {
        "artifacts": 2,
        "versions": 2,
        "active": 2,
        "retired": 0,
        "executions": 3,
        "reviews": 6,
        "stars": 0,
        "versions_by_state": {"draft": 0},
        "artifacts_by_kind": {"standard": 1},
    },
    "bytes": 1,
    "most_used": [],
    "breakthroughs": [],
    "quality_trend": [],
    "lineage": {
        "deepest": {"version": "b@1.0.0", "generations": 2},
        "most_collaborative": {"version": "b@1.0.0", "contributors": 1},
    },
    "standards": {
        "in_force": ["coding-standard@1.0.0"],
        "rules": 1,
        "checked": 2,
        "compliance": 1.0,
        "effect": {
            "guided": {"tries": 4, "passed": 3, "interval": [0.3, 0.95]},
            "unguided": {"tries": 2, "passed": 1},
            "before": {"tries": 2, "passed": 2},
            "difference": 0.25,
            "p_value": None,
        },
    },
}


def asked(daemon: Any, **more: Any) -> Any:
    return demo_code.waits(daemon, mean=30, std=5, **more)


def test_how_a_program_came_about_is_read_from_its_trace() -> None:
    assert demo_code.came_about([NEW, FORKED, RAN]) == "its program a fork of a@1.0.0"
    assert demo_code.came_about([USED, RAN]) == "its program used a@1.0.0"
    assert demo_code.came_about([NEW]) == "its program written anew"
    assert demo_code.came_about([RAN]) == "without a program"
    reused = {"kind": "library", "data": {"state": "rerun"}}
    assert demo_code.came_about([reused]) == "given again from the library"
    assert demo_code.came_about([{"kind": "library", "data": {"state": "miss"}}, NEW]) == "its program written anew"


def test_the_answer_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_code, "_POLL_S", 0.0)
    found = asked(Daemon(events=(USED,)), with_cars=True)
    assert (found.said, found.simulated) == ("120 items, its program used a@1.0.0", True)
    for daemon, why in ((Daemon(items=3), "3 whole items"), (Daemon(status="failed"), "ended as failed")):
        with pytest.raises(Unexpected, match=why):
            asked(daemon)
    monkeypatch.setattr(demo_code, "_ANSWER_S", 0.01)
    with pytest.raises(Unexpected, match="no answer"):
        asked(Daemon(status="running"))


def test_the_report_and_the_family_end_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_code, "_POLL_S", 0.0)
    out = Console(file=io.StringIO(), width=200)
    daemon: Any = Daemon()
    daemon.opening = 0
    demo_code.close_up(out, daemon)
    said = out.file.getvalue()  # type: ignore[attr-defined]
    assert "by simulated models" in said
    assert "new programs that passed at once: 3 of 4 (30% to 95%) with it, 1 of 2 without, 2 of 2 before there was one" in said
    assert "with it against without: +25 points (too few to tell from luck)" in said
    assert "registry lineage a@1.0.0" in said, "the whole family, from its root"
    assert "└─ b@1.0.0" in said
    assert "b@1.0.0: adds a column" in said
