"""The library over a restart, on real tables: what was flushed is there, what trust had learned too, and damage is survived."""

import random
from pathlib import Path

import pytest

from registry.solution_records import Hit, Miss, Request, Solved, Stored
from registry.solution_rows import SOLUTIONS
from registry.solution_store import SolutionStore
from registry.solutions import Library
from registry.tables import Tables
from tests.fakes.embedding import Letters

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


async def test_nothing_to_write_makes_no_version(tmp_path: Path) -> None:
    library, tables, _ = await opened(tmp_path)
    before = tables.commits
    await library.flush()
    await library.look_up(Request(text="what is a monad", tenant="a"))
    await library.flush()
    assert tables.commits == before
    tables.close()
