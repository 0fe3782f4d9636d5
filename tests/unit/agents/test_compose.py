"""Strategies from JSON and back, by name, within their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.records import Choice, InvalidRequest, Json, NotFound, Work
from agents.strategies.compose import BUILTIN, default_strategy, parse_strategy, run_strategy, strategy_name, to_json
from agents.strategy_specs import Aspect, Parallel, Pipeline, Single, Stage, StrategySpec, ValidationLoop
from tests.fakes.toolbox import CHEAP, JUDGE, FakeToolbox

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=12)
TEXTS = st.none() | NAMES
SINGLES = st.builds(Single, backend=TEXTS, tier=st.sampled_from([None, "cheap", "quality", "premium"]), prompt=TEXTS)


def wrap(inner: st.SearchStrategy[StrategySpec]) -> st.SearchStrategy[StrategySpec]:
    stages = st.builds(Stage, name=NAMES, strategy=inner, prompt=TEXTS)
    aspects = st.builds(Aspect, name=NAMES, strategy=inner, prompt=TEXTS, fields=st.lists(NAMES, max_size=2).map(tuple))
    merges = st.sampled_from(["deep", "by_key", "concatenate"])
    return (
        st.builds(Pipeline, stages=st.lists(stages, min_size=1, max_size=3).map(tuple))
        | st.builds(Parallel, aspects=st.lists(aspects, max_size=3, unique_by=lambda a: a.name).map(tuple), merge=merges)
        | st.builds(
            ValidationLoop,
            generate=inner,
            correct=st.none() | inner,
            premium=st.none() | inner,
            critic=st.none() | SINGLES,
            rules=st.lists(NAMES, max_size=2).map(tuple),
            max_attempts=st.integers(0, 10),
        )
    )


@given(st.recursive(SINGLES, wrap, max_leaves=5))
def test_json_reads_back_as_the_same_strategy(spec: StrategySpec) -> None:
    assert parse_strategy(to_json(spec), named={}) == spec


def test_short_forms() -> None:
    spec = parse_strategy(
        {"pipeline": [{"name": "a", "backend": "gen"}, "validation", {"tier": "premium", "prompt": "check"}]}, named={}
    )
    assert isinstance(spec, Pipeline)
    assert spec.stages[0] == Stage(name="a", strategy=Single(backend="gen"))
    assert isinstance(spec.stages[1].strategy, ValidationLoop)
    assert spec.stages[2] == Stage(name="stage 3", strategy=Single(tier="premium"), prompt="check")
    both = parse_strategy({"parallel": [{"name": "x", "fields": ["a"]}, {"single": {"tier": "cheap"}}]}, named={})
    assert both == Parallel(
        aspects=(
            Aspect(name="x", strategy=Single(), fields=("a",)),
            Aspect(name="aspect 2", strategy=Single(tier="cheap")),
        )
    )
    assert parse_strategy({"single": {}}, named={}) == Single()


def test_names_from_the_configuration() -> None:
    named: dict[str, Json] = {
        "careful": {"validation": {"generate": "fast", "rules": ["No slang"]}},
        "fast": {"single": {"tier": "cheap"}},
    }
    spec = parse_strategy("careful", named=named)
    assert isinstance(spec, ValidationLoop)
    assert spec.generate == Single(tier="cheap")
    mine = parse_strategy("single", named={"single": {"pipeline": ["single", "single"]}})
    assert isinstance(mine, Pipeline)
    assert mine.stages[0].strategy == Single()


def nested(depth: int) -> Json:
    value: Json = "single"
    for _ in range(depth):
        value = {"pipeline": [value]}
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nonsense", "unknown strategy"),
        ({"nonsense": {}}, "unknown strategy"),
        ({"single": {}, "pipeline": []}, "must be a name or an object"),
        (7, "must be a name or an object"),
        (None, "must be a name or an object"),
        ({"single": {"tier": "best"}}, "strategy.single.tier"),
        ({"single": {"colour": 1}}, "unknown field 'colour'"),
        ({"single": []}, "must be an object"),
        ({"pipeline": []}, "list of 1 to 16"),
        ({"pipeline": ["single"] * 17}, "list of 1 to 16"),
        ({"pipeline": [{"name": 4}]}, r"strategy.pipeline\[0\].name"),
        ({"pipeline": [{"strategy": "single", "tier": "cheap"}]}, "either strategy or"),
        ({"parallel": {"merge": "zip"}}, "merge"),
        ({"parallel": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"parallel": [{"fields": "a"}]}, "list of field names"),
        ({"validation": {"max_attempts": 99}}, "max_attempts"),
        ({"validation": {"max_attempts": True}}, "max_attempts"),
        ({"validation": {"critic": "pipeline"}}, "critic"),
        ({"validation": {"rules": "none"}}, "rules"),
        (nested(9), "nested deeper than 8"),
        (nested(5000), "nested deeper than 8"),
        ("a", "a → b → a is a circle"),
        ("wide", "more than 64 parts"),
    ],
)
def test_bad_strategies_are_refused_by_place(value: Json, words: str) -> None:
    named: dict[str, Json] = {
        "a": {"pipeline": ["b"]},
        "b": {"validation": {"generate": "a"}},
        "wide": {"pipeline": ["wider"] * 10},
        "wider": {"parallel": [{"single": {}}] * 10},
    }
    with pytest.raises(InvalidRequest, match=words) as caught:
        parse_strategy(value, named=named)
    assert caught.value.param == "strategy"


def test_bare_names() -> None:
    for name in BUILTIN:
        assert strategy_name(default_strategy(name, (CHEAP, JUDGE))) == name
        assert parse_strategy(name, named={}) == default_strategy(name)
    loop = default_strategy("validation", (CHEAP,))
    assert isinstance(loop, ValidationLoop)
    assert loop.critic is None
    stages = default_strategy("pipeline", (CHEAP,))
    assert isinstance(stages, Pipeline)
    assert [stage.strategy for stage in stages.stages] == [Single(tier="cheap"), Single(tier="quality"), Single(tier="premium")]
    with pytest.raises(NotFound):
        default_strategy("committee")


async def test_strategies_nest() -> None:
    spec = parse_strategy({"pipeline": ["parallel", {"validation": {"generate": {"pipeline": ["single"]}}}]}, named={})
    box = FakeToolbox(lambda request, choice: {"issues": []} if request.schema_name == "critique" else "words")
    draft = await run_strategy(Work(messages=({"role": "user", "content": "x"},)), spec, box, Choice(), visible=True)
    assert draft.text == "words"
    assert len(box.asked) == 4
