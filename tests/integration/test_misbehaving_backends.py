"""Backends that misbehave, over real HTTP: a clear error or a whole answer, never a part of one, never two of them spliced."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

FAULTS = ("html", "500", "429", "wrong_length", "broken_stream", "error_in_stream")
QUESTION = "Describe how a lighthouse keeper spends a quiet winter evening."


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One bad backend for each fault, and a good one that stands in."""
    bad = [
        f'[[backends]]\nname = "{fault}"\nkind = "simulated"\nmodel = "generator!fault={fault}"\nweight = 0\n' for fault in FAULTS
    ]
    good = '[[backends]]\nname = "good"\nkind = "simulated"\nmodel = "enricher"\n'
    limits = '[requests]\nfallback = ["good"]\n[retry]\nbase_delay_s = 0.05\n[breaker]\nenabled = false\n'
    with running_daemon(tmp_path_factory.mktemp("misbehaving"), "".join(bad) + good + limits, lean=True) as running:
        yield running


def streamed(daemon: Running, model: str) -> tuple[str, bool, bool]:
    """(the text, whether it says that it is whole, whether it says that it failed)."""
    status, raw, _ = daemon.chat(model, QUESTION, stream=True)
    if status != 200:
        return "", False, True
    text, failed = "", False
    for line in str(raw).splitlines():
        if line.startswith("data: {"):
            event = json.loads(line[6:])
            failed = failed or "error" in event
            text += "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
    return text, "data: [DONE]" in str(raw), failed


def whole(daemon: Running, model: str) -> str:
    return str(daemon.chat(model, QUESTION)[1]["choices"][0]["message"]["content"])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_healthy_backend_stands_in(daemon: Running, fault: str) -> None:
    status, reply, _ = daemon.chat(fault, QUESTION)
    assert status == 200
    if fault not in ("broken_stream", "error_in_stream"):  # those two only spoil streams
        assert reply["morphogen"]["backend"] == "good"
        assert reply["choices"][0]["message"]["content"] == whole(daemon, "good")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_is_one_whole_answer_or_says_that_it_failed(daemon: Running, fault: str) -> None:
    text, done, failed = streamed(daemon, fault)
    assert done != failed
    if done:
        assert text in {whole(daemon, "good"), whole(daemon, "broken_stream")}


def test_a_retry_after_is_honoured_before_the_next_backend(daemon: Running) -> None:
    begin = time.monotonic()
    assert daemon.chat("429", QUESTION)[0] == 200
    trace = daemon.call("GET", "/v1/requests", operator=True)[1]
    assert trace["data"]
    assert time.monotonic() - begin >= 1.0


def test_a_schema_made_to_be_slow_stops_nobody_else(daemon: Running) -> None:
    hostile = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$b"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "slow", "schema": hostile}}
    status, reply, _ = daemon.chat("good", "x", response_format=form, morphogen={"deadline_s": 10})
    assert status in (400, 502, 504), reply
    assert reply["error"]["message"]
    assert daemon.chat("good", QUESTION)[0] == 200


def test_a_text_of_absurd_length_is_refused(daemon: Running) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "long", "schema": {"type": "string", "minLength": 100_000_000}}}
    status, reply, _ = daemon.chat("good", "x", response_format=form)
    assert status == 400
    assert "minLength" in reply["error"]["message"]


def test_missing_items_are_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    toml = '[[backends]]\nname = "wrong"\nkind = "simulated"\nmodel = "generator!fault=wrong_schema"\n'
    with running_daemon(tmp_path_factory.mktemp("wrong"), toml, lean=True) as daemon:
        status, reply, _ = daemon.call("POST", "/api/mock/things", {"count": 50, "shape": [{"id": 0}]})
    assert status == 502
    assert "50 of 50 items are missing" in reply["error"]["message"]
