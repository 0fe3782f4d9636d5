"""The ledger's table of how new programs did with and without a standard: a step of migrations.py."""

from __future__ import annotations

from typing import Final

# First tries at new programs, added up: one row a standard's version and arm.
WRITTEN: Final = """
CREATE TABLE registry_written (
    standard TEXT NOT NULL,
    guided INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    PRIMARY KEY (standard, guided)
) WITHOUT ROWID;
"""
