"""The ledger's table of comparisons: a step of migrations.py, never edited once released. Imports nothing."""

from __future__ import annotations

from typing import Final

# How a committee's answer did beside that of the best other way (runtime/committees/compare.py: ComparisonRow); it goes with its
# request.
COMPARISONS: Final = """
CREATE TABLE committee_comparisons (
    request_id TEXT PRIMARY KEY,
    other_id TEXT NOT NULL,
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    why TEXT NOT NULL,
    other_strategy TEXT NOT NULL,
    other_backend TEXT NOT NULL,
    committee_usd REAL NOT NULL,
    other_usd REAL NOT NULL,
    judge_usd REAL NOT NULL,
    committee_s REAL NOT NULL,
    other_s REAL NOT NULL,
    committee_tokens INTEGER NOT NULL,
    other_tokens INTEGER NOT NULL,
    simulated INTEGER NOT NULL
);
CREATE INDEX committee_comparisons_by_time ON committee_comparisons (at);

CREATE TRIGGER forget_comparison AFTER DELETE ON requests BEGIN
    DELETE FROM committee_comparisons WHERE request_id = OLD.request_id;
END;
"""
