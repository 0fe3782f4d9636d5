"""The ledger's tables of learned routing: a step of migrations.py."""

from __future__ import annotations

from typing import Final

# A decision with what came of it; it goes with its request. candidates is JSON, a list for each (columns: learner/records.py).
# score is what all verdicts come to, weight what they count for together (0 to 1).
ROUTING: Final = """
CREATE TABLE decisions (
    decision_id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL,
    at REAL NOT NULL,
    strategy TEXT NOT NULL,
    node TEXT NOT NULL,
    backend TEXT NOT NULL,
    propensity REAL NOT NULL,
    way TEXT NOT NULL,
    reason TEXT NOT NULL,
    per_usd REAL NOT NULL,
    regret REAL NOT NULL,
    candidates TEXT NOT NULL,
    experiment_id TEXT,
    grp TEXT NOT NULL,
    status TEXT NOT NULL,
    served_by TEXT NOT NULL,
    cost_usd REAL NOT NULL,
    latency_s REAL NOT NULL,
    score REAL,
    weight REAL NOT NULL,
    source TEXT NOT NULL,
    simulated INTEGER NOT NULL
);
CREATE INDEX decisions_by_time ON decisions (at);
CREATE INDEX decisions_by_request ON decisions (request_id);

CREATE TRIGGER forget_decisions AFTER DELETE ON requests BEGIN
    DELETE FROM decisions WHERE request_id = OLD.request_id;
END;

CREATE TABLE experiments (
    experiment_id TEXT PRIMARY KEY,
    stage TEXT NOT NULL,
    plan TEXT NOT NULL,
    changes TEXT NOT NULL,
    state TEXT NOT NULL,
    shadow TEXT,
    ruling TEXT,
    note TEXT NOT NULL,
    updated_at REAL NOT NULL
);
"""

# What the request looked like, as numbers in the order of routing/features.py; JSON, NULL for decisions of before.
ROUTING_FACTS: Final = "ALTER TABLE decisions ADD COLUMN facts TEXT;"

# What generated routers are shown of a request (routing/generated.py: FEATURES; JSON), which one named an arm, and which of its
# steps. A round is one attempt to write a better router; data is JSON (routers/records.py).
ROUTERS: Final = """
ALTER TABLE decisions ADD COLUMN features TEXT;
ALTER TABLE decisions ADD COLUMN router TEXT NOT NULL DEFAULT '';
ALTER TABLE decisions ADD COLUMN step TEXT NOT NULL DEFAULT '';

CREATE TABLE router_rounds (
    round_id TEXT PRIMARY KEY,
    at REAL NOT NULL,
    stage TEXT NOT NULL,
    version TEXT NOT NULL,
    parent TEXT NOT NULL,
    prompt TEXT NOT NULL,
    note TEXT NOT NULL,
    data TEXT NOT NULL,
    updated_at REAL NOT NULL
);
CREATE INDEX router_rounds_by_time ON router_rounds (at);
"""
