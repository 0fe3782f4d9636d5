"""What a changed configuration means for a running daemon: what changes now, and what waits for a restart. Pure.

Called by reload.py. A setting that ``LIVE`` does not name needs a restart: a new one is safe before somebody makes it live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from runtime.config.settings import BackendSettings, Settings

WHOLE = frozenset({"*"})
LIVE: Mapping[str, frozenset[str]] = {
    "server": frozenset({"max_body_bytes", "max_json_depth", "drain_s", "require_client_key", "max_inflight"}),
    "cluster": frozenset({"node_attempts", "max_hops"}),
    "backends": WHOLE,
    "retry": WHOLE,
    "breaker": WHOLE,
    "requests": WHOLE,
    "budget": WHOLE,
    "jobs": WHOLE,
    "routing": WHOLE,
    "routers": WHOLE,
    "observe": WHOLE,
    "simulated": WHOLE,
    "sandbox": WHOLE,
    "strategies": WHOLE,
}
"""Section -> its settings that a reload applies. They are read where they are used, or handed on by live.py."""

MAX_NAMED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadPlan:
    """``settings`` are what holds afterwards: the new ones where they are live, the running ones elsewhere.

    ``added`` and ``removed`` are names of backends; ``changed`` and ``needs_restart`` are settings with their section, never
    their values, because a value may be a secret.
    """

    settings: Settings
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing changes now."""
        return not (self.added or self.removed or self.changed)

    def sentence(self) -> str:
        """What changes, for people."""
        parts = [
            f"backends added: {', '.join(self.added)}" if self.added else "",
            f"backends removed: {', '.join(self.removed)}" if self.removed else "",
            f"changed: {_listed(self.changed)}" if self.changed else "",
            f"needs a restart: {_listed(self.needs_restart)}" if self.needs_restart else "",
        ]
        return "; ".join(filter(None, parts)) or "nothing changed"


def plan(running: Settings, new: Settings) -> ReloadPlan:
    """What to do when ``new`` is to hold and ``running`` holds."""
    taken: dict[str, Any] = {}
    changed: list[str] = []
    restart: list[str] = []
    for section in type(new).model_fields:
        before, after = getattr(running, section), getattr(new, section)
        if before == after:
            continue
        live = LIVE.get(section, frozenset())
        if section == "backends":
            changed += _backend_changes(before, after)
            taken[section] = after
        elif live == WHOLE:
            changed += _differences(section, before, after)
            taken[section] = after
        else:
            differences = _differences(section, before, after)
            now = {name for name in live if f"{section}.{name}" in differences}
            changed += [name for name in differences if name.rpartition(".")[2] in now]
            restart += [name for name in differences if name.rpartition(".")[2] not in now]
            if now:
                taken[section] = before.model_copy(update={name: getattr(after, name) for name in now})
    old_names, new_names = _names(running), _names(new)
    return ReloadPlan(
        settings=running.model_copy(update=taken),
        added=tuple(name for name in new_names if name not in old_names),
        removed=tuple(name for name in old_names if name not in new_names),
        changed=tuple(changed),
        needs_restart=tuple(restart),
    )


def _names(settings: Settings) -> list[str]:
    return [backend.name for backend in settings.backends]


def _backend_changes(before: tuple[BackendSettings, ...], after: tuple[BackendSettings, ...]) -> Iterator[str]:
    known = {backend.name: backend for backend in before}
    for backend in after:
        if backend.name in known:
            yield from _differences(f"backends.{backend.name}", known[backend.name], backend)
    kept = {backend.name for backend in after}
    if [b.name for b in before if b.name in kept] != [b.name for b in after if b.name in known]:
        yield "backends (their order)"


def _differences(where: str, before: Any, after: Any) -> list[str]:
    """Dotted names of what differs between two sections, or between two tables of names."""
    if isinstance(before, BaseModel):
        return [f"{where}.{name}" for name in type(before).model_fields if getattr(before, name) != getattr(after, name)]
    if isinstance(before, Mapping):
        return [f"{where}.{name}" for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return [where]


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
