"""The ledger's numbered steps: atomic, idempotent, and never over a file that is not ours or newer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from runtime.ledger.migrations import APPLICATION_ID, MIGRATIONS, migrate, version_of
from runtime.ledger.records import LedgerForeign, LedgerTooNew


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_numbers_rise_by_one() -> None:
    assert [number for number, _ in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_a_new_file_gets_every_table_once(connection: sqlite3.Connection) -> None:
    assert migrate(connection) == len(MIGRATIONS)
    assert {"requests", "outcomes", "calls", "events", "nodes", "keys", "meta"} <= tables(connection)
    assert version_of(connection) == MIGRATIONS[-1][0]
    assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    assert migrate(connection) == 0


def test_only_the_missing_steps_run_and_data_stays(connection: sqlite3.Connection) -> None:
    migrate(connection)
    connection.execute("INSERT INTO meta VALUES ('kept', 'yes')")
    later = (*MIGRATIONS, (MIGRATIONS[-1][0] + 1, "CREATE TABLE more (x INTEGER);"))
    assert migrate(connection, later) == 1
    assert "more" in tables(connection)
    assert connection.execute("SELECT value FROM meta").fetchone() == ("yes",)


def test_a_journal_that_was_there_before_its_size_was_counted_is_measured(connection: sqlite3.Connection) -> None:
    migrate(connection, MIGRATIONS[:7])
    add = "INSERT INTO registry_journal (at, tbl, key, row) VALUES (1, 'versions', ?, ?)"
    connection.execute(add, ("a", "x" * 10_000))
    migrate(connection)
    (before,) = connection.execute("SELECT bytes FROM journal_size").fetchone()
    connection.execute(add, ("b", "x" * 10_000))
    (after,) = connection.execute("SELECT bytes FROM journal_size").fetchone()
    assert after == 2 * before > 20_000


def test_a_step_that_fails_leaves_no_trace(connection: sqlite3.Connection) -> None:
    migrate(connection)
    before = version_of(connection)
    broken = (*MIGRATIONS, (before + 1, "CREATE TABLE half (x INTEGER); CREATE TABLE half (y INTEGER);"))
    with pytest.raises(sqlite3.Error):
        migrate(connection, broken)
    assert version_of(connection) == before
    assert "half" not in tables(connection)
    assert not connection.in_transaction


def test_a_newer_file_is_refused_untouched(connection: sqlite3.Connection) -> None:
    migrate(connection)
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerTooNew) as caught:
        migrate(connection)
    assert (caught.value.found, caught.value.known) == (99, MIGRATIONS[-1][0])
    assert version_of(connection) == 99


def test_somebody_elses_database_is_refused(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE photos (x INTEGER)")
    with pytest.raises(LedgerForeign):
        migrate(connection)
    assert tables(connection) == {"photos"}


def test_forgetting_a_request_takes_its_details_along(connection: sqlite3.Connection) -> None:
    migrate(connection)
    for name in ("a", "b"):
        connection.execute(
            "INSERT INTO requests (request_id, at, source, target_kind, streamed) VALUES (?, 1, 'mock', 'auto', 0)", (name,)
        )
        connection.execute(
            "INSERT INTO outcomes (request_id, at, status, attempts, latency_s, overhead_s, prompt_tokens, completion_tokens,"
            " estimated, cost_usd, simulated) VALUES (?, 1, 'ok', 1, 0, 0, 0, 0, 0, 0, 0)",
            (name,),
        )
        connection.execute("INSERT INTO events VALUES (?, 0, 'note', 1, NULL)", (name,))
    connection.execute("DELETE FROM requests WHERE request_id = 'a'")
    for table in ("outcomes", "events"):
        assert connection.execute(f"SELECT request_id FROM {table}").fetchall() == [("b",)]
