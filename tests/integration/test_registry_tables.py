"""LanceDB as it is: damage, schema versions, history, upkeep."""

import asyncio
import dataclasses
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from registry.records import RegistryDamaged, RegistryTooNew, RegistryUnavailable
from registry.table_specs import Migration, TableSpec, Vector, any_of, quoted
from registry.tables import Tables

pytestmark = pytest.mark.integration

NOTES = TableSpec(
    name="notes",
    key="id",
    columns={"id": "text", "words": "text", "n": "int", "tags": "texts", "vector": Vector(4)},
    words="words",
)


def note(key: str, words: str = "", n: int = 0, vector: list[float] | None = None) -> dict[str, object]:
    return {"id": key, "words": words, "n": n, "tags": ["a"], "vector": vector}


async def opened(folder: Path, spec: TableSpec = NOTES) -> Tables:
    return await Tables.open(str(folder / "registry"), [spec])


async def test_rows_are_merged_by_key_and_read_back(tmp_path: Path) -> None:
    tables = await opened(tmp_path)
    await tables.merge("notes", [note("a", "one"), note("b", "two"), note("a", "three")])
    await tables.merge("notes", [note("b", "four", 7)])
    tables.close()
    tables = await opened(tmp_path)
    rows = {row["id"]: (row["words"], row["n"]) for row in await tables.rows("notes")}
    assert rows == {"a": ("three", 0), "b": ("four", 7)}
    await tables.delete("notes", ["a"])
    assert await tables.count("notes") == 1
    assert tables.damaged == {}


@pytest.mark.parametrize("key", ["it's", "''", "a' OR '1'='1", "back\\slash", 'quo"te', "naïve ✓", "-- x", "%_"])
async def test_keys_are_literals_whatever_is_in_them(tmp_path: Path, key: str) -> None:
    tables = await opened(tmp_path)
    await tables.merge("notes", [note(key), note("other")])
    assert [row["id"] for row in await tables.get("notes", [key])] == [key]
    await tables.delete("notes", [key])
    assert [row["id"] for row in await tables.rows("notes")] == ["other"]


async def test_search_by_vector_and_by_words(tmp_path: Path) -> None:
    tables = await opened(tmp_path)
    await tables.merge("notes", [note("a", "validate revenue", 1, [1, 0, 0, 0]), note("b", "count birds", 2, [0, 1, 0, 0])])
    await tables.merge("notes", [note("c", "revenue of birds", 3)])
    near = await tables.nearest("notes", "vector", np.array([1, 0.1, 0, 0]), columns=["id"], limit=5)
    assert [row["id"] for row in near] == ["a", "b"]  # c has no vector
    assert [row["id"] for row in await tables.nearest("notes", "vector", np.array([1, 0, 0, 0]), where="n > 1")] == ["b"]
    found = await tables.matching("notes", "REVENUE", columns=["id"])
    assert {row["id"] for row in found} == {"a", "c"}
    assert await tables.matching("notes", "\"( AND *:' OR --") == []


async def test_an_older_schema_is_migrated_and_a_newer_one_refused(tmp_path: Path) -> None:
    tables = await opened(tmp_path)
    await tables.merge("notes", [note("a", "one", 4)])
    tables.close()
    columns = {"id": "text", "words": "text", "count": "int", "vector": Vector(4), "double": "int"}
    step = Migration(to=2, rename={"n": "count"}, add={"double": "n * 2"}, drop=("tags",))
    newer = TableSpec(name="notes", key="id", columns=columns, version=2, migrations=(step,), words="words")
    step = dataclasses.replace(step, add={"double": "count * 2"})
    newer = dataclasses.replace(newer, migrations=(step,))
    tables = await opened(tmp_path, newer)
    row = (await tables.rows("notes"))[0]
    assert (row["count"], row["double"], row["words"]) == (4, 8, "one")
    assert "tags" not in row
    tables.close()
    with pytest.raises(RegistryTooNew, match="table notes has schema version 2"):
        await opened(tmp_path)
    tables = await opened(tmp_path, newer)  # refusing changed nothing
    assert await tables.count("notes") == 1


@pytest.mark.parametrize("what", ["data/*.lance", "_versions/*.manifest"])
@pytest.mark.parametrize("keep", [0.0, 0.5, None])
async def test_a_truncated_table_is_set_aside(tmp_path: Path, what: str, keep: float | None) -> None:
    tables = await opened(tmp_path)
    await tables.merge("notes", [note(f"n{i}", "words " * 50) for i in range(200)])
    await tables.optimize(retention_s=0)
    tables.close()
    folder = tmp_path / "registry" / "notes.lance"
    files = sorted(folder.glob(what))
    assert files
    for file in files:
        if keep is None:
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    tables = await opened(tmp_path)
    assert list(tables.damaged) == ["notes"]
    assert list((tmp_path / "registry").glob("notes.lance.damaged-*/data")) != []
    assert await tables.count("notes") == 0
    await tables.merge("notes", [note("a")])
    tables.close()
    assert (await opened(tmp_path)).damaged == {}


async def test_whatever_bytes_are_wrong_it_is_opened_or_set_aside(tmp_path: Path) -> None:
    tables = await opened(tmp_path / "sound")
    await tables.merge("notes", [note(f"n{i}", "words " * 20, i, [float(i)] * 4) for i in range(100)])
    await tables.optimize(retention_s=0)
    tables.close()
    rng = random.Random(3)
    set_aside = 0
    for _ in range(40):
        shutil.rmtree(tmp_path / "torn", ignore_errors=True)
        shutil.copytree(tmp_path / "sound", tmp_path / "torn")
        files = sorted((tmp_path / "torn" / "registry" / "notes.lance").rglob("*"))
        file = rng.choice([each for each in files if each.suffix in (".lance", ".manifest")])
        raw = bytearray(file.read_bytes())
        for _ in range(rng.choice((1, 20, 200))):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        file.write_bytes(raw)
        tables = await opened(tmp_path / "torn")
        set_aside += bool(tables.damaged)
        assert await tables.count("notes") == (0 if tables.damaged else 100)
        tables.close()
    assert 0 < set_aside < 40


async def test_damage_while_open_has_a_name(tmp_path: Path) -> None:
    tables = await opened(tmp_path)
    await tables.merge("notes", [note(f"n{i}", "words " * 50) for i in range(200)])
    for file in (tmp_path / "registry" / "notes.lance" / "data").iterdir():
        file.unlink()
    fresh = await Tables.open(str(tmp_path / "other"), [NOTES])
    assert await fresh.count("notes") == 0
    with pytest.raises(RegistryDamaged, match="notes"):
        await tables.rows("notes")


async def test_old_revisions_are_readable_until_they_are_forgotten(tmp_path: Path) -> None:
    tables = await opened(tmp_path)
    await tables.merge("notes", [note("a", "one")])
    before = (await tables.revisions("notes"))[-1]
    await tables.tag("notes", "first")
    await tables.merge("notes", [note("a", "two")])
    then = await tables.rows_at("notes", before.number)
    assert then is not None
    assert then[0]["words"] == "one"
    assert (await tables.rows_at("notes", "first") or [{}])[0]["words"] == "one"
    assert (await tables.rows("notes"))[0]["words"] == "two"
    assert abs(before.at - time.time()) < 60
    await tables.optimize(retention_s=3600)
    assert await tables.rows_at("notes", "first") is not None

    late = await Tables.open(str(tmp_path / "registry"), [NOTES], clock=lambda: time.time() + 7200)
    await asyncio.sleep(0)
    await late.optimize(retention_s=3600)  # the tag is too old by this clock, and no longer in the way
    assert await late.tags("notes") == {}
    assert await late.rows_at("notes", "first") is None
    assert await late.rows_at("notes", 999) is None


async def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("a file")
    with pytest.raises(RegistryUnavailable):
        await opened(tmp_path)


def test_literals() -> None:
    assert quoted("a'b\x00") == "'a''b'"
    assert any_of("id", []) == "false"
    assert any_of("id", ["a", "b'"]) == "id IN ('a', 'b''')"
