"""A watched child process that serves HTTP on loopback: started, kept alive, and ended with the daemon.

Called by local.py, simulated/launch.py and the daemon that starts their servers. Knows nothing of models or nodes. The main of
such a child calls ``die_with_parent`` first, so that it never outlives the daemon, not even one that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.records import BackendUnreachable

log = logging.getLogger(__name__)

PARENT_VARIABLE = "MORPHOGEN_PARENT_PID"
STOP_WAIT_S = 3.0
"""How long SIGTERM has before SIGKILL follows."""
FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 10.0
STEADY_S = 60.0
"""A child that lived this long starts with the first backoff again."""
POLL_S = 0.1
PROBE_TIMEOUT_S = 2.0
MAX_LINE_BYTES = 4096
KEPT_LINES = 40

_PR_SET_PDEATHSIG = 1
_ROOT = str(Path(__file__).resolve().parents[2])


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def module_argv(module: str, *arguments: str) -> list[str]:
    """The command line that runs ``module`` of this installation; ``-P`` keeps the working directory out of its import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def die_with_parent() -> None:
    """End this process when the one that started it ends. A no-op in a process that no ``ChildServer`` started.

    On Linux the kernel does it; as that is bound to the thread that forked, and for other systems, a thread also looks.
    """
    parent = int(os.environ.get(PARENT_VARIABLE, "0"))
    if not parent:
        return
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    if os.getppid() != parent:  # it died before we could ask to be told
        os._exit(1)
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


class ChildServer:
    """One child process listening on ``127.0.0.1:port``.

    ``health_path`` answers 200 once it can work. The port stays the same over restarts. ``start`` and ``stop`` are idempotent;
    all methods belong to one event loop. ``start`` raises BackendUnreachable when the child dies or is not healthy within
    ``start_timeout_s``, with the last lines that it wrote.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        port: int,
        health_path: str,
        name: str,
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        self.name = name
        self.port = port
        self.restarts = 0
        self._argv = list(argv)
        self._health_path = health_path
        self._env = dict(env or {})
        self._start_timeout_s = start_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)

    @property
    def base_url(self) -> str:
        """The OpenAI-compatible root, ``http://127.0.0.1:PORT/v1``."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def pid(self) -> int | None:
        """The live child's process id, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines that the child wrote to stderr."""
        return tuple(self._lines)

    async def start(self) -> None:
        if self._watcher is not None:
            return
        if await self._port_is_taken():
            raise BackendUnreachable(f"{self.name}: port {self.port} is already in use", backend=self.name)
        try:
            await self._spawn()
            await self._until_healthy()
        except BaseException:
            await self._end_process()
            raise
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def stop(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        await self._end_process()

    async def healthy(self) -> bool:
        """True when the child lives and answers its health path with 200 now."""
        return self.pid is not None and await self._probe() == 200

    async def _spawn(self) -> None:
        paths = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **self._env, PARENT_VARIABLE: str(os.getpid())}
        try:
            # A session of its own: Ctrl-C in the terminal must not reach it before the daemon has drained.
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            raise BackendUnreachable(f"{self.name} cannot be started: {error}", backend=self.name) from error
        assert self._process.stderr is not None
        self._reader = asyncio.create_task(self._read(self._process.stderr), name=f"stderr of {self.name}")

    async def _read(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while piece := await stream.read(MAX_LINE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-MAX_LINE_BYTES:]
            self._lines.extend(line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip() for line in lines)
        if rest:
            self._lines.append(rest.decode("utf-8", "replace").rstrip())

    async def _until_healthy(self) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if process.returncode is not None:
                await self._drain_reader()
                raise BackendUnreachable(
                    f"{self.name} ended with code {process.returncode} while starting: {self._tail()}", backend=self.name
                )
            if await self._probe() == 200 and process.returncode is None:
                return
            await asyncio.sleep(POLL_S)
        raise BackendUnreachable(
            f"{self.name} was not ready within {self._start_timeout_s:g} s: {self._tail()}", backend=self.name
        )

    def _tail(self) -> str:
        return " | ".join(line for line in list(self._lines)[-5:] if line)[-1000:] or "it wrote nothing"

    async def _probe(self) -> int | None:
        """The status of the health path, None when nothing answers."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    head = f"GET {self._health_path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n"
                    writer.write(head.encode("ascii"))
                    words = (await reader.readline()).split()
                    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError, ValueError):
            return None

    async def _port_is_taken(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def _watch(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            process = self._process
            started = time.monotonic()
            if process is not None:
                code = await process.wait()
                if time.monotonic() - started > STEADY_S:
                    backoff_s = FIRST_BACKOFF_S
                log.warning("%s ended with code %s and is restarted in %.1f s: %s", self.name, code, backoff_s, self._tail())
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
            await self._end_process()
            self.restarts += 1
            try:
                await self._spawn()
                await self._until_healthy()
            except BackendUnreachable as error:
                log.warning("%s", error.message)
                await self._end_process()

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await self._signal_and_wait(process)
        await self._drain_reader()

    async def _signal_and_wait(self, process: asyncio.subprocess.Process) -> None:
        for number, wait_s in ((signal.SIGTERM, STOP_WAIT_S), (signal.SIGKILL, STOP_WAIT_S)):
            if process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), wait_s)

    async def _drain_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        # A grandchild that holds the pipe open must not keep us waiting.
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(reader, 0.5)
