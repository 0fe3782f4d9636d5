"""The ledger's tables of the network's shape: a step of migrations.py."""

from __future__ import annotations

from typing import Final

# nodes is the shape as it is; members adds what a NodeSpec does not say, and keeps its row when a node goes (lifetime caps).
# A revision holds its steps (what was and what is, as JSON), so that every past shape can be worked out backwards from the
# present one; its digest covers the one before it. proposal_moves is who decided what, when, over which digest. A step that has
# begun has a row, without finished_at.
TOPOLOGY: Final = """
CREATE TABLE members (
    node_id TEXT PRIMARY KEY,
    line TEXT NOT NULL,
    patterns TEXT NOT NULL,
    born_at REAL NOT NULL,
    born_of TEXT
);

CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    proposal_id TEXT,
    reason TEXT NOT NULL,
    steps TEXT NOT NULL,
    digest TEXT NOT NULL
);
CREATE INDEX revisions_by_proposal ON revisions (proposal_id);

CREATE TABLE proposals (
    proposal_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    status TEXT NOT NULL,
    digest TEXT NOT NULL,
    base_revision INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    until REAL,
    applied_at REAL,
    extended INTEGER NOT NULL,
    note TEXT NOT NULL,
    draft TEXT NOT NULL,
    plan TEXT NOT NULL,
    measured TEXT
);
CREATE INDEX proposals_by_status ON proposals (status, created_at);
CREATE INDEX proposals_by_time ON proposals (created_at);

CREATE TABLE proposal_moves (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    proposal_id TEXT NOT NULL,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    was TEXT,
    became TEXT NOT NULL,
    digest TEXT NOT NULL,
    why TEXT NOT NULL
);
CREATE INDEX proposal_moves_by_proposal ON proposal_moves (proposal_id, seq);

CREATE TABLE approvals (
    proposal_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    who TEXT NOT NULL,
    at REAL NOT NULL,
    consumed_at REAL
) WITHOUT ROWID;

CREATE TABLE proposal_steps (
    proposal_id TEXT NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('apply', 'undo', 'finish')),
    ordinal INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    begun_at REAL NOT NULL,
    finished_at REAL,
    error TEXT,
    PRIMARY KEY (proposal_id, phase, ordinal)
) WITHOUT ROWID;

CREATE TABLE hold_backs (
    key TEXT PRIMARY KEY,
    until REAL NOT NULL,
    reason TEXT NOT NULL,
    who TEXT NOT NULL,
    times INTEGER NOT NULL
) WITHOUT ROWID;
"""

# What was forgotten of the past (topology_trim.py): the shape at the newest revision that is gone, as the steps that make it of
# nothing; its digest is the one that the next revision's covers. lost_descendants: of each node, how many had it as an ancestor
# whose own rows are gone.
FORGOTTEN: Final = """
CREATE TABLE revision_base (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    at REAL NOT NULL,
    digest TEXT NOT NULL,
    shape TEXT NOT NULL
);

CREATE TABLE lost_descendants (
    node_id TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX members_by_origin ON members (born_of);
"""

# Requests that a specialist's routine claimed, and whether they were held out: went on as if it were not there
# (runtime/topology/claims.py). And the names of those that a member took the place of.
CLAIMS: Final = """
ALTER TABLE members ADD COLUMN also TEXT NOT NULL DEFAULT '[]';

CREATE TABLE claims (
    request_id TEXT PRIMARY KEY,
    at REAL NOT NULL,
    node TEXT NOT NULL,
    held INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX claims_by_time ON claims (at);
CREATE TRIGGER forget_claim AFTER DELETE ON outcomes BEGIN
    DELETE FROM claims WHERE request_id = OLD.request_id;
END;
"""
