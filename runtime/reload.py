"""Follows ``morphogen.toml``: notices a change, reads it, has it applied, and remembers what came of it.

The daemon runs ``watch``; SIGHUP and ``POST /v1/config/reload`` call ``reload``. What a change means is reload_plan.py's to say,
what has to be done live.py's. An invalid file changes nothing, whatever the reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agents.records import AgentError
from runtime.config.file import MAX_FILE_BYTES, ConfigError, LoadedConfig, Problem, find, setting_line
from runtime.config.settings import Settings
from runtime.config.status import ConfigFault, ConfigStatus, ReloadOutcome, ReloadResult
from runtime.reload_plan import ReloadPlan, plan

log = logging.getLogger(__name__)

POLL_S = 1.0
"""How often the file is looked at. It is small: reading it costs less than to be fooled by a time stamp."""
SETTLE_S = 0.3
"""A file that changed is read when it has been the same for so long: editors and copies write in pieces."""
MAX_SETTLES = 20
EMPTY = hashlib.sha256(b"").hexdigest()

Read = Callable[[Path | None], LoadedConfig]
"""Reads a configuration as the start did, flags included. Raises ConfigError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSource:
    """What a daemon started with, and how to read it again. ``read`` None: it was built from settings alone, in a test."""

    loaded: LoadedConfig
    read: Read | None = None


class Counters(Protocol):
    """What this room needs of ``runtime.metrics.Metrics``."""

    def config_reloaded(self, outcome: ReloadOutcome, *, at: float) -> None: ...


class Reloader:
    """The configuration of one running daemon. ``apply`` raises ConfigError or AgentError where a plan cannot hold."""

    def __init__(
        self,
        *,
        source: ConfigSource,
        running: Callable[[], Settings],
        apply: Callable[[ReloadPlan], Awaitable[None]],
        metrics: Counters,
        poll_s: float = POLL_S,
        settle_s: float = SETTLE_S,
        wall: Callable[[], float] = time.time,
    ) -> None:
        loaded = source.loaded
        self._read = source.read
        self._running = running
        self._apply = apply
        self._metrics = metrics
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._wall = wall
        self._lock = asyncio.Lock()
        self._path = loaded.path.absolute() if loaded.path else None
        self._digest = loaded.digest
        self._seen = loaded.digest
        self._loaded_at = wall()
        self._reloads = 0
        self._needs_restart: tuple[str, ...] = ()
        self._fault: ConfigFault | None = None

    def status(self) -> ConfigStatus:
        """How the configuration stands."""
        return ConfigStatus(
            path=str(self._path) if self._path else None,
            digest=self._digest,
            loaded_at=self._loaded_at,
            reloads=self._reloads,
            last_error=self._fault,
            needs_restart=self._needs_restart,
        )

    async def watch(self) -> None:
        """Reload whenever the file has changed. Until cancelled; without a file, the default places are looked at."""
        while self._read is not None:
            await asyncio.sleep(self._poll_s)
            digest = await asyncio.to_thread(self._look)
            if digest == self._seen:
                continue
            for _ in range(MAX_SETTLES):
                before = digest
                await asyncio.sleep(self._settle_s)
                digest = await asyncio.to_thread(self._look)
                if digest == before:
                    break
            if digest != self._seen:
                await self.reload()

    def _look(self) -> str | None:
        """The digest of the file as it is; None where there is none."""
        try:
            path = self._path or find(None, env=os.environ)
        except (ConfigError, OSError):
            return None
        return digest_of(path) if path is not None else None

    async def reload(self) -> ReloadResult:
        """Read the file and let it hold, or say why not. One at a time; never raises for what is in the file."""
        if self._read is None:
            return ReloadResult(outcome="unchanged", summary="this daemon was not started from a configuration file")
        async with self._lock:
            self._seen = await asyncio.to_thread(self._look)
            loaded: LoadedConfig | None = None
            try:
                loaded = await asyncio.to_thread(self._read, self._path)
                if loaded.digest == EMPTY != self._digest:  # an editor that has not written yet, or a disk that is full
                    raise ConfigError((Problem(setting="", message="the file is empty", path=loaded.path),))
                todo = plan(self._running(), loaded.settings)
                if not todo.is_empty:
                    await self._apply(todo)
            except ConfigError as error:
                return self._refused(error.problems)
            except AgentError as error:
                return self._refused((_problem(error, loaded),))
            except OSError as error:  # a folder on the way that may not be read
                return self._refused((Problem(setting="", message=f"cannot be read: {error.strerror}", path=self._path),))
            return self._taken(loaded, todo)

    def _taken(self, loaded: LoadedConfig, todo: ReloadPlan) -> ReloadResult:
        outcome: ReloadOutcome = "unchanged" if todo.is_empty and todo.needs_restart == self._needs_restart else "ok"
        self._path = loaded.path.absolute() if loaded.path else None
        self._digest, self._fault, self._needs_restart = loaded.digest, None, todo.needs_restart
        self._loaded_at = self._wall()
        self._reloads += outcome == "ok"
        self._metrics.config_reloaded(outcome, at=self._loaded_at)
        log.warning("configuration read again from %s: %s", self._path or "the environment", todo.sentence())
        for warning in loaded.warnings:
            log.warning("configuration: %s", warning)
        return ReloadResult(
            outcome=outcome,
            summary=todo.sentence(),
            needs_restart=todo.needs_restart,
            changed=(*todo.added, *todo.removed, *todo.changed),
        )

    def _refused(self, problems: tuple[Problem, ...]) -> ReloadResult:
        now = self._wall()
        first = problems[0]
        self._fault = ConfigFault(
            message=first.message,
            setting=first.setting,
            line=first.line,
            file=str(first.path) if first.path else None,
            at=now,
            more=tuple(str(problem) for problem in problems[1:]),
        )
        self._metrics.config_reloaded("invalid", at=now)
        log.error("the changed configuration is not used, the one before goes on: %s", "; ".join(map(str, problems)))
        return ReloadResult(outcome="invalid", summary=str(first), needs_restart=self._needs_restart, error=self._fault)


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file's content (of its first bytes, where it is too large to be valid); None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(MAX_FILE_BYTES + 1)).hexdigest()
    except OSError:
        return None


def _problem(error: AgentError, loaded: LoadedConfig | None) -> Problem:
    """What kept valid settings from being used, on the line of the setting where that is known."""
    setting = error.param or (f"backends.{error.backend}" if error.backend else "")
    line = setting_line(loaded, setting) if loaded is not None else None
    return Problem(setting=setting, message=error.message, line=line, path=loaded.path if loaded is not None else None)
