"""The network's first shape: what the ledger kept, within the cap, and always a generalist."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.records import NodeId, NodeSpec
from runtime.config.settings import ClusterSettings
from runtime.topology.first import desired_nodes

SETTINGS = ClusterSettings(max_live_nodes=3, node_concurrency=5, node_inbox=7)


def spec(number: int, role: str = "specialist", name: str = "") -> NodeSpec:
    return NodeSpec(node_id=NodeId(f"node-{number}"), name=name or f"name-{number}", role=role)  # type: ignore[arg-type]


def test_an_empty_ledger_gives_one_generalist_with_the_configured_limits() -> None:
    (first,) = desired_nodes([], SETTINGS)
    assert (first.node_id, first.name, first.role) == ("node-1", "generalist", "generalist")
    assert (first.max_concurrency, first.inbox_limit) == (5, 7)


def test_live_nodes_come_back_and_parked_ones_do_not() -> None:
    kept = [(spec(1, "generalist"), "live"), (spec(2), "parked"), (spec(3), "live")]
    assert desired_nodes(kept, SETTINGS) == (kept[0][0], kept[2][0])


def test_the_cap_never_cuts_the_only_generalist() -> None:
    kept = [(spec(number), "live") for number in range(1, 6)] + [(spec(9, "generalist"), "live")]
    nodes = desired_nodes(kept, SETTINGS)
    assert len(nodes) == 3
    assert nodes[0] == kept[-1][0]


def test_a_new_generalist_takes_nobodys_id_or_name() -> None:
    kept = [(spec(1), "live"), (spec(2, name="generalist"), "parked")]
    first = desired_nodes(kept, SETTINGS)[0]
    assert first.role == "generalist"
    assert first.node_id == "node-3"
    assert first.name == "generalist-2"


rows = st.lists(
    st.tuples(
        st.integers(1, 9), st.sampled_from(["generalist", "specialist", "reviewer"]), st.sampled_from(["live", "parked", "dead"])
    ),
    max_size=9,
    unique_by=lambda row: row[0],
)


@given(rows, st.integers(1, 5))
def test_there_is_always_a_generalist_within_the_cap_and_no_id_twice(rows: list[tuple[int, str, str]], cap: int) -> None:
    nodes = desired_nodes([(spec(number, role), state) for number, role, state in rows], ClusterSettings(max_live_nodes=cap))
    assert 1 <= len(nodes) <= cap
    assert any(node.role == "generalist" for node in nodes)
    assert len({node.node_id for node in nodes}) == len({node.name for node in nodes}) == len(nodes)
