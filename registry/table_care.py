"""What LanceDB's failures mean (damaged, or refused for now), commits that met another one, and the folders that tables live in.

Called by tables.py. Does not import lancedb: its errors are Python's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
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


class translated:
    """Around every call: what LanceDB raises becomes an error of the registry.

    It raises RuntimeError for nearly everything, ValueError for files that make no sense, and RustPanic (which nobody can import)
    where it was surprised itself. What fails to be read is damaged, unless the words say that the place refuses; what fails to be
    written may succeed later. A ValueError of a reader outside ``opening`` may be about the question, and damns no table.
    """

    def __init__(self, name: str, *, writing: bool = False, opening: bool = False) -> None:
        self._name, self._writing, self._opening = name, writing, opening

    async def __aenter__(self) -> None:
        """Nothing to do."""

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        puzzled = isinstance(error, ValueError)
        if error is None or not (puzzled or isinstance(error, RuntimeError | OSError) or type(error).__name__ == "RustPanic"):
            return
        message = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        refused = any(word in message.lower() for word in _NOT_DAMAGE)
        if self._writing or refused or (puzzled and not self._opening):
            raise RegistryUnavailable(f"table {self._name}: {message}") from error
        raise RegistryDamaged(self._name, message) from error


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
