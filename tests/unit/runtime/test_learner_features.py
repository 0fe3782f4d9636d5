"""What of a request the learner and the routers that models write are shown: its kind of work, its pattern, its locale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.records import NodeId, NodeSpec, RequestId
from runtime.learner.advice import features_of
from runtime.learner.features import context_of, facts_of, locale_of
from runtime.open_request import OpenRequest
from runtime.records import Request, Target
from runtime.routing.bandit import Learner
from runtime.routing.features import EXTRA_NAMES, SHAPE, SHAPE_NAMES
from runtime.routing.records import Arm, Weights
from runtime.topology.shape import Member, PatternId

TABLE = {
    "type": "object",
    "properties": {"rows": {"type": "array", "items": {"type": "object", "properties": {"total": {"type": "number"}}}}},
}


def asked(words: str, pattern: str | None = None, **fields: Any) -> OpenRequest:
    request = Request(request_id=RequestId("r1"), source="native", messages=({"role": "user", "content": words},), **fields)
    run = OpenRequest(request=request, started=0.0, deadline_s=60.0, number=1, work_id="r1/1")
    run.pattern = pattern
    return run


def member(name: str, locale: str, *patterns: str) -> Member:
    spec = NodeSpec(node_id=NodeId(name), name=name, role="specialist", locale=locale)
    return Member(spec=spec, patterns=tuple(PatternId(each) for each in patterns))


MEMBERS = (member("generalist", "root"), member("invoices", "accounts", "p1", "p2"), member("verse", "arts", "p3"))


@pytest.mark.parametrize(
    ("words", "fields", "kind"),
    [
        ("Tell me a story about the sea.", {}, "pattern"),
        ("Random numbers with mean 3 and a standard deviation of 2, normally distributed.", {"schema": TABLE}, "computational"),
    ],
)
def test_the_kind_of_work_is_shown(words: str, fields: dict[str, Any], kind: str) -> None:
    run = asked(words, **fields)
    assert features_of(run, [], load=0.0, now=0.0)["kind"] == kind
    facts = dict(zip((*SHAPE_NAMES, *EXTRA_NAMES), facts_of(context_of(run, load=0.0, now=0.0).point), strict=True))
    assert facts["computes"] == float(kind != "pattern")
    assert facts["computes_and_words"] == float(kind == "hybrid")


def test_a_router_is_told_the_pattern() -> None:
    assert features_of(asked("x", "p1"), [], load=0.0, now=0.0)["pattern"] == "p1"
    assert features_of(asked("x"), [], load=0.0, now=0.0)["pattern"] == ""


def test_a_request_belongs_where_its_pattern_or_its_node_does() -> None:
    assert locale_of(asked("x", "p2"), MEMBERS) == "accounts"
    assert locale_of(asked("x", "p9"), MEMBERS) is None
    assert locale_of(asked("x"), MEMBERS) is None
    assert locale_of(asked("x", "p1", target=Target(kind="node", name="verse")), MEMBERS) == "arts"
    assert context_of(asked("x", "p2"), load=0.0, now=0.0, locale="accounts").locale == "accounts"


def test_what_is_learned_in_a_locale_helps_with_its_other_patterns() -> None:
    learner = Learner(rng=np.random.default_rng(3))
    pool = [Arm(strategy="single", node="n", backend=name) for name in ("a", "b")]
    good = {"accounts": "b", "arts": "a"}
    for at in range(600):
        locale = ("accounts", "arts")[at % 2]
        context = context_of(asked("x", f"{locale}{at % 6}"), load=0.0, now=0.0, locale=locale)
        chosen = learner.choose(str(at), context, pool, Weights(), now=float(at)).arm.backend
        learner.learn(str(at), 0.9 if chosen == good[locale] else 0.2, now=float(at))
    for locale, backend in good.items():
        fresh = context_of(asked("x", f"{locale} new"), load=0.0, now=0.0, locale=locale)
        told = learner.choose(f"new {locale}", fresh, pool, Weights(), now=700.0).candidates
        assert max(told, key=lambda each: each.quality).arm.backend == backend


def test_facts_have_all_names() -> None:
    assert len(facts_of(context_of(asked("x"), load=0.0, now=0.0).point)) == SHAPE
