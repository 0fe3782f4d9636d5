"""What was learned, as one file of the data folder: written whole or not at all, read back at start.

Called by desk.py. A line of JSON (what is not the learner's), then the learner's own bytes (routing/state.py). A file that cannot
be read is set aside under another name, never deleted.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.routing import state
from runtime.routing.bandit import Learner
from runtime.routing.records import RoutingError
from runtime.routing.settings import LearnerSettings

log = logging.getLogger(__name__)

FILE = "learned.bin"
MOST_HEADER_BYTES = 4 * 2**20
MOST_FILE_BYTES = 260 * 2**20


class Unreadable(Exception):
    """The file is there and makes no sense; ``aside`` is where it was put."""

    def __init__(self, message: str, aside: Path) -> None:
        super().__init__(message)
        self.aside = aside


def write(folder: Path, header: Mapping[str, Any], learner: bytes) -> None:
    """Durable on return. Raises OSError; the file that was there is then as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{FILE}.new"
    with temporary.open("wb") as out:
        out.write(json.dumps(header, separators=(",", ":")).encode() + b"\n")
        out.write(learner)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(folder / FILE)


def taken_up(folder: Path, settings: LearnerSettings, rng: np.random.Generator) -> tuple[dict[str, Any], Learner] | None:
    """(header, learner) as they were left; None where nothing was, or where it cannot be read, which is logged."""
    try:
        found = read(folder)
        if found is None:
            return None
        header, learned = found
        return header, state.load(learned, settings, rng=rng)
    except RoutingError as error:
        log.error("what was learned of routing is set aside as %s: %s", set_aside(folder), error)
    except Unreadable as error:
        log.error("what was learned of routing is set aside as %s: %s", error.aside, error)
    except OSError as error:
        log.error("what was learned of routing cannot be read: %s", error)
    return None


def read(folder: Path) -> tuple[dict[str, Any], bytes] | None:
    """(header, learner's bytes); None where there is no file. Raises Unreadable, OSError."""
    path = folder / FILE
    if not path.exists():
        return None
    if path.stat().st_size > MOST_FILE_BYTES:
        raise Unreadable("the file of what was learned is too large", set_aside(folder))
    with path.open("rb") as file:
        line = file.readline(MOST_HEADER_BYTES)
        try:
            header = json.loads(line)
        except ValueError as error:
            raise Unreadable(f"the file of what was learned cannot be read: {error}", set_aside(folder)) from error
        if not isinstance(header, dict):
            raise Unreadable("the file of what was learned cannot be read", set_aside(folder))
        return header, file.read()


def set_aside(folder: Path) -> Path:
    """Give the file another name, the first that is free."""
    path = folder / FILE
    aside = next(p for number in range(10_000) if not (p := path.with_suffix(f".damaged-{number}")).exists())
    path.replace(aside)
    return aside
