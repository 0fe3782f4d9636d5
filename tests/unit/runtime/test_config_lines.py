"""The scanner finds the line of every setting, however TOML lets it be written."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.lines import line_of, setting_lines

TEXT = '''# a comment = 1
top = 1
"quoted # key" = "a # b"

[server]
port = 1   # tail
a.b."c.d" = 2
long = """
[not.a.table]
x = 1 \\""" ""
"""
after = 3

[[backends]]
name = "x"
tags = [
  "a", # one
  ["b", { k = 1, j = 'it"s' }],
]
[backends.deep]
y = 1
[[backends]]
name = 'y'
[[backends.items]]
[[backends.items]]
z = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted # key",), 3),
        (("server",), 5),
        (("server", "port"), 6),
        (("server", "a", "b", "c.d"), 7),
        (("server", "long"), 8),
        (("server", "after"), 12),
        (("backends",), 14),
        (("backends", 0), 14),
        (("backends", 0, "name"), 15),
        (("backends", 0, "tags", 0), 17),
        (("backends", 0, "tags", 1, 0), 18),
        (("backends", 0, "tags", 1, 1, "j"), 18),
        (("backends", 0, "deep", "y"), 21),
        (("backends", 1), 22),
        (("backends", 1, "name"), 23),
        (("backends", 1, "items", 1), 25),
        (("backends", 1, "items", 1, "z"), 26),
    ],
)
def test_line_of_each_setting(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert setting_lines(TEXT)[path] == line


def test_tables_that_were_never_written_do_not_appear() -> None:
    lines = setting_lines(TEXT)
    assert ("not", "a", "table") not in lines
    assert ("x",) not in lines


def test_a_missing_setting_takes_the_line_of_what_is_around_it() -> None:
    lines = setting_lines(TEXT)
    assert line_of(lines, ("backends", 1, "port")) == 22
    assert line_of(lines, ("nowhere",)) is None


@given(st.text(alphabet="ab.[]{}=,\"'#\\ \n1", max_size=60))
def test_any_text_that_is_toml_is_scanned_to_its_end(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = setting_lines(text)
    assert {path[0] for path in lines if len(path) == 1} == set(data)
