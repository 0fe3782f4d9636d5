"""Publishing and all that moves, over fakes."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from registry.catalog import from_row, to_row
from registry.history import restore
from registry.records import (
    MOVES,
    OPERATOR,
    CheckFailed,
    Conflict,
    HashMismatch,
    InvalidArtifact,
    NotAllowed,
    Opinion,
    RegistryUnavailable,
    Review,
    ReviewRole,
    UnknownArtifact,
    VersionId,
)
from registry.upkeep import fold
from tests.fakes.registry import World, cases, new


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.open()
    yield made
    await made.registry.close()


async def test_a_version_is_published_after_its_check(world: World) -> None:
    version = await world.registry.publish(new(), cases=cases("a", "b"))
    assert version.version_id == "revenue-validation@1.0.0"
    assert version.contributors == ("financial-node",)
    assert world.checker.seen == [version.content]
    standing = world.registry.catalog.standings[version.version_id]
    assert (standing.state, standing.cases) == ("published", 2)
    assert (await world.registry.content(version.version_id)) == version
    assert world.registry.catalog.versions[version.version_id].content == ""


async def test_what_fails_its_check_is_not_kept(world: World) -> None:
    world.checker.failing = {"b"}
    with pytest.raises(CheckFailed, match="1 of 2 cases failed; b: division by zero"):
        await world.registry.publish(new(), cases=cases("a", "b"))
    with pytest.raises(InvalidArtifact, match="cases"):
        await world.registry.publish(new())
    world.checker.off = True
    with pytest.raises(RegistryUnavailable, match="seccomp is missing"):
        await world.registry.publish(new(), cases=cases("a"))
    world.registry.checker = None
    with pytest.raises(RegistryUnavailable, match="no sandbox"):
        await world.registry.publish(new(), cases=cases("a"))
    assert world.journal.puts == []
    assert world.registry.catalog.artifacts == {}


async def test_texts_need_no_sandbox(world: World) -> None:
    world.registry.checker = None
    version = await world.registry.publish(new(kind="prompt", content="Be brief."))
    assert world.registry.catalog.standings[version.version_id].state == "published"


async def test_the_same_content_twice_is_one_version(world: World) -> None:
    one = await world.registry.publish(new(content="def run(x):\n    return x\n"), cases=cases("a"))
    other = await world.registry.publish(new(content="def run(x):\r\n    return x\r\n\r\n"), cases=cases("a"))
    assert one.version_id == other.version_id
    assert len(world.registry.catalog.versions) == 1


async def test_concurrent_publishes_of_one_name_follow_each_other(world: World) -> None:
    made = await asyncio.gather(
        *(world.registry.publish(new(content=f"def run(x):\n    return x + {n}\n"), cases=cases("a")) for n in range(20))
    )
    assert len({version.number for version in made}) == 20
    assert world.registry.catalog.artifact("revenue-validation").latest == "revenue-validation@1.19.0"
    assert max(world.journal.batches) > 1  # those that waited together were written together


async def test_a_base_that_is_passed_by_now_conflicts(world: World) -> None:
    first = await world.registry.publish(new(), cases=cases("a"))
    more = {"relation": "modify", "parents": (first.version_id,), "base": first.version_id}
    results = await asyncio.gather(
        *(world.registry.publish(new(content=f"def run(x):\n    return {n}\n", **more), cases=cases("a")) for n in range(2)),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Version"]
    with pytest.raises(Conflict, match="is a validator, not a prompt"):
        await world.registry.publish(new(kind="prompt"))
    with pytest.raises(Conflict, match="is not after it"):
        await world.registry.publish(new(content="def run(x): return 9", number="1.0.5"), cases=cases("a"))


async def test_forks_and_syntheses_carry_their_lineage(world: World) -> None:
    registry = world.registry
    one = await registry.publish(new(), cases=cases("a"))
    two = await registry.publish(
        new("risk-validation", "def run(x): return 2", author="risk-node", relation="fork", parents=(one.version_id,)),
        cases=cases("a"),
    )
    both = new(
        "universal",
        "def run(x): return 3",
        author="science-node",
        relation="synthesize",
        parents=(two.version_id, one.version_id),
        improvements=("one for all",),
    )
    made = await registry.publish(both, cases=cases("a"))
    assert made.depth == 2
    assert made.contributors == ("science-node", "risk-node", "financial-node")
    again = (await world.reopen()).catalog.version(made.version_id)
    assert again == dataclasses.replace(made, content="")


@pytest.mark.parametrize(
    ("more", "error", "names"),
    [
        ({"name": "No Capitals"}, InvalidArtifact, "name"),
        ({"name": "a" * 81}, InvalidArtifact, "name"),
        ({"kind": "song"}, InvalidArtifact, "kind"),
        ({"content": "  \n"}, InvalidArtifact, "content"),
        ({"content": "x" * 70_000}, InvalidArtifact, "content"),
        ({"content": "a = 1\nb = '\u202e'"}, InvalidArtifact, r"content.*U\+202E in line 2"),
        ({"content": "a\x00"}, InvalidArtifact, "content"),
        ({"content": "\ud800"}, InvalidArtifact, "content"),
        ({"problem": ""}, InvalidArtifact, "problem"),
        ({"author": " "}, InvalidArtifact, "author"),
        ({"author": "a\nb"}, InvalidArtifact, "author"),
        ({"locale": "\x1b[2J"}, InvalidArtifact, "locale"),
        ({"number": "1.2"}, InvalidArtifact, "number"),
        ({"number": "01.2.3"}, InvalidArtifact, "number"),
        ({"parameters": {"a": float("nan")}}, InvalidArtifact, "parameters"),
        ({"parameters": {"a": "x" * 40_000}}, InvalidArtifact, "parameters"),
        ({"improvements": ("x",) * 21}, InvalidArtifact, "improvements"),
        ({"relation": "fork"}, InvalidArtifact, "parents"),
        ({"relation": "synthesize", "parents": ("a@1.0.0",)}, InvalidArtifact, "parents"),
        ({"parents": ("a@1.0.0",)}, InvalidArtifact, "relation"),
        ({"relation": "fork", "parents": ("gone@1.0.0",)}, UnknownArtifact, "gone@1.0.0"),
        ({"relation": "fork", "parents": ("revenue-validation@1.0.0",)}, Exception, "own parent"),
    ],
)
async def test_bad_hand_ins_name_the_field(world: World, more: dict[str, Any], error: type[Exception], names: str) -> None:
    fields: dict[str, Any] = {"name": "revenue-validation", "content": "def run(x): return x", **more}
    with pytest.raises(error, match=names):
        await world.registry.publish(new(**fields), cases=cases("a"))
    assert world.journal.puts == []


async def test_states_move_by_the_table(world: World) -> None:
    registry = world.registry
    version = await registry.publish(new(), cases=cases("a"))
    await registry.point("revenue-validation", "champion", "1.0.0")
    await registry.move("revenue-validation", "deprecated", by=OPERATOR, reason="old")
    assert registry.catalog.artifact("revenue-validation").champion is None
    with pytest.raises(NotAllowed, match="deprecated; only a published version"):
        await registry.point("revenue-validation", "champion", "1.0.0")
    await registry.move("revenue-validation@1.0.0", "archived", by=OPERATOR, reason="")
    with pytest.raises(NotAllowed, match="is archived and cannot become deprecated"):
        await registry.move("revenue-validation@1.0.0", "deprecated", by=OPERATOR, reason="")
    await restore(registry, "revenue-validation", by=OPERATOR, reason="needed again")
    assert registry.catalog.standings[version.version_id].state == "published"
    assert registry.find("revenue-validation").version_id == version.version_id
    with pytest.raises(NotAllowed):
        await restore(registry, "revenue-validation", by=OPERATOR, reason="")


async def test_a_draft_is_published_only_by_a_check(world: World) -> None:
    registry = world.registry
    draft = await registry.draft(new())
    with pytest.raises(NotAllowed):
        await registry.move(draft.version_id, "published", by=OPERATOR, reason="please")
    await registry.move(draft.version_id, "archived", by=OPERATOR, reason="")
    restored = await restore(registry, draft.version_id, by=OPERATOR, reason="")
    assert restored[0].state == "draft"  # it never passed one
    world.checker.failing = {"a"}
    with pytest.raises(CheckFailed):
        await registry.release(draft.version_id, cases("a"), by=OPERATOR)
    world.checker.failing = set()
    assert (await registry.release(draft.version_id, cases("a"), by=OPERATOR)).state == "published"


def test_every_move_leads_somewhere_known() -> None:
    assert set(MOVES) == {"draft", "published", "deprecated", "archived"}
    assert all(targets <= set(MOVES) for targets in MOVES.values())


async def test_users_follow_to_whoever_took_over(world: World) -> None:
    registry = world.registry
    ids = [(await registry.publish(new(f"v{n}", f"def run(x): return {n}"), cases=cases("a"))).version_id for n in range(3)]
    await registry.move(ids[0], "deprecated", by=OPERATOR, reason="", successor=ids[1])
    await registry.move(ids[1], "deprecated", by=OPERATOR, reason="", successor=ids[2])
    assert registry.current(ids[0]) == ids[2]
    await restore(registry, ids[1], by=OPERATOR, reason="")
    assert registry.current(ids[0]) == ids[1]
    with pytest.raises(UnknownArtifact, match="successor"):
        await registry.move(ids[2], "deprecated", by=OPERATOR, reason="", successor=VersionId("gone@1.0.0"))
    await registry.move(ids[1], "deprecated", by=OPERATOR, reason="", successor=ids[0])
    assert registry.current(ids[0]) in (ids[0], ids[1])  # round in a circle ends


async def test_stars_need_measured_reuse(world: World) -> None:
    registry = world.registry
    version = await registry.publish(new(), cases=cases("a"))
    await world.run(version.version_id, "financial-node", good=50)
    for by in ("risk-node", OPERATOR):
        with pytest.raises(NotAllowed, match="0 of 0 runs went well"):
            await registry.star(version.version_id, by=by)
    with pytest.raises(NotAllowed, match="wrote"):
        await registry.star(version.version_id, by="financial-node")
    await world.run(version.version_id, "risk-node", good=3, bad=2)
    with pytest.raises(NotAllowed, match="3 of 5"):
        await registry.star(version.version_id, by="risk-node")
    await world.run(version.version_id, "risk-node", good=10)
    assert (await registry.star(version.version_id, by="risk-node")).runs == 15
    await registry.star(version.version_id, by="risk-node")
    await registry.star(version.version_id, by=OPERATOR)
    assert len(registry.catalog.stars[version.version_id]) == 2


def review(version_id: str, reviewer: str, role: ReviewRole = "quality", opinion: Opinion = "accept", **more: Any) -> Review:
    fields = {"score": 0.9, "at": 1.0, **more}
    return Review(version_id=VersionId(version_id), reviewer=reviewer, role=role, opinion=opinion, **fields)


async def test_reviews_publish_a_checked_draft(world: World) -> None:
    registry = world.registry
    draft = await registry.draft(new(), cases=cases("a"))
    with pytest.raises(NotAllowed, match="lineage"):
        await registry.review(review(draft.version_id, "financial-node"))
    assert (await registry.review(review(draft.version_id, "r1"))).verdict == "waiting"
    assert (await registry.review(review(draft.version_id, "r2", "security", secure=True))).verdict == "waiting"
    assert (await registry.review(review(draft.version_id, "r3", "performance"))).verdict == "accept"
    assert registry.catalog.standings[draft.version_id].state == "published"


async def test_a_failed_security_check_takes_it_out_of_use(world: World) -> None:
    version = await world.registry.publish(new(), cases=cases("a"))
    decision = await world.registry.review(review(version.version_id, "r1", "security", "accept", secure=False))
    assert decision.verdict == "reject"
    assert world.registry.catalog.standings[version.version_id].state == "archived"
    # Nor does taking it back publish it again: the security check stands.
    assert (await restore(world.registry, version.version_id, by=OPERATOR, reason="I need it"))[0].state == "draft"


async def test_a_rejected_champion_is_champion_no_more(world: World) -> None:
    registry = world.registry
    version = await registry.publish(new(), cases=cases("a"))
    await registry.point("revenue-validation", "champion", "1.0.0")
    await world.run(version.version_id, "risk-node", bad=6)
    await fold(registry)
    assert (await registry.review(review(version.version_id, "r1"))).verdict == "reject"
    assert registry.catalog.standings[version.version_id].state == "deprecated"
    assert registry.catalog.artifact("revenue-validation").champion is None


async def test_only_what_was_published_is_restored_to_publication(world: World) -> None:
    registry = world.registry
    draft = await registry.draft(new(), cases=cases("a"))
    for n, role in enumerate(("quality", "security", "performance")):
        await registry.review(review(draft.version_id, f"r{n}", role, "reject"))
    assert registry.catalog.standings[draft.version_id].state == "archived"
    later = await registry.publish(new(content="def run(x): return 9"), cases=cases("a"))
    await registry.move(later.version_id, "archived", by=OPERATOR, reason="")
    back = await restore(registry, "revenue-validation", by=OPERATOR, reason="needed again")
    assert [(each.version_id, each.state) for each in back] == [(later.version_id, "published")]
    assert (await restore(registry, draft.version_id, by=OPERATOR, reason=""))[0].state == "draft"
    with pytest.raises(NotAllowed, match="is draft and cannot be restored"):
        await restore(registry, draft.version_id, by=OPERATOR, reason="")


async def test_a_revision_starts_a_new_round(world: World) -> None:
    registry = world.registry
    draft = await registry.draft(new(), cases=cases("a"))
    for role in ("quality", "security"):
        await registry.review(review(draft.version_id, f"r-{role}", role))
    wanting = review(draft.version_id, "r3", "performance", "revise", required_changes=("cache it",))
    assert (await registry.review(wanting)).required_changes == ("cache it",)
    assert registry.catalog.standings[draft.version_id].revisions == 1
    assert (await registry.review(review(draft.version_id, "r3", "performance"))).verdict == "waiting"


# ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_ledger_that_refuses_leaves_nothing_half_done(world: World) -> None:
    world.journal.refuse = True
    with pytest.raises(RegistryUnavailable, match="no space left"):
        await world.registry.publish(new(), cases=cases("a"))
    assert world.registry.catalog.versions == {}
    assert world.tables.data["versions"] == {}
    world.journal.refuse = False
    await world.registry.publish(new(), cases=cases("a"))


async def test_tables_that_refuse_are_filled_later(world: World) -> None:
    world.tables.refuse = {"versions", "standings", "artifacts"}
    version = await world.registry.publish(new(), cases=cases("a"))
    assert (await world.registry.content(version.version_id)).content == version.content  # the journal's copy
    assert len(world.registry.writer.behind) >= 3
    world.tables.refuse = set()
    await world.registry.writer.catch_up()
    assert world.registry.writer.behind == set()
    assert set(world.tables.data["versions"]) == {version.version_id}


async def test_a_start_brings_tables_to_what_the_journal_says(world: World) -> None:
    version = await world.registry.publish(new(), cases=cases("a"))
    await world.registry.move(version.version_id, "deprecated", by=OPERATOR, reason="")
    kept = {table: dict(rows) for table, rows in world.tables.data.items()}
    for lost in (("versions",), ("standings",), ("artifacts",), ("versions", "standings", "artifacts")):
        for table in lost:
            world.tables.data[table] = {}
        registry = await world.reopen()
        assert registry.catalog.standings[version.version_id].state == "deprecated"
        assert {table: world.tables.data[table] for table in kept} == kept


async def test_a_start_without_the_ledger_takes_the_tables_word(world: World) -> None:
    version = await world.registry.publish(new(), cases=cases("a"))
    broken = await world.registry.publish(new("other", "def run(x): return 5"), cases=cases("a"))
    world.journal.puts.clear()
    world.tables.data["versions"][broken.version_id]["content"] = "tampered"
    registry = await world.reopen()
    assert registry.catalog.standings[version.version_id].state == "published"
    assert {put.table for put in world.journal.puts} >= {"versions", "standings", "artifacts"}
    with pytest.raises(UnknownArtifact):
        registry.catalog.version(broken.version_id)


async def test_tampered_content_is_not_served(world: World) -> None:
    version = await world.registry.publish(new(), cases=cases("a"))
    world.tables.data["versions"][version.version_id]["content"] = "import os"
    assert (await world.registry.content(version.version_id)).content == version.content  # from the journal
    await world.registry.writer.catch_up()
    assert world.tables.data["versions"][version.version_id]["content"] == version.content
    world.tables.data["versions"][version.version_id]["content"] = "import os"
    row = {**world.journal.puts[0].row, "content": "import sys"}
    world.journal.puts[0] = dataclasses.replace(world.journal.puts[0], row=row)
    with pytest.raises(HashMismatch):
        await world.registry.content(version.version_id)


async def test_records_survive_their_rows(world: World) -> None:
    version = await world.registry.publish(new(parameters={"b": [1, {"c": None}], "a": "ä"}), cases=cases("a"))
    assert from_row("versions", to_row(version)) == version
    standing = world.registry.catalog.standings[version.version_id]
    assert from_row("standings", {**to_row(standing), "seq": 3}) == standing


async def test_many_contents_at_once_leave_out_what_is_lost(world: World) -> None:
    made = [await world.registry.publish(new(f"v{n}", f"def run(x): return {n}"), cases=cases("a")) for n in range(4)]
    ids = [version.version_id for version in made]
    world.tables.data["versions"][ids[1]]["content"] = "tampered"
    del world.tables.data["versions"][ids[2]]
    world.tables.data["versions"][ids[3]]["content"] = "tampered"
    world.journal.puts = [put for put in world.journal.puts if (put.table, put.key) != ("versions", ids[3])]
    found = await world.registry.contents.many([*ids, VersionId("gone@1.0.0")])
    assert {key: version.content for key, version in found.items()} == {each.version_id: each.content for each in made[:3]}
    assert world.registry.writer.behind == {("versions", ids[1]), ("versions", ids[2])}


async def test_a_closed_registry_says_so(world: World) -> None:
    await world.registry.close()
    with pytest.raises(RegistryUnavailable, match="closed"):
        await world.registry.publish(new(), cases=cases("a"))
    await world.registry.close()
