"""The ledger's copy of what the library keeps in its tables, so that a table that cannot be read is filled again. One step."""

from __future__ import annotations

# ``trust`` is what is thought of a solution, which changes often; ``row`` never does. Forgetting requests does not make it
# smaller, so that it is counted as the registry's journal is (retention.py).
LIBRARY_COPIES = """
CREATE TABLE library_copies (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    row TEXT NOT NULL,
    trust TEXT,
    PRIMARY KEY (kind, key)
);

CREATE TRIGGER measure_copy AFTER INSERT ON library_copies BEGIN
    UPDATE journal_size SET bytes = bytes + length(NEW.row) * 9 / 8 + 300;
END;

CREATE TRIGGER measure_gone_copy AFTER DELETE ON library_copies BEGIN
    UPDATE journal_size SET bytes = max(0, bytes - length(OLD.row) * 9 / 8 - 300);
END;
"""
