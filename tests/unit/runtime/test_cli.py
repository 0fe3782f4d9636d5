"""The command line against a fake daemon: what it sends, what it prints, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.cli import client, main
from runtime.cli.ask import Question, footer_of, read_prompt, read_shape
from runtime.cli.errors import CliError
from runtime.cli.serve import Flags, ready_text, with_flags
from runtime.config.settings import Settings

URL = "http://127.0.0.1:5116"


def sse(*chunks: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + (["data: [DONE]\n\n"] if done else [])
    return "".join(lines).encode()


ABOUT = {
    "id": "req_1",
    "backend": "enricher",
    "node": "generalist",
    "strategy": "single",
    "cost_usd": 0.00012,
    "simulated": True,
    "complete": True,
    "usage_estimated": False,
}


def piece(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}], **more}


def test_help_names_every_command_and_needs_no_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("serve", "ask", "nodes", "backends", "requests", "trace", "keys", "config", "doctor", "demo", "version"):
        assert f"\n  {command} " in shown


def test_no_summary_of_a_command_is_cut_short(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for group in ([], ["keys"], ["config"], ["sandbox"], ["registry"], ["escalations"], ["routes"], ["routes", "experiment"]):
        assert main.run([*group, "--help"]) == 0
        summaries = capsys.readouterr().out.partition("\nCommands:\n")[2]
        assert summaries
        assert "..." not in summaries


@pytest.mark.parametrize("command", [["nope"], ["trace"], ["serve", "--port", "70000"], ["requests", "--limit", "0"]])
def test_wrong_usage_ends_with_2(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(command) == 2
    assert capsys.readouterr().err


def test_ask_streams_to_stdout_and_marks_simulated_answers_on_stderr(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "morphogen": ABOUT}
    seen = daemon(lambda request: httpx.Response(200, content=sse(piece("Three "), piece("rivers"), end)))
    assert main.run(["ask", "Name", "three", "rivers"]) == 0
    out, err = capsys.readouterr()
    assert out == "Three rivers\n"
    assert "SIMULATED · enricher · single · node generalist · $0.00012" in err
    assert "morphogen trace req_1" in err
    sent = json.loads(seen[0].content)
    assert sent["messages"] == [{"role": "user", "content": "Name three rivers"}]
    assert sent["stream"] is True
    assert "authorization" not in seen[0].headers  # the operator's key is for operator calls


def test_a_stream_that_breaks_off_is_a_failure(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    daemon(lambda request: httpx.Response(200, content=sse(piece("half an"), done=False)))
    assert main.run(["ask", "x"]) == 1
    assert "broke off" in capsys.readouterr().err


def test_an_error_in_mid_stream_is_told_in_its_words(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    daemon(
        lambda request: httpx.Response(200, content=sse(piece("a"), {"error": {"message": "the backend went away"}}, done=False))
    )
    assert main.run(["ask", "x"]) == 1
    assert "the backend went away" in capsys.readouterr().err


def test_what_broke_off_is_marked_as_simulated_too(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    broken = {"error": {"message": "the backend went away", "simulated": True}}
    pieces = (piece("half an", system_fingerprint="simulated"), broken)
    daemon(lambda request: httpx.Response(200, content=sse(*pieces, done=False)))
    assert main.run(["ask", "x"]) == 1
    out, err = capsys.readouterr()
    assert out == "half an\n"
    assert err.startswith("SIMULATED · ")
    assert "SIMULATED: the backend went away" in err


@pytest.mark.parametrize("simulated", [True, False])
def test_a_refusal_says_whether_it_is_simulated(simulated: bool, daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mark = {"simulated": True} if simulated else {}
    bodies = {
        "/v1/chat/completions": {"error": {"message": "no answer", **mark}},
        "/v1/requests": {"detail": "no answer", **mark},
    }
    daemon(lambda request: httpx.Response(502, json=bodies[request.url.path]))
    for command in (["ask", "x"], ["ask", "--strategy", "single", "x"], ["ask", "--async", "x"]):
        assert main.run(command) == 1
        assert capsys.readouterr().err.startswith("Error: SIMULATED: no answer" if simulated else "Error: no answer")


def test_what_a_model_says_cannot_drive_the_terminal(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    daemon(lambda request: httpx.Response(200, content=sse(piece("\x1b[2Jred\x07\nnext"))))
    main.run(["ask", "x"])
    assert capsys.readouterr().out == "[2Jred\nnext\n"


def test_ask_with_a_shape_sends_it_and_prints_json(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    reply = {"choices": [{"message": {"content": '{"cities":[{"name":"Porto"}]}'}}], "morphogen": ABOUT}
    seen = daemon(lambda request: httpx.Response(200, json=reply))
    assert main.run(["ask", "--shape", '{"cities": [{"name": "string"}]}', "--count", "1", "cities"]) == 0
    assert json.loads(capsys.readouterr().out) == {"cities": [{"name": "Porto"}]}
    assert json.loads(seen[0].content)["morphogen"] == {"shape": {"cities": [{"name": "string"}]}, "count": 1}


def test_a_daemon_that_is_not_there_is_exit_3_with_what_to_do(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    daemon(refuse)
    assert main.run(["nodes"]) == 3
    err = capsys.readouterr().err
    assert URL in err
    assert "morphogen serve" in err


def test_a_refused_operator_call_says_which_key(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"detail": "This call needs the operator key"}
    seen = daemon(lambda request: httpx.Response(403, json=problem))
    assert main.run(["requests"]) == 1
    assert "MORPHOGEN_KEY" in capsys.readouterr().err
    assert seen[0].headers["authorization"] == "Bearer mg-operator-x"


def test_something_else_on_the_port_is_told(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    daemon(lambda request: httpx.Response(200, html="<html>a printer</html>"))
    assert main.run(["backends"]) == 1
    assert "something else" in capsys.readouterr().err


NODE = {
    "name": "generalist",
    "role": "generalist",
    "speciality": None,
    "state": "live",
    "inflight": 1,
    "max_concurrency": 64,
    "handled": 41,
    "failed": 2,
    "restarts": 1,
    "backends": [],
    "started_at": 1.0,
    "pid": 77,
}


def test_tables_have_a_json_twin(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    daemon(lambda request: httpx.Response(200, json={"data": [NODE]}))
    assert main.run(["nodes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [NODE]
    assert main.run(["nodes"]) == 0
    table = capsys.readouterr().out
    assert "generalist" in table
    assert "1/64" in table
    assert "\x1b" not in table


def test_the_requests_table_marks_simulated_and_failed(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "req_9", "at": 1.0, "source": "mock", "target": "auto", "status": "error", "error": "backend_timeout"}
    row |= {"backend": "generator", "simulated": True, "latency_s": 2.0, "tokens": 5, "cost_usd": 0.5, "node": None}
    daemon(lambda request: httpx.Response(200, json={"data": [row]}))
    assert main.run(["requests"]) == 0
    shown = capsys.readouterr().out
    assert "generator (simulated)" in shown
    assert "backend_timeout" in shown


@pytest.mark.parametrize("simulated", [True, False])
def test_the_budget_says_whose_prices_are_pretended(simulated: bool, daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sums = {"limit": None, "spent": 0, "reserved": 0, "left": None}
    budget = {"data": [{"scope": "day", "usd": sums, "tokens": sums}], "resets_at": 0.0}
    backends = {"data": [{"name": "real", "simulated": False}, {"name": "pretender", "simulated": simulated}]}
    daemon(lambda request: httpx.Response(200, json=budget if request.url.path == "/v1/budget" else backends))
    assert main.run(["budget"]) == 0
    shown = capsys.readouterr().out
    assert "all of the daemon" in shown
    assert ("SIMULATED: what pretender cost is counted at pretended prices." in shown) == simulated


def test_trace_last_asks_for_the_newest(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/requests":
            assert request.url.params["limit"] == "1"
            return httpx.Response(200, json={"data": [{"id": "req_5"}]})
        return httpx.Response(200, json={"id": "req_5", "status": "running", "request": None, "outcome": None})

    seen = daemon(answer)
    assert main.run(["trace", "last"]) == 0
    assert seen[-1].url.path == "/v1/requests/req_5"
    assert "req_5: running" in capsys.readouterr().out


def test_an_id_cannot_reach_another_path(daemon: Any) -> None:
    seen = daemon(lambda request: httpx.Response(404, json={"detail": "unknown"}))
    assert main.run(["trace", "../keys?x=1"]) == 1
    assert seen[0].url.raw_path == b"/v1/requests/..%2Fkeys%3Fx%3D1"


def test_a_key_is_printed_alone_on_stdout(daemon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"id": "k1", "name": "laptop", "scope": "client", "secret": "mg-client-k1-s"}
    seen = daemon(lambda request: httpx.Response(201, json=made))
    assert main.run(["keys", "create", "laptop"]) == 0
    assert capsys.readouterr().out == "mg-client-k1-s\n"
    assert json.loads(seen[0].content) == {"name": "laptop", "scope": "client"}


# ── the pieces ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_file_key_is_never_sent_to_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "operator.key").write_text("mg-operator-abc\n")
    monkeypatch.delenv("MORPHOGEN_KEY", raising=False)
    monkeypatch.setattr(client, "data_folder", lambda: tmp_path)
    for url, key in ((URL, "mg-operator-abc"), ("http://example.org:5116", None), ("http://127.0.0.1.example.org", None)):
        monkeypatch.setenv("MORPHOGEN_URL", url)
        with client.open_client() as made:
            assert made._key == key


@pytest.mark.parametrize(
    ("url", "here"),
    [("http://127.0.0.9", True), ("http://[::1]:1", True), ("http://localhost", True), ("http://10.0.0.1", False), ("x", False)],
)
def test_loopback(url: str, here: bool) -> None:
    assert client.is_loopback(url) is here


def test_read_key_of_no_file_is_none(tmp_path: Path) -> None:
    assert client.read_key(tmp_path) is None


def test_a_shape_comes_from_json_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "shape.json"
    file.write_text('{"a": 0}')
    assert read_shape(f"@{file}") == {"a": 0}
    assert read_shape('["string"]') == ["string"]
    for wrong in ("{", f"@{tmp_path / 'none'}"):
        with pytest.raises(CliError) as caught:
            read_shape(wrong)
        assert caught.value.exit_code == 2


def test_no_question_is_wrong_usage() -> None:
    with pytest.raises(CliError, match="no question"):
        read_prompt([" "])


def test_count_without_a_shape_is_refused() -> None:
    assert main.run(["ask", "--count", "3", "x"]) == 2


def test_a_body_without_extras_is_plain_openai() -> None:
    assert Question(prompt="x").body(stream=False) == {"model": "auto", "messages": [{"role": "user", "content": "x"}]}


def test_the_footer_says_estimated_and_incomplete() -> None:
    line = footer_of({**ABOUT, "simulated": False, "usage_estimated": True, "complete": False}, latency_s=0.41)
    assert "SIMULATED" not in line
    assert "≈ $0.00012" in line
    assert "INCOMPLETE" in line


def test_flags_win_over_the_file_and_are_checked(tmp_path: Path) -> None:
    settings = with_flags(Settings(), Flags(port=0, cluster="local", data_dir=tmp_path))
    assert (settings.server.port, settings.cluster.kind, settings.data.dir) == (0, "local", tmp_path)
    assert settings.server.host == Settings().server.host
    with pytest.raises(CliError, match="--port"):
        with_flags(Settings(), Flags(port=70_000))


def test_the_ready_text_names_another_port_in_its_hints() -> None:
    said = "listening on http://127.0.0.1:6001\nbackends: The simulated pool\noperator key: /d/operator.key"
    text = ready_text(said, config_path=None)
    assert "MORPHOGEN_URL=http://127.0.0.1:6001 morphogen ask" in text
    assert "The simulated pool" in text
    assert "MORPHOGEN_URL" not in ready_text(said.replace("6001", "5116"), config_path=None)
