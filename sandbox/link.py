"""A caller's connection to the zygote, for one event loop: leases of children, and word of their end.

Called by runner.py. Starts the zygote on demand (launch.py, in a thread) and again when it has died or retired.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import Any

from sandbox import launch, wire
from sandbox.confine import judge
from sandbox.records import Health, Layer, Limits, Measures, SandboxUnavailable, Setup

_MAX_DESCRIPTORS = 2


class ZygoteGone(Exception):
    """The zygote died while it was needed; another may be started."""


@dataclass(slots=True)
class Lease:
    """A child of one's own. ``sock`` is connected to it; ``ended`` is done once the kernel has counted it."""

    number: int
    line: Line
    sock: socket.socket
    pidfd: int | None
    ended: asyncio.Future[Measures]
    _closed: bool = field(default=False)

    def kill(self) -> None:
        """End the child at once and give its socket back. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.sock.close()
        if self.pidfd is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.close(self.pidfd)
        else:
            self.line.send(op="end", id=self.number)


class Line:
    """One connection to one zygote."""

    def __init__(self, reached: launch.Reached, health: Health) -> None:
        self.health = health
        self.alive = True
        self.retired = False
        self._sock = reached.sock
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Lease]] = {}
        self._ends: dict[int, asyncio.Future[Measures]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._hear)

    def send(self, **fields: Any) -> None:
        """Raises nothing: a zygote that does not take a message is given up."""
        if not self.alive:
            return
        try:
            self._sock.send(wire.message(**fields), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            self.close()

    async def lease(self, limits: Limits, *, wall_s: float, cpu_s: float, held: bool) -> Lease:
        """A fresh child under ``limits``. Cancelling gives up the ask. Raises ZygoteGone, SandboxUnavailable."""
        number = next(self._numbers)
        asked: asyncio.Future[Lease] = self._loop.create_future()
        self._asked[number] = asked
        memory = limits.memory_bytes
        self.send(op="lease", id=number, wall_s=wall_s, cpu_s=math.ceil(cpu_s), memory_bytes=memory, held=held)
        if not self.alive:
            raise ZygoteGone
        try:
            return await asked
        except asyncio.CancelledError:
            self._asked.pop(number, None)
            self.send(op="end", id=number)
            if asked.done() and not asked.cancelled() and asked.exception() is None:
                asked.result().kill()
            raise

    def _hear(self) -> None:
        while self.alive:
            try:
                flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
                data, descriptors, _, _ = socket.recv_fds(self._sock, wire.MAX_MESSAGE_BYTES, _MAX_DESCRIPTORS, flags)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self.close()
                return
            self._take(wire.read_message(data), list(descriptors))

    def _take(self, fields: dict[str, Any], descriptors: list[int]) -> None:
        number = fields["id"]
        if fields.get("retired"):
            self.retired = True
        elif fields.get("ended"):
            ended = self._ends.pop(number, None)
            if ended is not None and not ended.done():
                found = Measures(signal=fields["signal"], cpu_s=fields["cpu_s"], peak_bytes=fields["peak_bytes"])
                ended.set_result(found)
        else:
            self._answer(number, self._asked.pop(number, None), fields, descriptors)
        self._close_when_idle()

    def retire(self) -> None:
        """Give out no more children; hang up when the last one has ended."""
        self.retired = True
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self.retired and not self._asked and not self._ends:
            self.close()  # its zygote ends with its last caller

    def _answer(self, number: int, asked: asyncio.Future[Lease] | None, fields: dict[str, Any], descriptors: list[int]) -> None:
        if asked is None or asked.done() or not descriptors:
            for descriptor in descriptors:
                os.close(descriptor)
            if asked is not None and not asked.done():
                asked.set_exception(SandboxUnavailable(str(fields.get("error", "no process"))))
            return
        sock = socket.socket(fileno=descriptors[0])
        sock.setblocking(False)
        ended: asyncio.Future[Measures] = self._loop.create_future()
        self._ends[number] = ended
        asked.set_result(Lease(number, self, sock, descriptors[1] if len(descriptors) > 1 else None, ended))

    def close(self) -> None:
        """Hang up: the zygote ends what this caller still has. Idempotent."""
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ZygoteGone())
                asked.exception()
        for ended in self._ends.values():
            ended.cancel()
        self._asked.clear()
        self._ends.clear()


class Link:
    """The current Line to the machine's zygote. ``line()`` starts one where there is none."""

    def __init__(self, setup: Setup, *, scientific: bool = False) -> None:
        self._setup = setup
        self._scientific = scientific
        self._line: Line | None = None
        self._retired: list[Line] = []
        self._starting: asyncio.Task[Line] | None = None
        self._closed = False
        self._is_retired = False
        self.deaths = 0
        """How often another zygote was started because one had died, not because it had served long enough."""

    @property
    def known_health(self) -> Health | None:
        """That of the current line; None before the first."""
        return self._line.health if self._line is not None else None

    async def line(self) -> Line:
        """Raises SandboxUnavailable. Cancelling one waiter does not stop the start that others wait for."""
        if self._line is not None and self._line.alive and not self._line.retired:
            return self._line
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> Line:
        reached = await asyncio.to_thread(launch.reach, self._setup, scientific=self._scientific)
        layers = [Layer(**layer) for layer in reached.layers]
        line = Line(reached, judge(layers))
        if self._closed:
            line.close()
            raise SandboxUnavailable("the sandbox is closed")
        old = self._line
        if old is not None and old.alive:
            self._retired.append(old)  # it serves its resident functions on, and closes after them
        self.deaths += old is not None and not old.alive and not old.retired
        self._retired = [old for old in self._retired if old.alive]
        self._line = line
        if self._is_retired:
            line.retire()
        return line

    def retire(self) -> None:
        """Another link takes over: hang up as soon as what runs here has ended."""
        self._is_retired = True
        if self._line is not None:
            self._line.retire()

    @property
    def is_over(self) -> bool:
        """Retired, and nothing runs here any more."""
        lines = [line for line in (*self._retired, self._line) if line is not None]
        starting = self._starting is not None and not self._starting.done()
        return self._is_retired and not starting and not any(line.alive for line in lines)

    async def aclose(self) -> None:
        """Hang up. Idempotent."""
        self._closed = True
        if self._starting is not None:
            with contextlib.suppress(SandboxUnavailable, asyncio.CancelledError):
                await self._starting
        for line in (*self._retired, self._line):
            if line is not None:
                line.close()
