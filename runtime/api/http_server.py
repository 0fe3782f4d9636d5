"""The HTTP server around the application: uvicorn as the daemon wants it. Called by daemon.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: the daemon has its own, which drain first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def end(self, serving: asyncio.Task[None]) -> None:
        """Stop serving, and wait for it."""
        self.should_exit = True
        await serving


def http_config(app: Callable[..., Any]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        http="httptools",
        ws="none",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=65,
    )
