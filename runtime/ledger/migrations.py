"""The ledger's tables, as numbered steps that are never edited once released.

Called by opening.py on a plain connection before anything else sees the file. Each step and its number (``PRAGMA
user_version``) are one transaction: after a crash the file is at the step before or the step after. Imports nothing of the
project but this room's records.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from runtime.ledger.committee_schema import COMPARISONS
from runtime.ledger.library_schema import LIBRARY_COPIES
from runtime.ledger.patterns_schema import PATTERNS
from runtime.ledger.records import LedgerForeign, LedgerTooNew
from runtime.ledger.registry_schema import WRITTEN
from runtime.ledger.routing_schema import ROUTERS, ROUTING, ROUTING_FACTS
from runtime.ledger.sums_schema import SUMS
from runtime.ledger.topology_schema import CLAIMS, FORGOTTEN, TOPOLOGY

APPLICATION_ID = 0x4D474C31
"""Marks the file as ours ("MGL1"), so that somebody else's database is never taken over."""

# requests.seq gives the order of arrival, which a clock that is set back cannot. Calls and events hang on the outcome by
# request id without foreign keys: an outcome must be kept even if its request row never made it. The two triggers make
# forgetting a request one atomic statement.
_FIRST = """
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE,
    at REAL NOT NULL,
    source TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_name TEXT,
    backend TEXT,
    key_id TEXT,
    streamed INTEGER NOT NULL,
    item_count INTEGER,
    deadline_s REAL,
    body TEXT
);
CREATE INDEX requests_by_time ON requests (at);

CREATE TABLE outcomes (
    request_id TEXT PRIMARY KEY,
    at REAL NOT NULL,
    status TEXT NOT NULL,
    error_code TEXT,
    error_param TEXT,
    error_message TEXT,
    node TEXT,
    strategy TEXT,
    backend TEXT,
    attempts INTEGER NOT NULL,
    finish_reason TEXT,
    latency_s REAL NOT NULL,
    overhead_s REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    simulated INTEGER NOT NULL,
    body TEXT
);
CREATE INDEX outcomes_by_time ON outcomes (at);

CREATE TABLE calls (
    request_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    backend TEXT NOT NULL,
    model TEXT NOT NULL,
    started_at REAL NOT NULL,
    latency_s REAL NOT NULL,
    first_token_s REAL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    cost_usd REAL NOT NULL,
    attempt INTEGER NOT NULL,
    error TEXT,
    detail TEXT,
    simulated INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    PRIMARY KEY (request_id, ordinal)
) WITHOUT ROWID;
CREATE INDEX calls_by_time ON calls (started_at);

CREATE TABLE events (
    request_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT,
    PRIMARY KEY (request_id, ordinal)
) WITHOUT ROWID;

CREATE TABLE nodes (
    node_id TEXT PRIMARY KEY,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    at REAL NOT NULL
);

CREATE TABLE keys (
    key_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('client', 'operator')),
    digest BLOB NOT NULL,
    created_at REAL NOT NULL,
    revoked_at REAL
);

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TRIGGER forget_outcome AFTER DELETE ON requests BEGIN
    DELETE FROM outcomes WHERE request_id = OLD.request_id;
END;
CREATE TRIGGER forget_details AFTER DELETE ON outcomes BEGIN
    DELETE FROM calls WHERE request_id = OLD.request_id;
    DELETE FROM events WHERE request_id = OLD.request_id;
END;
"""

# Durable work. The request of a job and its reply are kept whole (what is promised must be doable after a crash), apart from the
# clipped texts of the trace. job_parts holds each item of a batch once: parts never overlap.
_JOBS = """
CREATE TABLE jobs (
    request_id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'partial', 'failed', 'cancelled')),
    at REAL NOT NULL,
    updated_at REAL NOT NULL,
    deadline_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    total INTEGER,
    done INTEGER NOT NULL DEFAULT 0,
    request TEXT NOT NULL,
    reply TEXT,
    key_id TEXT,
    calls INTEGER NOT NULL DEFAULT 0,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0.0,
    simulated INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_open ON jobs (at) WHERE state IN ('queued', 'running');

CREATE TABLE job_parts (
    request_id TEXT NOT NULL,
    first INTEGER NOT NULL,
    item_count INTEGER NOT NULL,
    items TEXT NOT NULL,
    frame TEXT,
    issues TEXT,
    complete INTEGER NOT NULL,
    PRIMARY KEY (request_id, first)
) WITHOUT ROWID;

CREATE TABLE job_events (
    request_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (request_id, seq)
) WITHOUT ROWID;

CREATE TABLE feedback (
    request_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    at REAL NOT NULL,
    score REAL NOT NULL,
    comment TEXT NOT NULL,
    PRIMARY KEY (request_id, key_id)
) WITHOUT ROWID;

CREATE TABLE replies (
    key_id TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    at REAL NOT NULL,
    request_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    headers TEXT NOT NULL,
    body BLOB,
    PRIMARY KEY (key_id, key)
);
CREATE INDEX replies_by_time ON replies (at);

CREATE TRIGGER forget_job AFTER DELETE ON requests BEGIN
    DELETE FROM jobs WHERE request_id = OLD.request_id;
    DELETE FROM job_parts WHERE request_id = OLD.request_id;
    DELETE FROM job_events WHERE request_id = OLD.request_id;
    DELETE FROM feedback WHERE request_id = OLD.request_id;
END;
"""

# How good the answer was, 0 to 1, who said so, and the checks as JSON; NULL for rows of before and where there was no answer.
_QUALITY = """
ALTER TABLE outcomes ADD COLUMN quality_score REAL;
ALTER TABLE outcomes ADD COLUMN quality_source TEXT;
ALTER TABLE outcomes ADD COLUMN quality_checks TEXT;
"""

# usd_pico is money in 10^-12 USD: whole numbers, so that sums over a day are exact. key_id '' stands for callers without a key.
_SPEND = """
CREATE TABLE spend (
    day INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    usd_pico INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (day, key_id)
) WITHOUT ROWID;
ALTER TABLE requests ADD COLUMN reserved_usd_pico INTEGER;
ALTER TABLE requests ADD COLUMN reserved_tokens INTEGER;
ALTER TABLE keys ADD COLUMN usd_per_day REAL;
ALTER TABLE keys ADD COLUMN tokens_per_day INTEGER;
"""

# What the registry publishes, append-only: a whole row of one of its tables each, the newest of a key counts. A version is put
# once and for all. Executions are rows until they are folded into the sums.
_REGISTRY = """
CREATE TABLE registry_journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    tbl TEXT NOT NULL,
    key TEXT NOT NULL,
    row TEXT NOT NULL
);
CREATE INDEX registry_journal_by_key ON registry_journal (tbl, key, seq);
CREATE UNIQUE INDEX registry_versions_once ON registry_journal (key) WHERE tbl = 'versions';

CREATE TABLE registry_runs (
    id INTEGER PRIMARY KEY,
    version_id TEXT NOT NULL,
    node TEXT NOT NULL,
    at REAL NOT NULL,
    ok INTEGER NOT NULL,
    latency_s REAL NOT NULL,
    log_latency REAL NOT NULL,
    quality REAL
);
CREATE INDEX registry_runs_by_version ON registry_runs (version_id);

CREATE TABLE registry_usage (
    version_id TEXT PRIMARY KEY,
    runs INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    latency_sum_s REAL NOT NULL,
    log_latency_sum REAL NOT NULL,
    log_latency_squares REAL NOT NULL,
    quality_runs INTEGER NOT NULL,
    quality_sum REAL NOT NULL,
    quality_squares REAL NOT NULL,
    first_at REAL NOT NULL,
    last_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE registry_users (
    version_id TEXT NOT NULL,
    node TEXT NOT NULL,
    runs INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    last_at REAL NOT NULL,
    PRIMARY KEY (version_id, node)
) WITHOUT ROWID;

CREATE TABLE registry_days (
    day INTEGER PRIMARY KEY,
    runs INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    quality_runs INTEGER NOT NULL,
    quality_sum REAL NOT NULL
);
"""

# One question to a person a request. It goes with its request; request, partial and answer are JSON.
_ESCALATIONS = """
CREATE TABLE escalations (
    escalation_id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL,
    state TEXT NOT NULL,
    at REAL NOT NULL,
    reason TEXT NOT NULL,
    request TEXT NOT NULL,
    partial TEXT,
    answer TEXT,
    comment TEXT NOT NULL,
    ended_at REAL
);
CREATE INDEX escalations_by_time ON escalations (state, at);
CREATE INDEX escalations_by_request ON escalations (request_id);

CREATE TRIGGER forget_escalation AFTER DELETE ON requests BEGIN
    DELETE FROM escalations WHERE request_id = OLD.request_id;
END;
"""

# What the library learned since its tables were last written, in order; and, of an outcome, what the library had to do with it.
_LIBRARY = """
CREATE TABLE library_journal (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    row TEXT NOT NULL
);
ALTER TABLE outcomes ADD COLUMN library TEXT;
"""

_FIRST_NINE = (_FIRST, _JOBS, _QUALITY, _SPEND, _REGISTRY, _ESCALATIONS, ROUTING, SUMS, WRITTEN)
_NEXT = (_LIBRARY, ROUTING_FACTS, ROUTERS, COMPARISONS, TOPOLOGY, PATTERNS, FORGOTTEN, LIBRARY_COPIES, CLAIMS)
MIGRATIONS: tuple[tuple[int, str], ...] = tuple(enumerate((*_FIRST_NINE, *_NEXT), start=1))


def version_of(connection: sqlite3.Connection) -> int:
    """The number of the last step that the file has seen; 0 for a new file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, steps: Sequence[tuple[int, str]] = MIGRATIONS) -> int:
    """Bring the file to the newest step; returns how many steps were applied. Idempotent.

    Raises LedgerTooNew for a file of a newer program, LedgerForeign for a database that is not a ledger; either way the
    file is as it was.
    """
    found, known = version_of(connection), steps[-1][0]
    if int(connection.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION_ID:
        tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        if found or tables:
            raise LedgerForeign("the file is a SQLite database, but not a Morphogen ledger; it was left as it is")
    if found > known:
        raise LedgerTooNew(
            f"the ledger has version {found} and this Morphogen understands up to {known}: install the newer Morphogen again, "
            "or point data.dir at another folder",
            found=found,
            known=known,
        )
    due = [(number, sql) for number, sql in steps if number > found]
    for number, sql in due:
        stamp = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};"
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n{stamp}\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return len(due)
