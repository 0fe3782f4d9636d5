"""Questions to a person on the command line: what is shown of one, and that it cannot drive the terminal."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from runtime.cli import client, main
from runtime.cli.tables import MADE_UP

FOUND = {
    "id": "esc-r1",
    "state": "open",
    "asked": "two \x1b[2Jages",
    "reason": "nothing passed",
    "request": {"schema": {"type": "array"}, "constraints": [], "count": 2},
    "partial": [{"name": "\x9b2J"}],
}


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    made = httpx.MockTransport(lambda request: httpx.Response(200, json={**FOUND, **changes}))
    monkeypatch.setattr(client, "open_client", lambda: client.Client("http://127.0.0.1:5116", key="k", transport=made))
    assert main.run(["escalations", "show", "esc-r1"]) == 0
    return capsys.readouterr().out


def test_what_is_simulated_is_marked_above_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(monkeypatch, capsys, simulated=True).splitlines()[:2] == ["esc-r1: open", MADE_UP]
    assert "SIMULATED" not in shown(monkeypatch, capsys, simulated=False)


def test_a_question_is_shown_with_all_that_an_answer_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line.split(maxsplit=1) for line in shown(monkeypatch, capsys).splitlines()[1:-1]]
    assert lines == [
        ["asked", "two [2Jages"],
        ["reason", "nothing passed"],
        ["schema", '{"type": "array"}'],
        ["count", "2"],
        ["so", 'far      [{"name": "2J"}]'],
    ]
    assert "so far" not in shown(monkeypatch, capsys, partial=None)
