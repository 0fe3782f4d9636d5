"""The daemon begins anew in its own process: same id, arguments and listening socket, nothing else (docs/adr/009-ray-lost.md).

Called by daemon.py when what only a new process can have is lost, and by the command line, which does it. Clients that connect
meanwhile wait in the socket's queue. Must not import ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from runtime.ray_cluster.head import answers, place_of

LISTENER: Final = "MORPHOGEN_LISTENER"
TIMES: Final = "MORPHOGEN_BEGUN_AGAIN"
PATIENCE_S: Final = 60.0
"""How long a daemon that begins anew waits for what the old one had."""
STEADY_S: Final = 120.0
"""A daemon that ran so long begins anew at once; one that did not waits longer each time."""
KNOCK_EVERY_S: Final = 0.2
SETTLE_S: Final = 2.0
"""A cluster that is going down loses its machines before its head: an answer in the first moments says nothing."""
_MAX_PAUSE_S: Final = 60.0


@dataclass(slots=True, kw_only=True)
class Again:
    """What a process knows of the one that it was before: how often in a row it began anew, and the socket where that one
    listened. ``gone`` is set when it should begin anew itself; ``fd`` is where the next one will listen."""

    times: int = 0
    left: socket.socket | None = None
    fd: int | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def patience_s(self) -> float:
        return PATIENCE_S if self.times else 0.0

    def keep(self, listening: socket.socket) -> None:
        """Let the next one listen where this one did."""
        self.fd = os.dup(listening.fileno())


def pause_s(times: int, *, lived_s: float) -> float:
    """How long to wait before beginning anew for the ``times`` + 1st time in a row: 0, 1, 2, 4 … 60 s."""
    return 0.0 if times == 0 or lived_s >= STEADY_S else min(_MAX_PAUSE_S, 2.0 ** min(times - 1, 16))


async def either(*events: asyncio.Event) -> None:
    """Wait for the first of them."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def worth_beginning(again: Again, stop: asyncio.Event, *, address: str | None, lived_s: float) -> None:
    """Wait until beginning anew makes sense, or ``stop``: a pause where it was done too often, and a cluster at ``address`` that
    answers again."""
    place = None if address is None else place_of(address)
    with contextlib.suppress(TimeoutError):
        settle_s = SETTLE_S if place is not None else 0.0
        async with asyncio.timeout(max(settle_s, pause_s(again.times, lived_s=lived_s))):
            await stop.wait()
    while place is not None and not stop.is_set() and not await answers(place):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KNOCK_EVERY_S):
                await stop.wait()


def begun(env: MutableMapping[str, str]) -> Again:
    """What the process before left in ``env``, which is taken out of it."""
    times, fd = env.pop(TIMES, ""), env.pop(LISTENER, "")
    return Again(times=int(times) if times.isdigit() else 0, left=_listening(int(fd)) if fd.isdigit() else None)


def _listening(fd: int) -> socket.socket | None:
    with contextlib.suppress(OSError):
        left = socket.socket(fileno=fd)
        left.set_inheritable(False)
        if left.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return left
        left.close()
    return None


def begin(again: Again, *, env: Mapping[str, str], lived_s: float) -> NoReturn:
    """Replace this process. ``env`` is what it was started with. Everything has been stopped; open files are closed by this."""
    more = {TIMES: str(1 if lived_s >= STEADY_S else again.times + 1)}
    if again.fd is not None:
        more[LISTENER] = str(again.fd)
    for fd in _open_files():
        with contextlib.suppress(OSError):
            os.set_inheritable(fd, fd == again.fd)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**env, **more})


def _open_files() -> Iterator[int]:
    folder = Path("/proc/self/fd")
    names = (int(entry.name) for entry in folder.iterdir()) if folder.exists() else range(3, 4096)
    return (fd for fd in list(names) if fd > 2)
