"""Strategies from JSON and back, by name, within their bounds."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.records import Choice, InvalidRequest, Json, NotFound, Work
from agents.strategies.compose import (
    _RUNNERS as RUNNERS,
)
from agents.strategies.compose import (
    BUILTIN,
    default_strategy,
    parse_strategy,
    run_strategy,
    strategy_name,
    to_json,
)
from agents.strategies.forms import NAMES as NAMES_OF
from agents.strategy_specs import (
    Aspect,
    Committee,
    Consensus,
    Gate,
    Parallel,
    Pipeline,
    Routed,
    Seat,
    SelfDialogue,
    SelfHealing,
    Single,
    Stage,
    StrategySpec,
    ValidationLoop,
)
from tests.fakes.toolbox import CHEAP, JUDGE, FakeToolbox

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=12)
TEXTS = st.none() | NAMES
SINGLES = st.builds(Single, backend=TEXTS, tier=st.sampled_from([None, "cheap", "quality", "premium"]), prompt=TEXTS)


EXPRESSIONS = st.sampled_from(["index % 10 == 0", "importance == 'critical'", "score < quality", "data.price / data.seats > 2"])
RULES = st.lists(NAMES, max_size=2).map(tuple)
SEATS = st.builds(Seat, speciality=NAMES, task=st.just("") | NAMES)


def wrap(inner: st.SearchStrategy[StrategySpec]) -> st.SearchStrategy[StrategySpec]:
    checks = st.lists(st.sampled_from(["validate", "critic"]) | EXPRESSIONS, min_size=1, max_size=3).map(tuple)
    gates = st.builds(
        Gate,
        check=checks,
        on_fail=st.sampled_from(["correct", "stop", "continue"]),
        corrector=st.none() | inner,
        critic=st.none() | SINGLES,
        rules=RULES,
    )
    stages = st.builds(
        Stage,
        name=NAMES,
        strategy=inner,
        prompt=TEXTS,
        when=st.none() | EXPRESSIONS,
        gate=st.none() | gates,
        per_item=st.booleans(),
    )
    aspects = st.builds(Aspect, name=NAMES, strategy=inner, prompt=TEXTS, fields=RULES)
    members = st.lists(inner, max_size=3).map(tuple)
    thresholds = st.tuples(st.floats(0, 10), st.floats(0, 10)).map(lambda pair: (min(pair), max(pair)))
    attempts = st.integers(0, 10)
    return (
        st.builds(Pipeline, stages=st.lists(stages, min_size=1, max_size=3).map(tuple))
        | st.builds(
            Parallel,
            aspects=st.lists(aspects, max_size=3, unique_by=lambda a: a.name).map(tuple),
            merge=st.sampled_from(["deep", "by_key", "concatenate", "vote"]),
            conflict=st.sampled_from(["first", "last", "longest", "vote", "fail"]),
        )
        | st.builds(
            ValidationLoop,
            generate=inner,
            correct=st.none() | inner,
            premium=st.none() | inner,
            critic=st.none() | SINGLES,
            rules=RULES,
            max_attempts=attempts,
        )
        | st.builds(Routed, low=inner, mid=inner, high=inner, thresholds=thresholds)
        | st.builds(
            Consensus,
            members=members,
            k=st.integers(2, 8),
            pick=st.sampled_from(["best", "majority"]),
            judge=st.none() | SINGLES,
            quorum=st.none() | st.just(1),
        )
        | st.builds(
            Committee,
            members=st.just(()) | st.lists(SEATS, min_size=2, max_size=5, unique_by=lambda s: s.speciality.casefold()).map(tuple),
            size=st.integers(2, 8),
            rounds=st.integers(0, 5),
            designer=st.none() | SINGLES,
            chair=inner,
            critic=st.none() | SINGLES,
            rules=RULES,
            nodes=st.booleans(),
        )
        | st.builds(
            SelfDialogue,
            generate=inner,
            refine=st.none() | inner,
            questioner=st.none() | SINGLES,
            critic=SINGLES,
            style=SINGLES,
            rounds=st.integers(1, 5),
            questions=st.integers(1, 10),
        )
        | st.builds(SelfHealing, generate=inner, heal=inner, detector=st.none() | SINGLES, rules=RULES, max_attempts=attempts)
    )


def test_every_strategy_is_in_every_table() -> None:
    assert set(BUILTIN) == set(NAMES_OF.values())
    assert set(NAMES_OF) == set(get_args(StrategySpec))
    assert set(RUNNERS) == set(NAMES_OF)


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
    gated = parse_strategy({"pipeline": [{"strategy": "single", "gate": "score >= 0.9"}]}, named={})
    assert gated == Pipeline(stages=(Stage(name="stage 1", strategy=Single(), gate=Gate(check=("score >= 0.9",))),))
    healing = parse_strategy({"self_healing": {"heal": {"single": {"backend": "b"}}, "detector": False}}, named={})
    assert healing == SelfHealing(heal=Single(backend="b"), detector=None)
    asked = parse_strategy({"consensus": [{"backend": "a"}, "single", {"tier": "cheap"}]}, named={})
    assert asked == Consensus(members=(Single(backend="a"), Single(), Single(tier="cheap")))
    voices = parse_strategy({"self_dialogue": {"critic": {"tier": "premium"}, "style": "single"}}, named={})
    assert voices == SelfDialogue(critic=Single(tier="premium"), style=Single())


def test_what_has_its_default_is_not_written() -> None:
    assert to_json(Consensus(k=4)) == {"consensus": {"k": 4}}
    assert to_json(SelfHealing(detector=None)) == {"self_healing": {"detector": None}}
    assert to_json(Parallel(aspects=())) == {"parallel": []}


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
        ({"parallel": {"conflict": "loudest"}}, r"parallel.conflict: must be one of first"),
        ({"pipeline": [{"when": "index %% 10"}]}, r"pipeline\[0\].when"),
        ({"pipeline": [{"when": "indx == 1"}]}, r"pipeline\[0\].when: there is no 'indx' here; there are data"),
        ({"pipeline": [{"when": "__import__('os')"}]}, r"pipeline\[0\].when"),
        ({"pipeline": ["single", {"gate": []}]}, r"pipeline\[1\].gate.check"),
        ({"pipeline": [{"gate": ["validate", "score >"]}]}, r"pipeline\[0\].gate.check\[1\]"),
        ({"pipeline": [{"gate": {"on_fail": "panic"}}]}, r"pipeline\[0\].gate.on_fail"),
        ({"pipeline": [{"gate": 7}]}, r"pipeline\[0\].gate"),
        ({"pipeline": [{"per_item": 1}]}, r"per_item: must be true or false"),
        ({"pipeline": [{"name": "polish", "strategy": "polish"}]}, r"pipeline\[0\]: 'polish' names itself"),
        ({"pipeline": [4]}, r"pipeline\[0\]: must be an object or a strategy"),
        ({"routed": {"thresholds": [7, 3]}}, r"routed.thresholds"),
        ({"routed": {"thresholds": ["low", 3]}}, r"routed.thresholds"),
        ({"routed": {"low": {"consensus": {"k": 1}}}}, r"routed.low.consensus.k"),
        ({"consensus": {"members": ["single"] * 9}}, r"at most 8 strategies"),
        ({"consensus": {"k": 3, "quorum": 4}}, r"consensus.quorum: is more than there are members"),
        ({"self_dialogue": {"rounds": 0}}, r"self_dialogue.rounds"),
        ({"self_dialogue": {"critic": "pipeline"}}, r"self_dialogue.critic: must be a single strategy"),
        ({"self_healing": {"detector": {"temper": "mild"}}}, r"self_healing.detector.single: unknown field 'temper'"),
        ({7: {}}, "unknown strategy '7'"),
        (nested(50), r"strategy(\.pipeline\[0\]\.strategy){7,}.*nested deeper than 8"),
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
        default_strategy("parliament")


async def test_strategies_nest() -> None:
    spec = parse_strategy({"pipeline": ["parallel", {"validation": {"generate": {"pipeline": ["single"]}}}]}, named={})
    box = FakeToolbox(lambda request, choice: {"issues": []} if request.schema_name == "critique" else "words")
    draft = await run_strategy(Work(messages=({"role": "user", "content": "x"},)), spec, box, Choice(), visible=True)
    assert draft.text == "words"
    assert len(box.asked) == 4
