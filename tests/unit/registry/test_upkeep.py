"""What the registry learns by itself, how it reports, and how it goes back."""

import random
from collections.abc import AsyncIterator

import pytest

from registry.history import heads_at, heads_of, log_of, restore, restore_snapshot, snapshot
from registry.inspect import inspect
from registry.records import OPERATOR, InvalidArtifact, UnknownArtifact, Version
from registry.standards import Rule, broken, compliance, rules_of
from registry.upkeep import BREAKTHROUGH, fold, learn, optimize
from tests.fakes.registry import World, cases, new


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.open()
    yield made
    await made.registry.close()


async def line(world: World, *, problem: str = "validate revenue data") -> tuple[Version, Version]:
    """A validator and its fork by another node."""
    parent = await world.registry.publish(new(), cases=cases("a"))
    fork = new(
        "universal",
        "def run(x): return 2",
        author="science-node",
        problem=problem,
        relation="fork",
        parents=(parent.version_id,),
        improvements=("faster", "simpler"),
    )
    return parent, await world.registry.publish(fork, cases=cases("a"))


async def test_folding_writes_once_a_batch_and_adds_up(world: World) -> None:
    parent, child = await line(world)
    commits = world.tables.commits
    for _ in range(3):
        await world.run(parent.version_id, "n1", good=400, bad=100)
        await world.run(child.version_id, "n2", good=100)
        assert sorted(await fold(world.registry)) == sorted([parent.version_id, child.version_id])
    assert await fold(world.registry) == []
    assert world.tables.commits - commits == 3  # 1,800 executions, three versions of the table
    usage = world.registry.catalog.usage[parent.version_id]
    assert (usage.runs, usage.successes, usage.success_rate) == (1500, 1200, 0.8)
    assert world.tables.data["usage"][child.version_id]["runs"] == 300


async def test_a_better_descendant_takes_over(world: World) -> None:
    search = await world.search()
    parent, child = await line(world)
    await search.refresh(embed=64)
    await world.registry.point("revenue-validation", "champion", "1.0.0")
    await world.run(parent.version_id, "n1", good=60, bad=40)
    await world.run(child.version_id, "n2", good=99, bad=1)
    done, found = await learn(world.registry, await fold(world.registry))
    assert [(each.parent, each.child) for each in done] == [(parent.version_id, child.version_id)]
    assert "success" in done[0].reason
    standing = world.registry.catalog.standings[parent.version_id]
    assert (standing.state, standing.successor, standing.by) == ("deprecated", child.version_id, "upkeep")
    assert world.registry.current(parent.version_id) == child.version_id
    assert [each.version_id for each in found] == [child.version_id]
    assert world.registry.catalog.standings[child.version_id].tags == (BREAKTHROUGH,)
    assert await learn(world.registry, [parent.version_id, child.version_id]) == ([], [])
    await restore(world.registry, parent.version_id, by=OPERATOR, reason="still needed")
    assert world.registry.current(parent.version_id) == parent.version_id


async def test_a_descendant_for_another_problem_leaves_its_parent_alone(world: World) -> None:
    search = await world.search()
    parent, child = await line(world, problem="count birds in a field at night")
    await search.refresh(embed=64)
    await world.run(parent.version_id, "n1", good=60, bad=40)
    await world.run(child.version_id, "n2", good=100)
    done, _ = await learn(world.registry, await fold(world.registry))
    assert done == []


async def test_little_or_equal_evidence_changes_nothing(world: World) -> None:
    await world.search()
    parent, child = await line(world)
    await world.run(parent.version_id, "n1", good=10, bad=10)
    await world.run(child.version_id, "n2", good=20)
    assert await learn(world.registry, await fold(world.registry)) == ([], [])
    await world.run(parent.version_id, "n1", good=190, bad=10)
    await world.run(child.version_id, "n2", good=180, bad=20)
    assert await learn(world.registry, await fold(world.registry)) == ([], [])


async def test_what_an_operator_took_back_stays(world: World) -> None:
    await world.search()
    parent, child = await line(world)
    await world.run(parent.version_id, "n1", good=100, latency_s=1.0)
    await world.run(child.version_id, "n2", good=100, latency_s=0.1)
    assert len((await learn(world.registry, await fold(world.registry)))[0]) == 1
    await restore(world.registry, parent.version_id, by=OPERATOR, reason="others rely on it")
    await world.run(child.version_id, "n2", good=100, latency_s=0.1)
    assert (await learn(world.registry, await fold(world.registry)))[0] == []
    assert world.registry.current(parent.version_id) == parent.version_id


async def test_a_successor_in_the_same_artifact_becomes_champion(world: World) -> None:
    await world.search()
    parent = await world.registry.publish(new(), cases=cases("a"))
    more = {"relation": "modify", "parents": (parent.version_id,)}
    child = await world.registry.publish(new(content="def run(x): return 8", **more), cases=cases("a"))
    await world.registry.point("revenue-validation", "champion", "1.0.0")
    await world.run(parent.version_id, "n1", good=100, latency_s=1.0)
    await world.run(child.version_id, "n2", good=100, latency_s=0.1)
    await learn(world.registry, await fold(world.registry))
    assert world.registry.catalog.artifact("revenue-validation").champion == child.version_id
    assert world.registry.catalog.standings[parent.version_id].state == "deprecated"


async def test_the_report_is_made_of_what_is_there(world: World) -> None:
    empty = await inspect(world.registry)
    assert (empty["totals"]["artifacts"], empty["quality_trend"], empty["lineage"]["deepest"]) == (0, [], None)
    assert empty["standards"]["compliance"] is None
    parent, child = await line(world)
    standard = 'Say what it is for.\n\n```rules\n[{"check": "docstring"}, {"check": "line_chars", "most": 80}]\n```\n'
    await world.registry.publish(new("house-style", standard, kind="standard", problem="coding standards"))
    documented = 'def run(x):\n    """Back to the sender."""\n    return x'
    await world.registry.publish(new("echo", documented, problem="echo"), cases=cases("a"))
    await world.run(parent.version_id, "n1", good=50, bad=50)
    world.now += 40 * 86_400
    for node in ("n1", "n2", "n3"):
        await world.run(child.version_id, node, good=40)
    await world.search()
    await learn(world.registry, await fold(world.registry))
    report = await inspect(world.registry)
    assert report["totals"]["artifacts"] == 4
    assert report["totals"]["executions"] == 220
    assert [row["name"] for row in report["most_used"]] == ["universal", "revenue-validation"]
    assert report["most_used"][0]["nodes"] == 3
    assert [row["version"] for row in report["breakthroughs"]] == [child.version_id]
    assert [(row["month"], row["quality"]) for row in report["quality_trend"]] == [(1, 0.5), (2, 1.0)]
    assert report["lineage"]["deepest"] == {"version": child.version_id, "generations": 2}
    assert report["standards"]["rules"] == 2
    # echo is documented; the deprecated parent does not count, its successor has no docstring
    assert (report["standards"]["checked"], report["standards"]["compliance"]) == (2, 0.5)


# ── history ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_snapshots_bring_states_and_aliases_back(world: World) -> None:
    parent, child = await line(world)
    await world.registry.point("universal", "champion", "1.0.0")
    await snapshot(world.registry, "before", by=OPERATOR)
    world.now += 60
    await world.registry.move(child.version_id, "archived", by=OPERATOR, reason="")
    late = await world.registry.publish(new("late", "def run(x): return 9"), cases=cases("a"))
    assert await restore_snapshot(world.registry, "before", by=OPERATOR) == 3
    states = {key: standing.state for key, standing in world.registry.catalog.standings.items()}
    assert states == {parent.version_id: "published", child.version_id: "published", late.version_id: "archived"}
    assert world.registry.catalog.artifact("universal").champion == child.version_id
    assert (await world.registry.content(late.version_id)).content == late.content  # nothing published is lost
    with pytest.raises(UnknownArtifact, match="after"):
        await restore_snapshot(world.registry, "after", by=OPERATOR)
    with pytest.raises(InvalidArtifact):
        await snapshot(world.registry, "../x", by=OPERATOR)


async def test_time_travel_reads_the_ledger_when_the_tables_forgot(world: World) -> None:
    parent, child = await line(world)
    then = world.now
    await snapshot(world.registry, "then", by=OPERATOR)
    world.now += 60
    await world.registry.move(parent.version_id, "deprecated", by=OPERATOR, reason="old")
    for source in ("tables", "ledger"):
        heads = await heads_at(world.registry, then + 1)
        assert (heads.source, heads.standings[parent.version_id].state) == (source, "published")
        assert (await heads_of(world.registry, "then")).standings[parent.version_id].state == "published"
        assert (await heads_at(world.registry, then - 1)).standings == {}
        await optimize(world.registry, retention_s=60)
    assert (await heads_at(world.registry, world.now)).standings[parent.version_id].state == "deprecated"
    assert child.version_id in heads.standings


async def test_the_log_says_who_did_what_and_why(world: World) -> None:
    await line(world)
    await world.registry.move("revenue-validation", "deprecated", by=OPERATOR, reason="too slow")
    entries = await log_of(world.registry, "revenue-validation")
    assert (entries[0]["state"], entries[0]["by"], entries[0]["reason"]) == ("deprecated", OPERATOR, "too slow")
    assert entries[-1]["state"] == "published" or entries[-1]["latest"] == "revenue-validation@1.0.0"
    with pytest.raises(UnknownArtifact):
        await log_of(world.registry, "gone")


# ── standards ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "most", "good", "bad"),
    [
        ("docstring", 0, 'def run(x):\n    "Yes."\n    return x', "def run(x):\n    return x"),
        ("line_chars", 10, "x = 1", "x = 1111111111"),
        ("function_lines", 2, "def a():\n    return 1", "def a():\n    x = 1\n    return x"),
        ("annotated", 0, "def a(x: int) -> int:\n    return x", "def a(x):\n    return x"),
        ("snake_case", 0, "def run_it(): pass", "def runIt(): pass"),
        ("no_bare_except", 0, "try:\n    x\nexcept ValueError:\n    pass", "try:\n    x\nexcept:\n    pass"),
        ("no_mutable_defaults", 0, "def a(x=None): pass", "def a(x=[]): pass"),
        ("branches", 2, "def a(x):\n    return 1 if x else 2", "def a(x, y):\n    return 1 if x else 2 if y else 3"),
    ],
)
def test_each_check_tells_good_from_bad(check: str, most: int, good: str, bad: str) -> None:
    rules = [Rule(check=check, most=most)]
    assert broken(good, rules) == []
    assert broken(bad, rules) == [check]
    assert compliance([good, bad], rules) == 0.5


def test_hostile_code_only_fails_its_checks() -> None:
    rng = random.Random(5)
    rules = rules_of('```rules\n[{"check": "docstring"}]\n```')
    for code in (
        "(" * 50_000,
        "-" * 60_000 + "1",
        "x = [" * 5_000,
        "\x00",
        "def",
        "".join(chr(rng.randrange(32, 900)) for _ in range(999)),
    ):
        assert broken(code, rules) == ["docstring"]


@pytest.mark.parametrize(
    "block",
    [
        "nope",
        "{}",
        '[{"check": "made_up"}]',
        '[{"check": "branches", "most": -1}]',
        '[{"check": "branches", "most": true}]',
        "[1]",
    ],
)
def test_rules_that_are_not_understood_are_named(block: str) -> None:
    with pytest.raises(InvalidArtifact, match="rules"):
        rules_of(f"```rules\n{block}\n```")
    assert rules_of("only prose") == ()
