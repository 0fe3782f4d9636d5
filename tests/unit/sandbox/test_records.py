"""Limits, verdicts on health, and equality of JSON."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.confine import judge
from sandbox.names import hide, reveal
from sandbox.records import CodeRefused, Layer, Limits, same_json

ALL = ("seccomp", "no_new_privs", "rlimits", "empty_root", "landlock", "net_namespace", "landlock_net", "privileges")


def layers(*missing: str) -> list[Layer]:
    return [Layer(name=name, holds=name not in missing, how="") for name in ALL]


@pytest.mark.parametrize(
    ("missing", "level"),
    [
        ((), "full"),
        (("empty_root", "net_namespace"), "full"),
        (("landlock", "landlock_net"), "full"),
        (("empty_root", "landlock"), "reduced"),
        (("net_namespace", "landlock_net"), "reduced"),
        (("privileges",), "reduced"),
        (("seccomp",), "off"),
        (("no_new_privs",), "off"),
        (("rlimits",), "off"),
    ],
)
def test_a_missing_layer_is_made_up_for_or_costs_the_level(missing: tuple[str, ...], level: str) -> None:
    health = judge(layers(*missing))
    assert health.level == level
    assert (level == "full") == (health.reason == "")


@pytest.mark.parametrize(
    ("field", "value"),
    [("wall_s", 0), ("wall_s", float("nan")), ("cpu_s", -1), ("memory_bytes", 5), ("output_bytes", 2**40), ("wall_s", True)],
)
def test_limits_name_the_field_that_is_wrong(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: value})


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (0.1 + 0.2, 0.3, True),
        (1, True, False),
        ([1, {"a": 2}], [1, {"a": 2.0}], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"b": 1}, False),
        ("a", "a", True),
        (None, 0, False),
        (10**400, 1.0, False),
        (10**20 + 1, 10**20, False),
    ],
)
def test_equality_of_json(left: Any, right: Any, same: bool) -> None:
    assert same_json(left, right) is same


@pytest.mark.parametrize("name", ["_x", "__x", "___", "_a_b_", "_9"])
def test_private_names_are_hidden_and_come_back(name: str) -> None:
    assert not hide(name).startswith("_")
    assert reveal(hide(name)) == name


@pytest.mark.parametrize("name", ["x", "_", "__init__", "x_"])
def test_other_names_stay(name: str) -> None:
    assert hide(name) == name


def test_a_refusal_says_its_line() -> None:
    assert str(CodeRefused("no", 3)) == "line 3: no"
    assert str(CodeRefused("no")) == "no"
