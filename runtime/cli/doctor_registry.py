"""``morphogen doctor`` on the registry: where its tables are, whether they can be written, whether some were set aside.

Called by doctor.py. Changes nothing: tables are not opened, because opening migrates them and belongs to the daemon.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Literal

from runtime.cli import tables
from runtime.config.settings import Settings

State = Literal["ok", "warning", "failed"]


def look(settings: Settings) -> tuple[State, str, str]:
    """(state, what was found, what to do)."""
    chosen = settings.registry
    if not chosen.enabled:
        return "ok", "switched off: registry.enabled = false", ""
    if importlib.util.find_spec("lancedb") is None:
        return "failed", "lancedb is not installed", "pip install -e . again"
    if chosen.uri is not None and "://" in chosen.uri:
        return "ok", f"at {chosen.uri.partition('?')[0]}; morphogen serve says whether it can be reached", ""
    folder = settings.data.dir.expanduser() / "registry" if chosen.uri is None else _folder(chosen.uri)
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return "failed", f"{nearest} cannot be written", "Choose another: registry.uri, or data.dir"
    aside = sorted(path.name for path in folder.glob("*.damaged-*")) if folder.is_dir() else []
    if aside:
        return "warning", f"{folder}: set aside as damaged: {', '.join(aside[:3])}", "Look at them, or remove them"
    if not folder.is_dir():
        return "ok", f"{folder} will be made by the first start", ""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return "ok", f"{folder}, {tables.size(size)}", ""


def _folder(uri: str) -> Path:
    return Path(uri).expanduser()
