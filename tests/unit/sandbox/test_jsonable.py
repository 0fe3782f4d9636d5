"""Results as JSON: what becomes what, and what is refused with its place."""

# ruff: noqa: E501 - a program is one string

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sandbox.jsonable import NotJson, TooLarge, encode
from tests.unit.sandbox.worlds import run


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ((1, 2.5, None, True, "ü"), '[1,2.5,null,true,"ü"]'.encode()),
        (np.float32(0.5), b"0.5"),
        (np.array([[1, 2]]), b"[[1,2]]"),
        ({np.int64(3): np.bool_(True)}, b'{"3":true}'),
        ("a\ud800", '"a\ufffd\ufffd\ufffd"'.encode()),
        (range(3), b"[0,1,2]"),
        ({"b": 1}.keys(), b'["b"]'),
        (2**200, str(2**200).encode()),
    ],
)
def test_what_becomes_what(value: Any, encoded: bytes) -> None:
    assert encode(value, 10_000) == encoded


def circular() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [1.0, float("nan")]}, "nan at result['a'][1]"),
        (np.array([1.0, np.inf]), "inf at result[1]"),
        (circular(), "contains itself"),
        ({"x": object()}, "result['x'] is of type object"),
        (b"abc", "decode it"),
        (1j, "imaginary"),
        (iter([1]), "list()"),
        ({frozenset(): 1}, "keys must be text"),
        (2**10_000, "8192 bits"),
    ],
)
def test_what_is_no_json_is_named_with_its_place(value: Any, words: str) -> None:
    with pytest.raises(NotJson) as caught:
        encode(value, 10_000)
    assert words in str(caught.value)


@pytest.mark.parametrize("value", ["x" * 2000, ["y" * 10] * 1000, list(range(2_000_000))])
def test_what_is_too_large(value: Any) -> None:
    with pytest.raises(TooLarge):
        encode(value, 1024)


def test_own_subclasses_cannot_interfere() -> None:
    code = (
        "class D(dict):\n    def items(self):\n        raise SystemExit(9)\n    def __iter__(self):\n        raise SystemExit(9)\n"
        "class S(str):\n    def __str__(self):\n        raise RuntimeError\nclass L(list):\n    def __iter__(self):\n        yield 5\n"
        "class I(int):\n    def __int__(self):\n        return 7\n    __index__ = __int__\n"
        "def run(i):\n    return [D(a=1), S('v'), L([1]), I(3), {S('k'): 1}]\n"
    )
    assert run(code)[0] == [{"a": 1}, "v", [1], 3, {"k": 1}]


def test_too_much_output_is_told() -> None:
    _, header = run("def run(i):\n    return 'x' * 5000", output_bytes=1024)
    assert header["problem"] == "output_too_large"


def test_prints_are_kept_and_cut() -> None:
    _, header = run("def run(i):\n    print('é' * 100_000)\n    print('more')\n    return 1")
    assert header["cut"] is True
    assert len(header["stdout"].encode()) <= 65_536
