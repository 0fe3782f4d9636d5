"""What of a model's recommendations for the network is believed: nothing that the window does not show."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.llm.prompts import render
from agents.schema_check import compile_schema
from runtime.observing.introspection import MAX_PROMPT_CHARS, Introspection, asked
from runtime.topology.efficiency import efficiency
from runtime.topology.introspect import KINDS, MAX_TAKEN, SCHEMA, Introspected, describe, judged
from runtime.topology.payloads import Merge, Park, Prune, Spawn, Wake
from runtime.topology.situation import Seen, Situation
from tests.fakes.outcomes import Flow, member, shape, situation

Json = Any


def network(**more: object) -> Situation:
    """A generalist, a specialist that is hardly used, two that do the same, one that sleeps, and a pattern that goes badly."""
    topology = shape(
        member(),
        member("relic", "specialist"),
        member("one", "specialist"),
        member("two", "specialist"),
        member("asleep", "specialist", patterns=["x"], life="parked"),
    )
    flows = [
        Flow(n=300, pattern="x", score=0.95),
        Flow(n=200, pattern="legal", score=0.5),
        Flow(n=200, node="one", pattern="y", score=0.95),
        Flow(n=200, node="two", pattern="y", score=0.95),
        Flow(n=5, node="relic", pattern="x", score=0.95),
    ]
    seen = [Seen(pattern_id="legal", name="Legal documents", count=200)]
    return situation(flows, topology, patterns=seen, likeness={("one", "two"): 0.95}, **more)


def said(*recommendations: dict[str, Json]) -> dict[str, Json]:
    return {"summary": "so so", "efficiency_score": 61, "recommendations": list(recommendations)}


def recommend(action: str, subject: str, table: str, name: str, measure: str, value: float, **more: str) -> dict[str, Json]:
    evidence = [{"table": table, "name": name, "measure": measure, "value": value}]
    return {"action": action, "subject": subject, "reason": "because", "evidence": evidence, **more}


def only(answer: dict[str, Json], given_: Situation | None = None) -> tuple[Introspected, str]:
    """The outcome of one recommendation: all of it, and why."""
    assert compile_schema(SCHEMA, formats=False, param="schema").is_valid(answer)
    found = judged(given_ or network(), answer)
    return found, found.heard[0].why


def test_a_recommendation_whose_evidence_is_right_becomes_a_draft() -> None:
    found, _ = only(said(recommend("spawn", "legal", "pattern", "legal", "count", 200)))
    (draft,) = found.drafts
    assert isinstance(draft.payload, Spawn)
    assert draft.origin == "model"
    assert draft.reason.startswith("because (a model's recommendation; measured:")
    assert draft.predictions[0].metric == "quality"
    assert draft.evidence[-1].note == "named by a model, measured again"
    assert found.heard[0].result == "taken"
    assert (found.summary, found.score) == ("so so", 61.0)


@pytest.mark.parametrize(
    ("recommendation", "payload"),
    [
        (recommend("prune", "relic", "node", "relic", "count", 5), Prune),
        (recommend("park", "relic", "node", "relic", "share", 0.0055), Park),
        (recommend("wake", "asleep", "pattern", "x", "count", 305), Wake),
        (recommend("merge", "two", "node", "two", "quality", 0.95, into="one"), Merge),
    ],
)
def test_other_changes_that_the_measures_support(recommendation: dict[str, Json], payload: type) -> None:
    found, _ = only(said(recommendation))
    assert [type(draft.payload) for draft in found.drafts] == [payload]


@pytest.mark.parametrize(
    ("recommendation", "why"),
    [
        (recommend("prune", "relic", "node", "relic", "count", 50), "it is 5"),
        (recommend("prune", "relic", "node", "ghost", "count", 5), "'ghost', which this window does not have"),
        (recommend("prune", "ghost", "node", "relic", "count", 5), "there is no node 'ghost'"),
        (recommend("prune", "generalist", "total", "all", "count", 905), "the last generalist"),
        (recommend("prune", "one", "node", "one", "count", 200), "22.1% of the requests"),
        (recommend("park", "asleep", "pattern", "x", "count", 305), "cannot be parked"),
        (recommend("spawn", "nothing", "pattern", "legal", "count", 200), "there is no pattern 'nothing'"),
        (recommend("spawn", "x", "pattern", "x", "count", 305), "asleep is there for 'x' already"),
        (recommend("spawn", "y", "pattern", "y", "count", 400), "nothing measured promises a gain"),
        (recommend("wake", "one", "node", "one", "count", 200), "one is not parked"),
        (recommend("merge", "relic", "node", "relic", "count", 5, into="one"), "nobody compared their answers"),
        (recommend("merge", "one", "node", "one", "count", 200, into="one"), "two live nodes are needed"),
        (recommend("merge", "one", "node", "one", "count", 200), "there is no node ''"),
        (recommend("prune", "relic", "node", "relic", "faults", float("inf")), "nobody measured"),
    ],
)
def test_what_cannot_be_verified_or_is_not_supported_is_dropped_with_its_reason(
    recommendation: dict[str, Json], why: str
) -> None:
    found = judged(network(), said(recommendation))
    assert found.drafts == ()
    assert found.heard[0].result == "dropped"
    assert why in found.heard[0].why


def test_a_model_that_would_delete_everything_changes_nothing_but_what_is_unused() -> None:
    given_ = network()
    rows = [given_.window.nodes.get(name) for name in ("generalist", "one", "two", "relic")]
    found = judged(given_, said(*(recommend("prune", row.name, "node", row.name, "count", row.count) for row in rows if row)))
    assert [draft.payload for draft in found.drafts] == [Prune(node=given_.by_name["relic"].node_id)]
    busy = situation([Flow(n=300, node=name, pattern=name) for name in ("a", "b", "c")], shape(*map(member, "abc")))
    every = said(*(recommend("prune", name, "node", name, "count", 300) for name in "abc"))
    assert judged(busy, every).drafts == ()


def test_a_thousand_specialists_are_refused_by_the_schema_and_ten_are_bounded() -> None:
    flows = [Flow(n=50, pattern=f"p{i}", score=0.4) for i in range(10)]
    given_ = situation(flows, shape(member()))
    thousand = said(*(recommend("spawn", f"p{i}", "pattern", f"p{i}", "count", 50) for i in range(1000)))
    assert not compile_schema(SCHEMA, formats=False, param="schema").is_valid(thousand)
    ten = said(*(recommend("spawn", f"p{i}", "pattern", f"p{i}", "count", 50) for i in range(10)))
    assert len(judged(given_, ten).drafts) == MAX_TAKEN
    twice = said(*(recommend("spawn", "p1", "pattern", "p1", "count", 50) for _ in range(2)))
    found = judged(given_, twice)
    assert len(found.drafts) == 1
    assert "already" in found.heard[1].why


def test_the_network_is_described_with_bounded_words_that_a_model_can_quote() -> None:
    given_ = network()
    described = describe(given_, efficiency(given_), [{"kind": "spawn", "status": "kept"}])
    rows = {row["name"]: row for row in described["measures"]["pattern"]}
    assert rows["legal"]["called"] == "Legal documents"
    quoted = recommend("spawn", "legal", "pattern", "legal", "quality", rows["legal"]["quality"])
    assert judged(given_, said(quoted)).heard[0].result == "taken"
    assert described["recent_changes"] == [{"kind": "spawn", "status": "kept"}]
    many = situation([Flow(n=2, node=f"n{i}", pattern="p" * 90 + str(i)) for i in range(600)], shape(member()))
    assert len(asked(many, efficiency(many), [])) < MAX_PROMPT_CHARS + 4_000


def test_the_prompt_names_every_action() -> None:
    text = render("introspect", network="{}", kinds=", ".join(KINDS), urgency="")
    assert all(kind in text for kind in KINDS)


class Model:
    """Answers what it is given, or nobody may ask it."""

    def __init__(self, data: Json) -> None:
        self.data, self.simulated, self.asked = data, True, ""

    async def ask(self, text: str, *, node: str | None, need: str, schema: Json = None) -> "Model | None":
        self.asked = text
        assert schema == SCHEMA
        return self if self.data is not None else None


async def _no_changes() -> list[Json]:
    return []


async def test_what_a_simulated_model_says_is_marked_as_such() -> None:
    given_ = network()
    model = Model(said(recommend("spawn", "legal", "pattern", "legal", "count", 200)))
    introspection = Introspection(ask=model.ask, changes=_no_changes)
    found = await introspection.ask(given_, efficiency(given_))
    assert found.simulated
    assert found.drafts[0].simulated
    assert introspection.newest is found
    assert '"legal"' in model.asked


async def test_without_an_answer_nothing_changes_and_it_says_why() -> None:
    given_ = network()
    introspection = Introspection(ask=Model(None).ask, changes=_no_changes, why=lambda: "the budget is used up")
    assert (await introspection.ask(given_, efficiency(given_))).drafts == ()
    assert introspection.trouble == "the budget is used up"
    assert introspection.newest is None


_NAMES = st.sampled_from(["generalist", "relic", "one", "two", "asleep", "legal", "x", "y", "ghost", ""])
_RECOMMENDATIONS = st.builds(
    lambda action, subject, into, table, name, measure, value: recommend(action, subject, table, name, measure, value, into=into),
    st.sampled_from(["keep", *KINDS]),
    _NAMES,
    _NAMES,
    st.sampled_from(["node", "pattern", "arm", "locale", "total"]),
    _NAMES,
    st.sampled_from(["count", "share", "quality"]),
    st.sampled_from([5.0, 200.0, 300.0, 305.0, 0.0055, 0.5, 0.9, 1e308]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_RECOMMENDATIONS, max_size=10))
def test_whatever_a_model_says_little_changes_and_the_generalist_stays(recommendations: list[dict[str, Json]]) -> None:
    given_ = network()
    found = judged(given_, said(*recommendations))
    assert len(found.heard) == len(recommendations)
    assert len(found.drafts) <= MAX_TAKEN
    removals = [draft.payload for draft in found.drafts if isinstance(draft.payload, Prune | Park | Merge)]
    assert len(removals) <= 1
    for payload in removals:
        assert "id-generalist" not in (getattr(payload, "node", None), *getattr(payload, "gone", ()))
