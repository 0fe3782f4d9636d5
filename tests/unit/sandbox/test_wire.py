"""What a child sends is hostile: only an Answer, Garbled or TooMuch ever comes out of reading it."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import wire
from sandbox.records import Problem


def read(data: bytes, *, output_bytes: int = 1000, step: int = 10**9) -> wire.Answer | None:
    reader = wire.Reader(output_bytes)
    answer = None
    for start in range(0, len(data), step):
        answer = answer or reader.feed(data[start : start + step])
    return answer


@given(st.integers(1, 50))
def test_an_answer_comes_through_in_pieces_of_any_size(step: int) -> None:
    frame = wire.compiled(b"code") + wire.answer({"stdout": "hi", "cut": True}, b"[1, 2.5]")
    answer = read(frame, step=step)
    assert answer == wire.Answer(value=[1, 2.5], problem=None, error="", line=None, stdout="hi", cut=True)


def test_what_the_child_says_is_checked_and_cut() -> None:
    told = {"problem": "raised", "error": "e" * 10_000, "line": -3, "stdout": 5, "cut": "yes", "value": 3}
    answer = read(wire.answer(told, b""))
    assert answer is not None
    assert (answer.problem, len(answer.error), answer.line, answer.stdout, answer.cut) == (Problem.RAISED, 4000, None, "", False)


@pytest.mark.parametrize(
    "frame",
    [
        wire.answer({}, b"NaN"),
        wire.answer({}, b"[1e999]"),
        wire.answer({}, b"[-Infinity]"),
        wire.answer({}, b"[" * 400 + b"]" * 400 + b"x"),
        wire.answer({}, b""),
        wire.answer({"problem": "unavailable"}, b""),
        wire.answer({"problem": "nonsense"}, b""),
        wire.answer({"problem": ["raised"]}, b""),
        wire.ANSWER.pack(2, 2, 1) + b"[]1",
        wire.ANSWER.pack(9, 0, 0),
        wire.ANSWER.pack(2, 2**31, 0),
        wire.ANSWER.pack(1, 2**31, 0),
        wire.compiled(b"a") + wire.compiled(b"b"),
    ],
)
def test_what_is_no_answer_is_garbled(frame: bytes) -> None:
    with pytest.raises(wire.Garbled):
        read(frame)


def test_more_than_may_be_sent_is_refused_before_it_is_read() -> None:
    with pytest.raises(wire.TooMuch):
        read(wire.ANSWER.pack(2, 2, 1001))


@settings(max_examples=300)
@given(st.binary(max_size=400), st.integers(1, 64))
def test_nothing_else_comes_out_whatever_is_sent(data: bytes, step: int) -> None:
    with suppress(wire.Garbled, wire.TooMuch):
        read(data, step=step)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_nothing_else_comes_out_of_any_header(header: object) -> None:
    encoded = json.dumps({"problem": header, "error": header, "line": header, "stdout": header}).encode()
    with suppress(wire.Garbled):
        wire.read_answer(encoded, b"1")
