"""Questions to a person on the command line: what is shown of one, and that it cannot drive the terminal."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from runtime.cli import main
from runtime.cli.tables import MADE_UP

FOUND = {
    "id": "esc-r1",
    "state": "open",
    "asked": "two \x1b[2Jages",
    "reason": "nothing passed",
    "request": {"schema": {"type": "array"}, "constraints": [], "count": 2},
    "partial": [{"name": "\x9b2J"}],
}


def shown(daemon: Any, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    daemon(lambda request: httpx.Response(200, json={**FOUND, **changes}))
    assert main.run(["escalations", "show", "esc-r1"]) == 0
    return capsys.readouterr().out


def test_what_is_simulated_is_marked_above_it(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(daemon, capsys, simulated=True).splitlines()[:2] == ["esc-r1: open", MADE_UP]
    assert "SIMULATED" not in shown(daemon, capsys, simulated=False)


def test_a_question_is_shown_with_all_that_an_answer_needs(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split(maxsplit=1) for line in shown(daemon, capsys).splitlines()[1:-1]]
    assert lines == [
        ["asked", "two [2Jages"],
        ["reason", "nothing passed"],
        ["schema", '{"type": "array"}'],
        ["count", "2"],
        ["so", 'far      [{"name": "2J"}]'],
    ]
    assert "so far" not in shown(daemon, capsys, partial=None)
