"""Search: two rankings fused, filters, bad evidence held back."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.evidence import Usage, is_bad
from registry.records import OPERATOR, InvalidArtifact, RegistryDamaged, VersionId
from registry.search import MAX_QUERY_CHARS, Query, arrange, filter_of, fuse
from tests.fakes.registry import FakeEmbedder, World, cases, new

IDS = [VersionId(f"v{n}@1.0.0") for n in range(8)]


def test_fusion_prefers_what_both_rankings_know() -> None:
    scores = fuse([[IDS[0], IDS[1], IDS[2]], [IDS[3], IDS[1], IDS[4]]])
    assert max(scores, key=scores.__getitem__) == IDS[1]
    assert scores[IDS[1]] == pytest.approx(2 / 62)


@given(
    st.lists(st.lists(st.sampled_from(IDS), unique=True, max_size=8), max_size=3),
    st.dictionaries(st.sampled_from(IDS), st.tuples(st.integers(0, 30), st.floats(0, 1))),
)
def test_bad_evidence_is_never_first(rankings: list[list[VersionId]], runs: dict[VersionId, tuple[int, float]]) -> None:
    usage = {key: Usage(version_id=key, runs=n, successes=int(n * share)) for key, (n, share) in runs.items()}
    scores = fuse(rankings)
    ordered = arrange(scores, usage)
    good = [each for each in scores if not is_bad(usage.get(each))]
    assert not ordered or not is_bad(usage.get(ordered[0]))
    assert sorted(ordered) == (sorted(scores) if good else [])
    assert all(scores[a] >= scores[b] for a, b in itertools.pairwise(ordered) if is_bad(usage.get(a)) == is_bad(usage.get(b)))


def test_filters_are_literals() -> None:
    where = filter_of(Query(text="x", kind="router", state=None, author="o'hara", locale="finance"))
    assert where == "(kind = 'router') AND (author = 'o''hara') AND (locale = 'finance')"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.open()
    problems = {
        "revenue-validation": "validate revenue data",
        "bird-count": "count birds in a field",
        "risk-check": "assess the risk of a loan",
    }
    for n, (name, problem) in enumerate(problems.items()):
        code = f"def run(x):\n    {name.replace('-', '_')} = {n}\n    return x"
        await made.registry.publish(new(name, code, problem=problem, author=f"node-{n}", locale="finance"), cases=cases("a"))
    yield made
    await made.registry.close()


async def names(world: World, text: str, **more: Any) -> list[str]:
    found = await (await world.search()).find(Query(text=text, **more))
    return [hit.version.name for hit in found.hits]


async def test_by_problem_by_text_and_by_code(world: World) -> None:
    search = await world.search()
    found = await search.find(Query(text="check revenue data", by="problem"))
    assert found.mode == "hybrid"
    assert found.hits[0].version.name == "revenue-validation"
    assert found.hits[0].similarity is not None
    assert found.hits[0].similarity > 0.3
    assert (await names(world, "birds"))[0] == "bird-count"
    assert (await names(world, "risk_check = 2", by="code"))[0] == "risk-check"


async def test_without_an_embedding_words_must_do(world: World) -> None:
    world.embedder.ready = False
    search = await world.search()
    found = await search.find(Query(text="birds"))
    assert (found.mode, [hit.version.name for hit in found.hits]) == ("words", ["bird-count"])
    world.embedder.ready = True
    assert await search.refresh(embed=64) == 0
    assert (await search.find(Query(text="birds"))).mode == "hybrid"
    embedded = world.embedder.texts
    await search.refresh(embed=64)
    assert world.embedder.texts == embedded  # nothing is embedded twice


async def test_another_model_makes_new_vectors(world: World) -> None:
    await (await world.search()).refresh(embed=64)
    for embedder in (FakeEmbedder(model="other"), FakeEmbedder(dimension=128, model="small")):
        world.embedder = embedder
        search = await world.search()
        await search.refresh(embed=64)
        await search.refresh(embed=64)
        assert (await search.find(Query(text="count birds", by="problem"))).hits[0].version.name == "bird-count"
        rows = await world.tables.rows("cards")
        assert {row["model"] for row in rows} == {embedder.model}
        assert {len(row["problem_vector"]) for row in rows} == {embedder.dimension}


async def test_states_filters_and_quality(world: World) -> None:
    await world.registry.move("bird-count", "deprecated", by=OPERATOR, reason="")
    assert "bird-count" not in await names(world, "count birds in a field")
    assert await names(world, "count birds", state="deprecated") == ["bird-count"]
    assert await names(world, "data", author="node-2", by="problem") == ["risk-check"]
    assert await names(world, "data", locale="elsewhere") == []
    version_id = world.registry.find("risk-check").version_id
    await world.run(version_id, "n", good=9, bad=1)
    world.registry.catalog.usage.update(await world.evidence.usage(await world.evidence.fold()))
    assert await names(world, "anything at all about risk", min_quality=0.8) == ["risk-check"]
    assert await names(world, "anything at all about risk", min_quality=0.95) == []


async def test_a_bad_version_gives_way(world: World) -> None:
    version_id = world.registry.find("risk-check").version_id
    await world.run(version_id, "n", good=1, bad=9)
    world.registry.catalog.usage.update(await world.evidence.usage(await world.evidence.fold()))
    found = await (await world.search()).find(Query(text="assess the risk of a loan", by="problem"))
    assert found.hits[0].version.name != "risk-check"
    assert [hit.bad for hit in found.hits if hit.version.name == "risk-check"] == [True]


async def test_one_version_of_each_artifact_unless_all_are_wanted(world: World) -> None:
    await world.registry.publish(new("bird-count", "def run(x): return 7", problem="count birds in a field"), cases=cases("a"))
    assert (await names(world, "count birds")).count("bird-count") == 1
    assert (await names(world, "count birds", every_version=True)).count("bird-count") == 2


@pytest.mark.parametrize("query", [Query(text=" "), Query(text="x" * (MAX_QUERY_CHARS + 1)), Query(text="x", limit=0)])
async def test_bad_queries_are_named(world: World, query: Query) -> None:
    with pytest.raises(InvalidArtifact, match=r"query|limit"):
        await (await world.search()).find(query)


async def test_damaged_cards_are_made_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    search = await world.search()
    await search.refresh(embed=64)
    matching, failures = world.tables.matching, iter([True, False])

    async def broken(*args: Any, **more: Any) -> Any:
        if next(failures, False):
            raise RegistryDamaged("cards", "a file was cut off")
        return await matching(*args, **more)

    monkeypatch.setattr(world.tables, "matching", broken)
    assert (await search.find(Query(text="birds"))).hits[0].version.name == "bird-count"
