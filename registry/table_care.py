"""What LanceDB's failures mean (damaged, or refused for now), commits that met another one, and the folders that tables live in.

Called by tables.py. Does not import lancedb: its errors are Python's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from registry.records import RegistryDamaged, RegistryUnavailable
from registry.table_specs import Migration

_CONFLICT_TRIES = 5
_NOT_DAMAGE = (
    "no space left",
    "file too large",
    "quota",
    "permission denied",
    "too many open files",
    "timed out",
    "timeout",
    "connect",
)


@asynccontextmanager
async def translated(name: str, *, writing: bool = False) -> AsyncIterator[None]:
    """LanceDB raises RuntimeError for nearly everything. What fails to be read is damaged, unless the words say that the place
    refuses; what fails to be written may succeed later."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        message = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        if writing or any(word in message.lower() for word in _NOT_DAMAGE):
            raise RegistryUnavailable(f"table {name}: {message}") from error
        raise RegistryDamaged(name, message) from error


async def despite_conflicts(commit: Callable[[], Awaitable[Any]]) -> None:
    """Another process (an operator's tool) may commit at the same time; LanceDB then wants the operation done again."""
    for attempt in range(_CONFLICT_TRIES):
        try:
            await commit()
            return
        except RuntimeError as error:
            if "conflict" not in str(error).lower() or attempt == _CONFLICT_TRIES - 1:
                raise
            await asyncio.sleep(0.05 * 2**attempt)


async def migrate(table: Any, step: Migration) -> None:
    """One step; parts of it that were taken before are left out."""
    names = set((await table.schema()).names)
    renamed = [{"path": old, "rename": new} for old, new in step.rename.items() if old in names]
    if renamed:
        await table.alter_columns(*renamed)
    if added := {column: sql for column, sql in step.add.items() if column not in names}:
        await table.add_columns(added)
    if dropped := [column for column in step.drop if column in names]:
        await table.drop_columns(dropped)


def make_folder(folder: Path) -> None:
    """The registry's folder, for nobody else to read. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def set_aside(folder: Path, *, now: float) -> Path:
    """Rename ``folder`` to ``NAME.damaged-TIME``; returns where it is. Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    target, n = folder.with_name(f"{folder.name}.damaged-{stamp}"), 1
    while target.exists():
        target, n = folder.with_name(f"{folder.name}.damaged-{stamp}-{n}"), n + 1
    return folder.rename(target)


def folder_bytes(folder: Path) -> int:
    """What the files under ``folder`` take."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # upkeep removes files while we walk
            continue
    return total
