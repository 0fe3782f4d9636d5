"""Who is asked, and who next, of a pool of backends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from agents.calls import Health
from agents.records import Choice, NotFound
from tests.fakes.backends import ScriptedBackend
from tests.fakes.pool import Bench, spec

PRICED = (
    ScriptedBackend(spec("mid", output_usd_per_mtok=2.0, aliases=("m",))),
    ScriptedBackend(spec("dear", output_usd_per_mtok=9.0, capabilities=frozenset({"words", "plan"}))),
    ScriptedBackend(spec("low", output_usd_per_mtok=0.5)),
)


def names(choice: Choice, health: Mapping[str, Health] | None = None, **options: Any) -> list[str]:
    return [s.name for s in Bench(*PRICED, **options).pool.candidates(choice, health or {})]


def test_backends_are_cheapest_first_and_found_by_alias() -> None:
    pool = Bench(*PRICED).pool
    assert [s.name for s in pool.specs] == ["low", "mid", "dear"]
    found = pool.find("m")
    assert found is not None
    assert found.name == "mid"
    assert pool.find("nobody") is None


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(backend="m"), ["mid", "dear", "low"]),
        (Choice(backend="low", fallback=False), ["low"]),
        (Choice(preferred=("dear", "nobody", "low")), ["dear", "low", "mid"]),
        (Choice(tier="cheap"), ["low", "mid", "dear"]),
        (Choice(tier="premium"), ["dear", "mid", "low"]),
        (Choice(tier="premium", fallback=False), ["dear"]),
        (Choice(needs=frozenset({"plan"})), ["dear"]),
        (Choice(tier="cheap", needs=frozenset({"code"})), ["low", "mid", "dear"]),
    ],
)
def test_the_order_of_candidates(choice: Choice, expected: list[str]) -> None:
    assert names(choice) == expected


def test_the_middle_price_is_quality_and_open_breakers_go_last() -> None:
    assert names(Choice(tier="quality"))[0] == "mid"
    assert names(Choice(tier="cheap"), {"low": Health(state="open", retry_in_s=3)}) == ["mid", "dear", "low"]
    assert names(Choice(tier="cheap"), {"low": Health(state="half_open")})[0] == "low"


def test_a_configured_fallback_order_follows_the_first() -> None:
    assert names(Choice(tier="cheap"), fallback=("dear", "mid")) == ["low", "dear", "mid"]


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        names(Choice(backend="nobody"))
    assert caught.value.param == "model"


def test_the_draw_follows_the_weights_and_weight_zero_is_last() -> None:
    bench = Bench(*(ScriptedBackend(spec(name, weight=weight)) for name, weight in (("a", 3), ("b", 1), ("c", 0))))
    drawn = [[s.name for s in bench.pool.candidates(Choice(), {})] for _ in range(2000)]
    first = Counter(order[0] for order in drawn)
    assert 1400 < first["a"] < 1600
    assert {order[2] for order in drawn} == {"c"}
