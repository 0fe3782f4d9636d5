"""SIGHUP: read the configuration again, or stop where it means that our terminal was closed. Called by daemon.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from runtime.service import DaemonService


class HangUp:
    """The handler. ``on_closed`` is called when the terminal is gone; None: there never was one."""

    def __init__(self, service: DaemonService, on_closed: Callable[[], None] | None) -> None:
        self._service = service
        self._on_closed = on_closed
        self._reloading: set[asyncio.Task[Any]] = set()

    def __call__(self) -> None:
        if self._on_closed is not None and not _has_terminal():
            self._on_closed()
            return
        task = asyncio.create_task(self._service.reload_config(), name="reload on SIGHUP")
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
