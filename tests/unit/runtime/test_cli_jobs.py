"""Requests that are answered later, on the command line: handing in, watching over broken connections, fetching, ending."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from runtime.cli import jobs, main


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PAUSE_S", 0.0)


def stream(*events: tuple[int, str, Any]) -> httpx.Response:
    text = ": hello\n\n" + "".join(f"id: {seq}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for seq, kind, data in events)
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


def test_ask_async_hands_in_once_under_a_key_and_prints_the_id(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen = daemon(lambda request: httpx.Response(202, json={"id": "req_1", "status": "queued"}))
    command = [
        "ask",
        "--async",
        "--shape",
        '[{"a": 0}]',
        "--count",
        "9",
        "--strategy",
        '{"pipeline": [{"single": {}}]}',
        "Things",
    ]
    assert main.run(command) == 0
    assert capsys.readouterr().out == "req_1\n"
    [request] = seen
    assert (request.method, request.url.path) == ("POST", "/v1/requests")
    assert request.headers["idempotency-key"].startswith("cli-")
    assert json.loads(request.content) == {
        "prompt": "Things",
        "model": "auto",
        "shape": [{"a": 0}],
        "count": 9,
        "strategy": {"pipeline": [{"single": {}}]},
        "mode": "async",
    }


def test_a_strategy_asks_the_native_surface(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    reply = {"id": "r", "answer": {"text": "hello"}, "backend": "b", "strategy": "pipeline", "cost_usd": 0.5, "complete": False}
    seen = daemon(lambda request: httpx.Response(200, json=reply))
    assert main.run(["ask", "--strategy", "pipeline", "Things"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "hello\n"
    assert "INCOMPLETE" in shown.err
    assert json.loads(seen[0].content)["strategy"] == "pipeline"


def test_watch_goes_on_where_the_connection_broke(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = {"id": "r", "status": "done", "progress": {"done": 2, "total": 2}, "answer": {"data": [1, 2]}, "cost_usd": 0.1}
    replies: list[Any] = [
        stream((1, "accepted", {}), (2, "progress", {"done": 1, "total": 2})),
        httpx.ConnectError("gone"),
        stream((3, "outcome", outcome)),
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply  # type: ignore[no-any-return]

    seen = daemon(answer)
    assert main.run(["watch", "r"]) == 0
    assert [request.url.params["from_seq"] for request in seen] == ["0", "3", "3"]
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [1, 2]
    assert "done · 2 of 2" in shown.err


def test_watch_of_a_failure_ends_with_1_and_its_words(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"id": "r", "status": "failed", "error": {"message": "nobody delivered"}, "issues": []}
    daemon(lambda request: stream((1, "outcome", failed)))
    assert main.run(["watch", "r", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["data"] == failed
    assert "nobody delivered" in shown.err


def test_watch_of_nothing_is_told_at_once(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen = daemon(lambda request: httpx.Response(404, json={"detail": "No request 'r' is known", "param": "id"}))
    assert main.run(["watch", "r"]) == 1
    assert len(seen) == 1
    assert "No request" in capsys.readouterr().err


def test_result_writes_lines_and_says_what_is_missing(daemon: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    headers = {"x-morphogen-status": "partial", "x-morphogen-missing": "3"}
    daemon(lambda request: httpx.Response(200, text='{"a":1}\n{"a":2}\n', headers=headers))
    assert main.run(["result", "r"]) == 0
    shown = capfdbinary.readouterr()
    assert shown.out == b'{"a":1}\n{"a":2}\n'
    assert b"3 items are missing" in shown.err


@pytest.mark.parametrize("simulated", [True, False])
def test_a_simulated_outcome_and_its_items_are_marked(simulated: bool, daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = {"id": "r", "status": "done", "answer": {"text": "made up"}, "simulated": simulated}
    headers = {"x-morphogen-simulated": "true"} if simulated else {}
    replies = {"/stream": stream((1, "outcome", outcome)), "/result": httpx.Response(200, text='{"a":1}\n', headers=headers)}
    daemon(lambda request: replies[request.url.path.removeprefix("/v1/requests/r")])
    for command, said in ((["watch", "r"], "made up\n"), (["result", "r"], '{"a":1}\n')):
        assert main.run(command) == 0
        out, err = capsys.readouterr()
        assert out == said
        assert ("SIMULATED" in err) == simulated


def test_cancel_says_what_stays(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    view = {"id": "r", "status": "cancelled", "progress": {"done": 40, "total": 100}}
    seen = daemon(lambda request: httpx.Response(200, json=view))
    assert main.run(["cancel", "r"]) == 0
    assert capsys.readouterr().out == "cancelled: 40 of 100 are done\n"
    assert (seen[0].method, seen[0].url.path) == ("DELETE", "/v1/requests/r")
