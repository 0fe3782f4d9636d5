"""Streams of the chat protocol, read from bytes however they are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.llm.chat import Chunk
from agents.llm.sse import StreamReader
from agents.records import BackendFailed, BackendGarbled, StreamBroken
from tests.fakes.protocol import DONE, REQUEST, SPEC, event

USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'


def read(*pieces: bytes) -> list[Chunk]:
    reader = StreamReader(SPEC, REQUEST)
    chunks = [chunk for piece in pieces for chunk in reader.feed(piece)]
    return [*chunks, *reader.last(), reader.finish()]


@given(st.lists(st.integers(1, 400), max_size=30), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_reads_the_same_however_it_is_cut(cuts: list[int], end: bytes) -> None:
    whole = b": ping\n\n" + event("Hel") + b"event: ping\ndata:\n\n" + event("lö") + event(None, "stop") + USAGE + DONE
    whole = whole.replace(b"\n", end)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = read(*(whole[a:b] for a, b in itertools.pairwise(places)))
    assert "".join(chunk.text for chunk in chunks) == "Hello".replace("o", "ö")
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (3, 4, False)


def test_a_usage_that_is_missing_is_estimated() -> None:
    usage = read(event("12345678"), event(None, "stop"), DONE)[-1].usage
    assert usage is not None
    assert usage.estimated
    assert usage.completion_tokens == 2


def test_an_event_over_several_lines_and_an_end_without_line_end() -> None:
    chunks = read(b'data: {"choices": [{"delta":\ndata: {"content": "x"}, "finish_reason": "stop"}]}\n\ndata: [DONE]')
    assert chunks[0].text == "x"
    assert read(event("x", "stop").rstrip())[0].text == "x"


@pytest.mark.parametrize("pieces", [[], [event("x")], [event("x"), b'data: {"choices": [{"del'], [b": ping\n\n"]])
def test_an_end_that_is_no_end_is_a_broken_stream(pieces: list[bytes]) -> None:
    with pytest.raises(StreamBroken):
        read(*pieces)


def test_an_end_with_a_finish_but_no_done_is_an_end() -> None:
    assert read(event("x"), event(None, "length"))[1].finish_reason == "length"


def test_an_error_in_mid_stream() -> None:
    error = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    with pytest.raises(BackendFailed):
        read(error)
    with pytest.raises(StreamBroken, match="overloaded"):
        read(event("x"), error)


@pytest.mark.parametrize(
    "raw",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b'data: {"x": 1}\n\n',
        b'data: {"choices": [1]}\n\n',
        b'data: {"choices": [{"delta": "x"}]}\n\n',
        b'data: {"choices": [{"delta": {}, "index": -1}]}\n\n',
    ],
)
def test_garbage_in_a_stream_is_garbled(raw: bytes) -> None:
    with pytest.raises(BackendGarbled):
        read(raw)


def test_an_endless_line_is_refused() -> None:
    reader = StreamReader(SPEC, REQUEST)
    for _ in range(4):
        assert reader.feed(b"x" * 2**20) == []
    with pytest.raises(BackendGarbled):
        reader.feed(b"x")
