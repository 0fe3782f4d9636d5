"""The table of moves: complete, without a way round a decision, and every way ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.topology.moves import MOVES, OVER, UNDER_WAY, WAITING, check_move
from runtime.topology.records import NotNow, Status

TABLE = """
proposed approved rejected snoozed expired superseded
snoozed proposed expired
approved applying superseded expired
applying verifying rolling_back
verifying verifying kept rolling_back
rolling_back rolled_back stuck
stuck rolling_back rolled_back
rejected
expired
superseded
kept
rolled_back
"""


def test_the_table_is_the_design() -> None:
    rows = [line.split() for line in TABLE.split("\n") if line]
    assert {Status(first): frozenset(map(Status, rest)) for first, *rest in rows} == MOVES


@given(st.lists(st.sampled_from(list(Status)), max_size=30))
def test_no_walk_applies_what_was_not_approved_nor_leaves_what_is_over(walk: list[Status]) -> None:
    at, seen = Status.PROPOSED, [Status.PROPOSED]
    for wish in walk:
        if wish not in MOVES[at]:
            with pytest.raises(NotNow) as refused:
                check_move(at, wish)
            assert refused.value.status is at
            continue
        check_move(at, wish)
        assert at not in OVER
        at = wish
        seen.append(at)
    if Status.APPLYING in seen:
        assert Status.APPROVED in seen[: seen.index(Status.APPLYING)]
        assert not {Status.REJECTED, Status.EXPIRED, Status.SUPERSEDED} & set(seen)
    assert seen.count(Status.APPLYING) <= 1
    if Status.KEPT in seen:
        assert seen[-2:] == [Status.VERIFYING, Status.KEPT]


@pytest.mark.parametrize("status", list(Status))
def test_from_everywhere_an_end_can_be_reached(status: Status) -> None:
    reached, edge = {status}, {status}
    while edge:
        edge = {after for before in edge for after in MOVES[before]} - reached
        reached |= edge
    assert reached & OVER


def test_the_groups_do_not_overlap() -> None:
    groups = [*OVER, *WAITING, *UNDER_WAY, Status.APPROVED]
    assert sorted(groups) == sorted(Status)
