"""The library over a restart, on real tables: what was flushed is there, what trust had learned too, and damage is survived."""

import random
from pathlib import Path

import pytest

from registry.solution_records import Hit, Miss, Request, Solved, Stored
from registry.solution_rows import SOLUTIONS
from registry.solution_store import SolutionStore
from registry.solutions import Library
from registry.tables import Tables
from runtime.ledger.library import JournaledStore
from runtime.ledger.store import Ledger
from tests.fakes.embedding import Letters
from tests.integration.ledger_file import open_ledger

pytestmark = pytest.mark.integration


async def opened(folder: Path) -> tuple[Library, Tables, int]:
    tables = await Tables.open(str(folder), [])
    library = Library(Letters(), store=SolutionStore(tables, 26), rng=random.Random(1))
    return library, tables, await library.open()


async def keep(library: Library, text: str, answer: str) -> str:
    request = Request(text=text, tenant="a")
    found = await library.look_up(request)
    assert isinstance(found, Miss)
    kept = await library.record(Solved(request=request, miss=found, answer=answer, complete=True, verified=True))
    assert isinstance(kept, Stored)
    return kept.solution


async def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    library, tables, _ = await opened(tmp_path)
    first = await keep(library, "what is a monad", "a burrito")
    await keep(library, "what is a lynx", "a cat")
    library.feedback(first, good=False)
    await library.flush()
    gone = await keep(library, "what is an ox", "cattle")
    library.purge(ids=frozenset({gone}))
    await library.flush()
    tables.close()

    again, tables, damaged = await opened(tmp_path)
    assert damaged == 0
    assert again.stats()["solutions"] == 2
    found = await again.look_up(Request(text="what is a lynx", tenant="a"))
    assert isinstance(found, Hit)
    assert found.answer == "a cat"
    suspended = again.show(first)
    assert suspended is not None
    assert suspended.trust.suspended > 0
    assert isinstance(await again.look_up(Request(text="what is a monad", tenant="a")), Miss)
    tables.close()


async def test_a_row_that_cannot_be_read_does_not_take_the_others_away(tmp_path: Path) -> None:
    library, tables, _ = await opened(tmp_path)
    first = await keep(library, "what is a monad", "a burrito")
    await keep(library, "what is a lynx", "a cat")
    await library.flush()
    await tables.update(SOLUTIONS.name, {"trust": "[1, 2"}, where=f"id = '{first}'")
    tables.close()

    again, tables, damaged = await opened(tmp_path)
    assert damaged == 1
    assert again.stats()["solutions"] == 1
    assert isinstance(await again.look_up(Request(text="what is a monad", tenant="a")), Miss)
    tables.close()


def cut(folder: Path, table: str) -> None:
    files = [file for kind in ("data", "_versions") for file in (folder / f"{table}.lance" / kind).glob("*")]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("table", ["solutions", "solution_phrasings_26", "solution_trust"])
async def test_a_truncated_table_is_filled_again_from_the_ledger(tmp_path: Path, table: str) -> None:
    """What was learned of solutions, their phrasings and what trust counted; but nothing that was purged."""

    async def begun() -> tuple[Library, Tables, Ledger]:
        ledger = await open_ledger(tmp_path / "ledger.sqlite")
        tables = await Tables.open(str(tmp_path / "tables"), [])
        library = Library(Letters(), store=JournaledStore(SolutionStore(tables, 26), ledger, 26), rng=random.Random(1))
        assert await library.open() == 0
        return library, tables, ledger

    async def ended(library: Library, tables: Tables, ledger: Ledger) -> None:
        await library.flush()
        tables.close()
        await ledger.close()

    library, tables, ledger = await begun()
    names = ["monad", "lynx", "ox", "quince", "zither"]
    ids = {name: await keep(library, f"what is a {name}", f"a {name}, that is") for name in names}
    await library.flush()
    library.feedback(ids["ox"], good=False)
    library.purge(ids=frozenset({ids["quince"]}))
    learned = library._trust["text"].dump()
    await ended(library, tables, ledger)

    cut(tmp_path / "tables", table)
    for look in range(2):
        library, tables, ledger = await begun()
        assert bool(tables.damaged) is (look == 0)
        if look == 0:
            assert library._trust["text"].dump() == learned
        assert await library.embed_foreign(64) == (3 + 1 if table == "solution_phrasings_26" and look == 0 else 0)
        hits = {name: await library.look_up(Request(text=f"what is a {name}", tenant="a")) for name in names}
        assert [name for name, hit in hits.items() if isinstance(hit, Hit)] == ["monad", "lynx", "zither"]
        missed = await library.dry_run(Request(text="what is a  lynxx", tenant="a"))
        assert isinstance(missed, Miss)
        assert missed.candidates[0].solution == ids["lynx"], "its embedding was made again"
        await ended(library, tables, ledger)


async def test_nothing_to_write_makes_no_version(tmp_path: Path) -> None:
    library, tables, _ = await opened(tmp_path)
    before = tables.commits
    await library.flush()
    await library.look_up(Request(text="what is a monad", tenant="a"))
    await library.flush()
    assert tables.commits == before
    tables.close()
