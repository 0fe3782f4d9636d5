"""Complexity as a number with its reasons, and the route that follows from it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.llm.chat import BackendSpec
from agents.records import Choice, Json, Work
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.complexity import Complexity, complexity, up
from agents.strategies.compose import parse_strategy, run_strategy
from agents.strategies.routed import decide, expected_usd
from agents.strategy_specs import Consensus, Pipeline, Single, Stage
from agents.verdicts import Constraint
from tests.fakes.toolbox import FakeToolbox

POOL = tuple(BackendSpec(name=name, output_usd_per_mtok=price) for name, price in (("a", 1.0), ("b", 10.0), ("c", 100.0)))
FREE = {"low": 0.0, "mid": 0.0, "high": 0.0}
ORDER = {
    "customer": {"name": "string", "address": {"street": "string", "town": "string", "geo": {"lat": 0.5, "lon": 0.5}}},
    "lines": [{"sku": "string", "amount": 0, "discounts": [{"code": "string", "percent": 0.5}]}],
    "status": "open|paid|sent",
}


def asks(text: str, shape: Json = None, **more: Any) -> Work:
    schema = parse_shape(shape, limits=ShapeLimits()) if shape is not None else None
    return Work(messages=({"role": "user", "content": text},), schema=schema, **more)


def score(text: str, shape: Json = None, **more: Any) -> float:
    return complexity(asks(text, shape, **more)).score


def test_harder_forms_score_higher() -> None:
    flat = score("A ship", {"name": "string"})
    wide = score("A ship", {f"f{n}": "string" for n in range(20)})
    deep = score("An order", ORDER)
    ruled = score("An order", ORDER, rules=("a", "b", "c"), constraints=(Constraint(kind="unique", field="lines[].sku"),))
    many = score("An order", ORDER, rules=("a", "b", "c"), count=500)
    assert flat < 1 < wide < deep < ruled
    assert many > score("An order", ORDER, rules=("a", "b", "c"))


def test_harder_words_score_higher() -> None:
    simple = score("Hello there")
    assert simple < 0.5
    assert score("What is a capstan?") < 2
    hard = (
        "Compare the two designs step by step. Prove that the schedule is optimal, estimate the cost (12, 15.5 or 20 %),\n"
        "and explain, since the assumptions may contradict each other:\n"
        "1. why it holds\n2. which assumptions it makes\n3. what the trade-offs are\n```python\ndef f(x): return x\n```\n"
    )
    assert score(hard) > 6.5
    assert score("Translate this into French: the tide is high") > score("Repeat this again: the tide is high")
    assert score("What does 潮汐 mean?") > score("What does it mean?")


def test_the_reason_names_the_factors_largest_first() -> None:
    found = complexity(asks("Prove it, and compare it", ORDER))
    assert found.reason.split(" ")[0] == max(found.parts, key=lambda name: found.parts[name])
    assert found.score == pytest.approx(min(10.0, sum(found.parts.values())), abs=0.02)
    assert complexity(asks("")).reason == "nothing that makes it hard"


def test_a_recursive_schema_ends() -> None:
    tree = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"kids": {"type": "array"}}}}}
    tree["$defs"]["node"]["properties"]["kids"]["items"] = {"$ref": "#/$defs/node"}
    assert 0 < complexity(Work(messages=(), schema=tree)).score <= 10


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(0, 50), st.integers(0, 200))
def test_the_score_stays_within_its_bounds(text: str, rules: int, fields: int) -> None:
    work = asks(text, {f"f{n}": [{"x": 0}] for n in range(fields)}, rules=("r",) * rules)
    assert 0 <= complexity(work).score <= 10


@pytest.mark.parametrize("text", ["SELECT " * 15_000, "; " * 50_000, "-\n" * 50_000, "1,." * 30_000, "function " * 10_000])
def test_hostile_words_take_no_time(text: str) -> None:
    began = time.monotonic()
    complexity(asks(text))
    assert time.monotonic() - began < 2


def test_up_is_half_of_its_most_at_its_half() -> None:
    assert up(12, 12, 3) == 1.5
    assert up(0, 12, 3) == 0.0
    assert up(1e9, 12, 3) < 3.0


@pytest.mark.parametrize(
    ("found", "more", "level"),
    [
        (2.0, {}, "low"),
        (3.5, {}, "mid"),
        (6.5, {}, "high"),
        (5.0, {"importance": "critical"}, "high"),
        (4.0, {"importance": "low"}, "low"),
        (6.0, {"quality": 0.9}, "high"),
        (4.0, {"quality": 0.4}, "low"),
        (4.0, {"quality": 0.8}, "mid"),
    ],
)
def test_the_level_follows_score_importance_and_quality(found: float, more: dict[str, Any], level: str) -> None:
    route = decide(asks("x", **more), Complexity(score=found, parts={}), (3.5, 6.5), FREE, None)
    assert route.level == level
    assert f"complexity {found:g}" in route.reason
    for name, value in more.items():
        assert (f"{name} {value}" in route.reason) == (value != 0.8)


def test_what_cannot_be_paid_gives_way_to_the_next_lower_level() -> None:
    costs: Any = {"low": 0.5, "mid": 0.02, "high": 0.3}
    hard = Complexity(score=9.0, parts={})
    assert decide(asks("x"), hard, (3.5, 6.5), costs, 0.4).level == "high"
    cheaper = decide(asks("x"), hard, (3.5, 6.5), costs, 0.1)
    assert (cheaper.level, cheaper.score) == ("mid", 9.0)
    assert "high would cost about 0.3" in cheaper.reason
    assert decide(asks("x"), hard, (3.5, 6.5), costs, 0.0).level == "low"


def test_expected_costs_follow_prices_and_parts() -> None:
    work = asks("x")
    cheap, dear = (expected_usd(work, Single(tier=tier), POOL) for tier in ("cheap", "premium"))
    assert dear == pytest.approx(cheap * 100)
    assert expected_usd(work, Single(backend="b"), POOL) == pytest.approx(cheap * 10)
    two = Pipeline(stages=(Stage(name="1", strategy=Single(tier="cheap")), Stage(name="2", strategy=Single(backend="b"))))
    assert expected_usd(work, two, POOL) == pytest.approx(cheap * 11)
    assert expected_usd(work, two, ()) == 0.0
    members = Consensus(members=(Single(tier="cheap"), two))
    assert expected_usd(work, members, POOL) == pytest.approx(cheap * 12)
    assert expected_usd(work, Consensus(k=4), POOL) == pytest.approx(expected_usd(work, Single(), POOL) * 4)


@pytest.mark.parametrize(("text", "usd", "tier"), [("Hi", None, "cheap"), ("Hi there", 0.0, "cheap")])
async def test_the_answer_of_the_level_is_the_answer_and_the_trace_says_why(text: str, usd: float | None, tier: str) -> None:
    box = FakeToolbox(lambda request, choice: choice.tier, backends=POOL, usd=usd)
    draft = await run_strategy(asks(text), parse_strategy("routed", named={}), box, Choice(), visible=True)
    assert draft.text == tier
    assert box.asked[0][2]
    note = next(data for kind, data in box.notes if data.get("name") == "route")
    assert (note["level"], note["state"]) == ("low", "done")
    assert "complexity" in note["reason"]


async def test_a_hard_request_takes_the_strategy_for_hard_ones() -> None:
    spec = parse_strategy({"routed": {"high": {"pipeline": ["single", "single"]}, "thresholds": [1, 2]}}, named={})
    box = FakeToolbox(lambda request, choice: "x")
    await run_strategy(asks("Prove and compare both designs: why?", rules=("a", "b")), spec, box, Choice(), visible=True)
    assert len(box.asked) == 2
