"""Lineage as a graph: nothing becomes its own ancestor, whatever is tried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.lineage import ancestors, check, children, contributors, depth, descendants, draw
from registry.records import InvalidArtifact, LineageCycle, RegistryError, UnknownArtifact, VersionId

NAMES = [VersionId(f"v{n}@1.0.0") for n in range(12)]
Graph = dict[VersionId, tuple[VersionId, ...]]


def v(*numbers: int) -> tuple[VersionId, ...]:
    return tuple(NAMES[n] for n in numbers)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=4)), max_size=40))
def test_writes_that_pass_the_check_never_make_a_cycle(writes: list[tuple[VersionId, list[VersionId]]]) -> None:
    graph: Graph = {}
    for version, parents in writes:
        try:
            check(graph, version, parents)
        except RegistryError:
            continue
        graph[version] = tuple(parents)  # also where it replaces an older entry, as a damaged journal might
        assert all(each not in ancestors(graph, each) for each in graph)
        assert all(parent in graph for parents in graph.values() for parent in parents)


@given(st.lists(st.lists(st.integers(0, 11), max_size=3, unique=True), min_size=1, max_size=12))
def test_depth_and_contributors_follow_the_longest_and_the_whole_line(shape: list[list[int]]) -> None:
    graph: Graph = {}
    depths: dict[VersionId, int] = {}
    authors: dict[VersionId, tuple[str, ...]] = {}
    for n, wanted in enumerate(shape):
        parents = v(*(each for each in wanted if each < n))
        version = NAMES[n]
        check(graph, version, parents)
        depths[version] = depth(graph, parents, depths)
        authors[version] = contributors(f"a{n}", parents, authors)
        graph[version] = parents
        assert set(authors[version]) == {f"a{n}"} | {f"a{NAMES.index(each)}" for each in ancestors(graph, version)}
        assert depths[version] == max((depths[each] + 1 for each in ancestors(graph, version)), default=0)
    below = children(graph)
    for version in graph:
        assert set(descendants(graph, version)) == {each for each in graph if version in ancestors(graph, each)}
        assert all(version in graph[kid] for kid in below.get(version, []))


def test_what_is_refused_says_why() -> None:
    graph: Graph = {NAMES[0]: (), NAMES[1]: v(0), NAMES[2]: v(1)}
    with pytest.raises(LineageCycle, match="own parent"):
        check(graph, NAMES[3], v(3))
    with pytest.raises(LineageCycle, match="ancestor of"):
        check(graph, NAMES[0], v(2))
    with pytest.raises(UnknownArtifact, match=r"v9@1\.0\.0"):
        check(graph, NAMES[3], v(9))
    with pytest.raises(InvalidArtifact, match="twice"):
        check(graph, NAMES[3], v(1, 1))
    with pytest.raises(InvalidArtifact, match="at most 16"):
        check(graph, NAMES[3], tuple(VersionId(f"x{n}") for n in range(17)))


def test_the_family_is_drawn_from_its_roots() -> None:
    graph: Graph = {NAMES[0]: (), NAMES[1]: v(0), NAMES[2]: v(0), NAMES[3]: v(1, 2), NAMES[4]: v(3), NAMES[9]: ()}
    lines = draw(graph, NAMES[1], str)
    assert lines == [
        "v0@1.0.0",
        "└─ v1@1.0.0 ◀",
        "   └─ v3@1.0.0",
        "      └─ v4@1.0.0",
    ]
    assert draw(graph, NAMES[3], str) == [
        "v0@1.0.0",
        "├─ v1@1.0.0",
        "│  └─ v3@1.0.0 ◀",
        "│     └─ v4@1.0.0",
        "└─ v2@1.0.0",
        "   └─ v3@1.0.0 ◀ (see above)",
    ]


def test_a_large_family_is_cut_and_says_so() -> None:
    graph: Graph = {VersionId(f"n{n}"): (VersionId(f"n{n - 1}"),) if n else () for n in range(5_000)}
    lines = draw(graph, VersionId("n4999"), str, max_lines=50)
    assert len(lines) == 51
    assert "4950 versions are not shown" in lines[-1]
