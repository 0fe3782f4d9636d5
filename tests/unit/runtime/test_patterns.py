"""Patterns over a stream: what is found, what is not, and that ids stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.topology.clustering import unit
from runtime.topology.pattern_look import refined
from runtime.topology.pattern_records import Rules, number, told
from runtime.topology.patterns import Patterns

RULES = Rules(window=300, first=12, dimensions=24, least=5)


class Stream:
    def __init__(self, kinds: int, *, seed: int = 0, rules: Rules = RULES, d: int = 64) -> None:
        self.rng = np.random.default_rng(seed)
        self.middles = unit(self.rng.standard_normal((kinds, d)))
        self.patterns = Patterns(rules, d, np.random.default_rng(seed))
        self.at = 0

    def ask(self, kind: int | None) -> str | None:
        d = self.patterns.dimension
        noise = self.rng.standard_normal(d) / np.sqrt(d)
        vector = unit(noise if kind is None else self.middles[kind] + 0.5 * noise)
        self.at += 1
        text = f"kind {kind} number {self.at}"
        label = self.patterns.see(vector, now=float(self.at), request_id=f"r{self.at}", text=text)
        if self.patterns.due:
            self.patterns.adopt(refined(self.patterns.snapshot()), now=float(self.at))
        return label

    def many(self, kinds: list[int | None], times: int) -> list[tuple[int | None, str | None]]:
        asked = [kinds[int(self.rng.integers(len(kinds)))] for _ in range(times)]
        return [(kind, self.ask(kind)) for kind in asked]


def test_kinds_are_found_without_being_told_how_many_and_labelled_at_arrival() -> None:
    stream = Stream(6)
    stream.many(list(range(6)), 200)
    labelled = stream.many(list(range(6)), 200)
    labels = {kind: {label for k, label in labelled if k == kind} for kind in range(6)}
    assert all(len(found) == 1 and None not in found for found in labels.values())
    assert len(set.union(*labels.values())) == 6
    assert len([each for each in stream.patterns.all() if each.state == "found"]) == 6


def test_requests_like_no_other_stay_unclustered_and_make_no_pattern() -> None:
    stream = Stream(1, d=384)
    labels = [stream.ask(None) for _ in range(150)]
    assert sum(label is not None for label in labels) < 30
    assert sum(each.share for each in stream.patterns.all() if each.state == "found") < 0.3


def test_one_kind_alone_is_one_pattern() -> None:
    stream = Stream(1)
    for _ in range(60):
        stream.patterns.see(stream.middles[0], now=0.0)
        if stream.patterns.due:
            stream.patterns.adopt(refined(stream.patterns.snapshot()), now=0.0)
    assert [(each.state, each.share) for each in stream.patterns.all()] == [("found", 1.0)]


def test_a_new_kind_gets_a_new_id_and_the_others_keep_theirs() -> None:
    stream = Stream(5)
    before = dict(stream.many([0, 1, 2, 3], 300)[-100:])
    stream.many([0, 1, 2, 3, 4], 300)
    after = dict(stream.many([0, 1, 2, 3, 4], 100))
    assert {kind: after[kind] for kind in range(4)} == before
    assert after[4] not in before.values()
    assert after[4] is not None


def test_a_kind_that_comes_back_after_it_was_forgotten_has_its_old_id() -> None:
    stream = Stream(4)
    before = dict(stream.many([0, 1, 2, 3], 300)[-100:])
    stream.many([0, 1, 2], 2500)
    asleep = stream.patterns.get(str(before[3]))
    assert asleep is not None
    assert asleep.state == "dormant"
    stream.many([0, 1, 2, 3], 200)
    assert dict(stream.many([3], 5)) == {3: before[3]}


def test_counts_share_trend_and_examples_tell_what_came() -> None:
    stream = Stream(3)
    stream.many([0, 0, 0, 1], 250)
    stream.many([2, 2, 2, 1], 150)
    kinds = dict(stream.many([0, 1, 2], 30))
    told_of = {kind: stream.patterns.get(str(label)) for kind, label in kinds.items()}
    falling, rising = told_of[0], told_of[2]
    assert falling is not None
    assert rising is not None
    assert falling.trend < 0 < rising.trend
    assert sum(each.share for each in stream.patterns.all()) == pytest.approx(1.0, abs=0.1)
    texts = [each.text for each in stream.patterns.examples(rising.pattern_id, 8)]
    assert len(texts) == 8
    assert all(text.startswith("kind 2 ") for text in texts)
    others = [each.text for each in stream.patterns.others(rising.pattern_id, 10)]
    assert others
    assert not any(text.startswith("kind 2 ") for text in others)


def test_what_came_during_a_look_is_labelled_by_it_and_not_lost() -> None:
    stream = Stream(3)
    stream.many([0, 1, 2], 100)
    look = refined(stream.patterns.snapshot())
    for _ in range(400):
        stream.patterns.see(unit(stream.middles[0]), now=1.0)
    stream.patterns.adopt(look, now=2.0)
    found = stream.patterns.get(str(stream.ask(0)))
    assert found is not None
    assert found.share > 0.5


def test_no_more_patterns_are_remembered_than_the_rules_allow() -> None:
    stream = Stream(60, rules=Rules(window=100, first=12, dimensions=32, known=20, most=10))
    for start in range(0, 60, 6):
        stream.many(list(range(start, start + 6)), 150)
    assert len(stream.patterns.known) <= 20
    assert len([each for each in stream.patterns.all() if each.state in ("found", "candidate")]) <= 10


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=4), min_size=1, max_size=120), st.integers(min_value=0, max_value=3))
def test_every_id_given_at_arrival_leads_to_a_pattern_that_is_known(kinds: list[int], seed: int) -> None:
    stream = Stream(5, seed=seed, rules=Rules(window=40, first=6, dimensions=8, least=3))
    labels = {label for label in (stream.ask(kind if kind < 4 else None) for kind in kinds) if label is not None}
    live = {each.pattern_id for each in stream.patterns.all()}
    assert labels <= live
    assert all(stream.patterns.current(label) in live for label in labels)


def test_an_id_is_read_back_and_anything_else_is_none() -> None:
    assert number(told(12)) == 12
    assert {number(text) for text in ("", "p", "q1", "p-1", "p1x", "p²")} == {-1}
