"""The ledger's tables of patterns: a step of migrations.py."""

from __future__ import annotations

from typing import Final

# pattern_state has one row: what belongs to all of them, and from which number on ids are free for sure. pattern_window is the
# window of requests that patterns are found in; a row there outlives its request. Vectors are float16.
PATTERNS: Final = """
CREATE TABLE pattern_state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    model TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    clustered INTEGER NOT NULL,
    next_id INTEGER NOT NULL
);
CREATE TABLE patterns (
    pattern INTEGER PRIMARY KEY,
    row TEXT NOT NULL,
    centroid BLOB NOT NULL
);
CREATE TABLE pattern_window (
    slot INTEGER PRIMARY KEY,
    stamp INTEGER NOT NULL,
    label INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB NOT NULL
);
CREATE TABLE pattern_requests (
    request_id TEXT PRIMARY KEY,
    pattern TEXT NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER forget_pattern AFTER DELETE ON requests BEGIN
    DELETE FROM pattern_requests WHERE request_id = OLD.request_id;
END;
"""
