"""What a table looks like, as data: columns, key, schema version, the steps from older versions, and literals for its filters.

Called by whoever declares tables (catalog_rows.py, solutions.py) and by tables.py, which makes them real. Imports nothing of the
project and no library of tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Scalar = Literal["text", "int", "float", "bool", "texts"]


@dataclass(frozen=True, slots=True)
class Vector:
    """A column of ``dimension`` float32; a row may have none."""

    dimension: int


Column = Scalar | Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step from schema version ``to - 1``. ``add``: column -> SQL expression over the old columns that fills it.

    Applied in the order rename, add, drop; each part is skipped where it is done already, so that a step that was cut off can be
    taken again.
    """

    to: int
    add: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table. ``key`` names the text column that identifies a row; ``words`` the text column with a full-text index.

    ``version`` is the schema's number; ``migrations`` lead to it. ``retention_s`` is how long the table's own old versions are
    kept (None: what the operator configured).
    """

    name: str
    key: str
    columns: Mapping[str, Column]
    version: int = 1
    migrations: tuple[Migration, ...] = ()
    words: str | None = None
    retention_s: float | None = None

    def __post_init__(self) -> None:
        assert self.columns.get(self.key) == "text"
        assert [step.to for step in self.migrations] == list(range(2, self.version + 1))


def quoted(text: str) -> str:
    """``text`` as a literal of a filter; nothing in it can end the literal."""
    return "'" + text.replace("\x00", "").replace("'", "''") + "'"


def any_of(column: str, values: Iterable[str]) -> str:
    """A filter that holds where ``column`` is one of ``values``; with none of them it never holds."""
    listed = ", ".join(quoted(value) for value in values)
    return f"{column} IN ({listed})" if listed else "false"


def all_of(*conditions: str) -> str:
    """Filters joined by AND; empty ones are left out."""
    return " AND ".join(f"({condition})" for condition in conditions if condition)
