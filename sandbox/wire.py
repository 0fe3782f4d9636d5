"""The frames between a caller and a child, and the messages between a caller and the zygote. Pure.

Used by runner.py, link.py, zygote.py and child.py. A caller treats all that comes from a child as hostile: sizes are checked
before anything is read, and the JSON is read by ``read_answer`` alone. Caller and zygote trust each other.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from sandbox.records import MAX_STDOUT_BYTES, Json, Problem

RUN_SOURCE, RUN_COMPILED, CALL = 1, 2, 3
REQUEST = struct.Struct("<BIII")
ANSWER = struct.Struct("<BII")
_COMPILED, _ANSWERED = 1, 2
MAX_COMPILED_BYTES = 8 * 2**20
MAX_HEADER_BYTES = 6 * MAX_STDOUT_BYTES + 65_536
MAX_MESSAGE_BYTES = 32_768
MAX_ERROR_CHARS = 4000
_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    kind: int
    code_bytes: int
    inputs_bytes: int
    output_bytes: int


class Garbled(Exception):
    """A child sent what is no answer."""


class TooMuch(Exception):
    """A child announced more than it may send."""


def request(kind: int, code: bytes, inputs: bytes, output_bytes: int) -> bytes:
    """A frame to a child: ``kind``, the code (source or compiled; empty for CALL), the inputs as JSON."""
    return REQUEST.pack(kind, len(code), len(inputs), output_bytes) + code + inputs


def request_header(header: bytes) -> Request:
    kind, code_bytes, inputs_bytes, output_bytes = REQUEST.unpack(header)
    return Request(kind=kind, code_bytes=code_bytes, inputs_bytes=inputs_bytes, output_bytes=output_bytes)


def compiled(code: bytes) -> bytes:
    """A frame from a child: the code as it compiled it, sent before it is run."""
    return ANSWER.pack(_COMPILED, len(code), 0) + code


def answer(header: dict[str, Any], value: bytes) -> bytes:
    """A frame from a child: what came of the run."""
    encoded = json.dumps(header).encode()
    return ANSWER.pack(_ANSWERED, len(encoded), len(value)) + encoded + value


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    value: Json
    problem: Problem | None
    error: str
    line: int | None
    stdout: str
    cut: bool


class Reader:
    """Puts frames together from what a child sends. ``feed`` returns an Answer once it is whole, else None."""

    def __init__(self, output_bytes: int) -> None:
        self.compiled: bytes | None = None
        self._buffer = bytearray()
        self._output_bytes = output_bytes

    def feed(self, data: bytes) -> Answer | None:
        """Raises Garbled, TooMuch."""
        self._buffer += data
        while len(self._buffer) >= ANSWER.size:
            kind, first, second = ANSWER.unpack_from(self._buffer)
            self._check(kind, first, second)
            end = ANSWER.size + first + second
            if len(self._buffer) < end:
                return None
            head = bytes(self._buffer[ANSWER.size : ANSWER.size + first])
            tail = bytes(self._buffer[ANSWER.size + first : end])
            del self._buffer[:end]
            if kind == _ANSWERED:
                return read_answer(head, tail)
            self.compiled = head
        return None

    def _check(self, kind: int, first: int, second: int) -> None:
        if kind == _COMPILED and self.compiled is None and first <= MAX_COMPILED_BYTES and second == 0:
            return
        if kind != _ANSWERED or first > MAX_HEADER_BYTES:
            raise Garbled
        if second > self._output_bytes:
            raise TooMuch


def read_answer(header: bytes, value: bytes) -> Answer:
    """The answer in two pieces of JSON. Raises Garbled for whatever is not exactly that, or holds numbers that are not finite."""
    try:
        fields = json.loads(header, parse_constant=_no_constant)
        if not isinstance(fields, dict):
            raise Garbled
        problem = Problem(fields["problem"]) if "problem" in fields else None
        found = _value(value) if problem is None else None
    except (ValueError, TypeError, RecursionError):
        raise Garbled from None
    if problem is Problem.UNAVAILABLE:
        raise Garbled
    line = fields.get("line")
    return Answer(
        value=found,
        problem=problem,
        error=_text(fields.get("error"), MAX_ERROR_CHARS),
        line=line if isinstance(line, int) and not isinstance(line, bool) and 0 < line < 10**6 else None,
        stdout=_text(fields.get("stdout"), MAX_STDOUT_BYTES),
        cut=fields.get("cut") is True,
    )


def _text(value: Any, limit: int) -> str:
    if not isinstance(value, str):
        return ""
    return value[:limit].encode("utf-8", "replace").decode()


def _value(encoded: bytes) -> Json:
    shape = encoded.translate(_SHAPE, b"+")
    if b"e000" in shape or b"0" * 300 in shape:  # 1e999 reads as infinity; looking at each number costs time, so only then
        return json.loads(encoded, parse_constant=_no_constant, parse_float=_finite)
    return json.loads(encoded, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


def message(**fields: Any) -> bytes:
    """A message between a caller and the zygote."""
    return json.dumps(fields, separators=(",", ":")).encode()


def read_message(data: bytes) -> dict[str, Any]:
    """Raises ValueError for what is no message."""
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("a message is an object")
    return found
