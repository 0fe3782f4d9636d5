"""Who answers and with what: model names, nodes, strategies, and the time that calls took."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.llm.chat import BackendSpec
from agents.records import Choice, InvalidRequest, NotFound, Refused, RequestId
from agents.strategy_specs import (
    Aspect,
    CodeAugmented,
    Consensus,
    Parallel,
    Pipeline,
    Routed,
    SelfHealing,
    Single,
    Stage,
    StrategySpec,
    ValidationLoop,
)
from agents.verdicts import Constraint
from runtime.choosing import (
    busy_s,
    choice_of,
    choose_node,
    choose_strategy,
    goes_straight,
    opening_choice,
    read_model,
    strategy_ahead,
)
from runtime.records import Request, Target
from tests.fakes.cluster import call, node

BACKENDS = [BackendSpec(name="a", aliases=("gpt-4o",)), BackendSpec(name="b")]
NAMED = {"mine": {"single": {"tier": "premium"}}, "twice": {"pipeline": ["mine", "single"]}}


def request(**fields: Any) -> Request:
    return Request(request_id=RequestId("r1"), source="openai", messages=({"role": "user", "content": "hi"},), **fields)


def test_what_a_request_will_run_by_is_known_ahead_where_it_says_so() -> None:
    nodes = [node(), node("counter", strategy=CodeAugmented())]

    def ahead(**fields: Any) -> StrategySpec | None:
        return strategy_ahead(request(**fields), backends=BACKENDS, strategies=NAMED, nodes=nodes)

    assert ahead() is None
    assert ahead(target=Target(kind="node", name="counter")) == CodeAugmented()
    assert ahead(target=Target(kind="node", name="counter"), strategy=Single()) == Single()
    assert ahead(target=Target(kind="node", name="gone")) is None
    assert isinstance(ahead(target=Target(kind="strategy", name="code_augmented")), CodeAugmented)
    assert ahead(target=Target(kind="strategy", name="mine")) == Single(tier="premium")


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("auto", Target()),
        ("", Target()),
        ("a", Target(kind="backend", name="a")),
        ("gpt-4o", Target(kind="backend", name="a")),
        ("node/generalist", Target(kind="node", name="generalist")),
        ("strategy/pipeline", Target(kind="strategy", name="pipeline")),
        ("strategy/mine", Target(kind="strategy", name="mine")),
    ],
)
def test_every_kind_of_model_name_is_read(model: str, target: Target) -> None:
    assert read_model(model, backends=BACKENDS, nodes=[node()], strategies=NAMED) == target


@pytest.mark.parametrize(
    ("model", "names"),
    [("c", "a, b"), ("node/x", "generalist"), ("strategy/x", "mine"), ("node/", "generalist"), ("other/a", "a, b")],
)
def test_an_unknown_name_says_what_there_is(model: str, names: str) -> None:
    with pytest.raises(NotFound, match=names) as caught:
        read_model(model, backends=BACKENDS, nodes=[node()], strategies=NAMED)
    assert caught.value.param == "model"


@pytest.mark.parametrize("prefix", ["", "node/", "strategy/"])
def test_a_refusal_stays_short(prefix: str) -> None:
    many = [node(f"n{number:03}") for number in range(100)]
    with pytest.raises(NotFound) as caught:
        read_model(prefix + "x" * 10_000, backends=BACKENDS, nodes=many, strategies={})
    assert len(caught.value.message) < 400


def test_only_a_plain_call_to_a_named_backend_goes_straight() -> None:
    named = Target(kind="backend", name="a")
    assert goes_straight(request(target=named))
    assert not goes_straight(request())
    assert not goes_straight(request(backend="a"))
    assert not goes_straight(request(target=named, schema={"type": "object"}))
    assert not goes_straight(request(target=named, count=3))
    assert not goes_straight(request(target=named, strategy=Single()))
    assert not goes_straight(request(target=named, rules=("Be brief",)))
    assert not goes_straight(request(target=named, constraints=(Constraint(kind="pattern", value="a"),)))


def test_the_least_busy_live_generalist_answers() -> None:
    nodes = [
        node("starting", state="starting"),
        node("busy", inflight=3),
        node("idle", inflight=1),
        node("gone", state="parked"),
        node("expert", role="specialist"),
    ]
    assert choose_node(request(), nodes).spec.name == "idle"
    assert choose_node(request(), nodes[:1]).spec.name == "starting"
    assert choose_node(request(target=Target(kind="node", name="expert")), nodes).spec.name == "expert"
    with pytest.raises(NotFound):
        choose_node(request(target=Target(kind="node", name="nobody")), nodes)
    with pytest.raises(Refused) as caught:
        choose_node(request(), nodes[3:])
    assert caught.value.retry_after_s, "a client may try again: nodes come back"


def test_the_requests_strategy_wins_then_the_named_one_then_the_nodes() -> None:
    def chosen(**fields: Any) -> Any:
        return choose_strategy(request(**fields), backends=BACKENDS, strategies=NAMED)

    named = Target(kind="strategy", name="mine")
    assert chosen() is None
    assert chosen(target=named) == Single(tier="premium")
    assert chosen(target=named, strategy=Single(prompt="p")) == Single(prompt="p")
    assert isinstance(chosen(target=Target(kind="strategy", name="validation")), ValidationLoop)
    twice = chosen(target=Target(kind="strategy", name="twice"))
    assert [stage.strategy for stage in twice.stages] == [Single(tier="premium"), Single()]


def test_a_configured_strategy_that_contains_itself_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="loop"):
        choose_strategy(
            request(target=Target(kind="strategy", name="loop")), backends=BACKENDS, strategies={"loop": {"pipeline": ["loop"]}}
        )


def test_a_named_backend_is_replaced_only_where_the_operator_said_so() -> None:
    target = request(target=Target(kind="backend", name="a"))
    assert choice_of(request(), may_replace_named=True) == Choice()
    assert choice_of(target, may_replace_named=False) == Choice(backend="a", fallback=False)
    assert choice_of(target, may_replace_named=True) == Choice(backend="a", fallback=True)
    assert choice_of(request(backend="b"), may_replace_named=False).backend == "b"


@pytest.mark.parametrize(
    ("strategy", "choice", "opening"),
    [
        (Single(), Choice(preferred=("b",)), Choice(preferred=("b",))),
        (Single(tier="cheap"), Choice(preferred=("b",)), Choice(tier="cheap")),
        (Single(backend="b"), Choice(), Choice(backend="b")),
        (Single(backend="b"), Choice(backend="a"), Choice(backend="b")),
        (Single(backend="b"), Choice(backend="a", fallback=False), Choice(backend="a", fallback=False)),
        (Pipeline(stages=(Stage(name="s", strategy=Single(tier="quality")),)), Choice(), Choice(tier="quality")),
        (Parallel(aspects=()), Choice(backend="a", fallback=False), Choice(backend="a", fallback=False)),
        (Parallel(aspects=()), Choice(preferred=("b",)), None),
        (Routed(low=Single(backend="b")), Choice(), None),
        (Pipeline(stages=(Stage(name="s", strategy=Single(tier="cheap"), when="index == 1"),)), Choice(), None),
        (Consensus(members=(Single(backend="b"), Single())), Choice(), Choice(backend="b")),
        (SelfHealing(generate=Single(tier="cheap")), Choice(), Choice(tier="cheap")),
        (Parallel(aspects=(Aspect(name="x", strategy=Single(backend="b")),)), Choice(), Choice(backend="b")),
        (ValidationLoop(generate=Single(tier="premium")), Choice(), Choice(tier="premium")),
    ],
)
def test_the_first_call_is_foreseen_as_the_strategy_will_choose_it(strategy: Any, choice: Choice, opening: Choice | None) -> None:
    assert opening_choice(strategy, choice) == opening


spans = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 200)), max_size=12)


@given(spans, st.randoms(use_true_random=False))
def test_busy_time_is_the_length_of_the_union(pairs: list[tuple[int, int]], rng: Any) -> None:
    calls = [call(at=float(start), latency_s=float(length)) for start, length in pairs]
    busy = busy_s(calls)
    covered = {second for start, length in pairs for second in range(start, start + length)}
    assert busy == len(covered)
    assert busy <= sum(length for _, length in pairs)
    assert busy >= max((length for _, length in pairs), default=0)
    rng.shuffle(calls)
    assert busy_s(calls) == busy
