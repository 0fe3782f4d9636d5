"""How the configuration of a running daemon stands, and what came of reading it again: words of reload.py and the surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ReloadOutcome = Literal["ok", "invalid", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFault:
    """Why a configuration is not used. ``line`` counts from 1; ``more`` are further problems, a sentence each."""

    message: str
    setting: str
    line: int | None
    file: str | None
    at: float
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigStatus:
    """How the configuration of a running daemon stands. ``last_error`` is None once what is in the file holds.

    ``path`` None: there is no file. ``needs_restart`` are settings that the file changed and that do not hold yet.
    """

    path: str | None
    digest: str | None
    loaded_at: float
    reloads: int = 0
    last_error: ConfigFault | None = None
    needs_restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadResult:
    """What came of reading the configuration again. ``changed`` names backends and settings, never values."""

    outcome: ReloadOutcome
    summary: str
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    error: ConfigFault | None = None
