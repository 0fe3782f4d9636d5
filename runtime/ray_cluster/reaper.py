"""Ends what Ray leaves behind when the daemon is killed: a tiny process of its own that outlives the daemon by seconds.

The kernel ends Ray's first processes with the thread that started them, but not those that these started in turn: agents and
workers try to reach what is gone for a minute and more. ``Reaper`` is used by connect.py. Its process waits until its stdin ends,
which the kernel closes with the daemon however that ends, and then ends every process that carries the reaper's mark in its
environment, or that has named itself ``ray::…`` and writes into this Ray's folder: a process that names itself may overwrite its
environment. Must not import ray.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "MORPHOGEN_RAY_RUN"
GRACE_S = 2.0
"""How long Ray's processes have to end by themselves."""
SWEEPS = 20
"""A process may start another while it is being ended: look again so often, or until none is left."""
POLL_S = 0.1
STOP_WAIT_S = 10.0

_ROOT = str(Path(__file__).resolve().parents[2])


class Reaper:
    """The watching process. What is started inside ``marking`` is ended with the daemon; ``stop`` is idempotent and blocks."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)
        paths = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        # A session of its own: what ends the daemon's process group must not end this one first.
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )

    @contextlib.contextmanager
    def marking(self) -> Iterator[None]:
        """Processes that are started in this block carry the mark, and so does what they start. Stops where the block fails."""
        os.environ[VARIABLE] = self._mark
        try:
            yield
        except BaseException:
            self.stop()
            raise
        finally:
            os.environ.pop(VARIABLE, None)

    def watch(self, folder: str) -> None:
        """Ray's folder for this run, known once Ray has started. Does nothing where the reaper is gone."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(folder.encode())
                process.stdin.flush()

    def stop(self) -> None:
        """Let it end what is left, and wait for that."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def marked(mark: str, folder: str = "") -> list[int]:
    """The living processes that carry ``mark``, or are Ray's with a file in ``folder`` open; this one aside. Empty where there is
    no /proc."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                ours = bool(command)
            else:
                ours = bool(folder) and command.startswith(b"ray::") and _writes_into(process, folder)
            if ours:
                found.append(int(process.name))
        except OSError:  # gone, or somebody else's
            continue
    return [pid for pid in found if pid != os.getpid()]


def _writes_into(process: Path, folder: str) -> bool:
    return any(os.readlink(link).startswith(f"{folder}/") for link in (process / "fd").iterdir())


def end_all(mark: str, folder: str = "", *, grace_s: float = GRACE_S) -> None:
    """Wait ``grace_s`` for the processes that ``marked`` finds, then end them."""
    until = time.monotonic() + grace_s
    while marked(mark, folder) and time.monotonic() < until:
        time.sleep(POLL_S)
    for _ in range(SWEEPS):
        left = marked(mark, folder)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def main() -> None:
    """Wait for the end of stdin, then of everything that carries the mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = b""
    while part := os.read(0, 4096):
        folder += part
    end_all(sys.argv[1], os.fsdecode(folder))


if __name__ == "__main__":
    main()
