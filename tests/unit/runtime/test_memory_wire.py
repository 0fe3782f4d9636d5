"""What the rules remember, as text and back, over clocks that were set."""

from __future__ import annotations

from dataclasses import replace

import orjson
from hypothesis import given
from hypothesis import strategies as st

from agents.records import NodeId
from runtime.topology.memory_wire import MAX_BYTES, MOST, memory_text, remembered_from
from runtime.topology.situation import Memory, Quiet, Rules
from tests.fakes.outcomes import member, shape

RULES = Rules()
NOW = 1_700_000_000.0
TOPOLOGY = shape(member(), member("a", "specialist"), member("b", "specialist"))
A, B = (each.node_id for each in TOPOLOGY.members.values() if each.spec.name in "ab")
SPEC = TOPOLOGY.members[A].spec


def again(memory: Memory, *, now: float = NOW, back: float = NOW) -> Memory:
    text = memory_text(memory, key=7, topology=TOPOLOGY, now=now, rules=RULES)
    found = remembered_from(text, topology=TOPOLOGY, now=back, rules=RULES)
    assert found is not None
    assert found.key == 7
    return found.memory


def test_it_comes_back_as_it_was() -> None:
    before = Memory(
        window=12,
        streaks={"prune:a": 2},
        quiet={"legal": Quiet(until=15, at=NOW - 100)},
        known={A: (11, "live"), B: (2, "live")},
        good={A: SPEC, B: replace(TOPOLOGY.members[B].spec, prompt="as it was before")},
        idle={B: 4, A: 0},
    )
    after = again(before)
    assert (after.window, after.streaks, after.quiet) == (before.window, before.streaks, before.quiet)
    assert (after.good, dict(after.idle)) == (before.good, {B: 4})
    assert after.known[A] == (11, "live")  # still new
    assert after.window - after.known[B][0] >= RULES.grace


@given(age_s=st.floats(0, 1e6), jump_s=st.floats(-1e9, 1e9))
def test_time_that_went_backwards_counts_as_none(age_s: float, jump_s: float) -> None:
    back = NOW + jump_s
    held = again(Memory(window=1, quiet={"x": Quiet(until=3, at=NOW - age_s)}), back=back).quiet["x"]
    assert held.until == 3
    assert back - held.at >= age_s - 1e-3
    assert back - held.at <= age_s + max(0.0, jump_s) + 1e-3


def test_it_is_bounded() -> None:
    many = {f"prune:{n}": 1 for n in range(5 * MOST)}
    memory = Memory(window=5, streaks=many, good={A: replace(SPEC, prompt="x" * MAX_BYTES)})
    text = memory_text(memory, key=1, topology=TOPOLOGY, now=NOW, rules=RULES)
    assert len(text) <= MAX_BYTES
    assert len(orjson.loads(text)["streaks"]) == MOST


def test_nodes_that_are_gone_are_forgotten() -> None:
    assert again(Memory(window=1, good={NodeId("gone"): SPEC}, known={NodeId("gone"): (1, "live")})).good == {}
