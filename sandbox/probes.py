"""Shows that the layers hold, by trying in real children what they must prevent. Called by zygote.py while it starts."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace

from sandbox import child, confine
from sandbox.records import Layer

_FAILED = 99
_HELD = 0
_SLACK_BYTES = 64 * 2**20
_DISCARD_PORT = 9


def attempt(act: Callable[[], bool]) -> int:
    """Fork, ``act`` there, and end with 0 when it returned True ("it was prevented"). The wait status."""
    pid = os.fork()
    if pid == 0:
        code = _FAILED
        try:
            code = _HELD if act() else _FAILED
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def check_open(layers: list[Layer]) -> list[Layer]:
    """Before the system-call filter: no file can be opened, and no connection made, where a layer says so."""
    files = attempt(_no_file) == 0
    network = attempt(_no_connection) == 0
    shown = {**dict.fromkeys(confine.FILES, files), **dict.fromkeys(confine.NETWORK, network)}
    return [
        layer
        if not layer.holds or shown.get(layer.name, True)
        else replace(layer, holds=False, how=f"{layer.how}; but a probe got through")
        for layer in layers
    ]


def _no_file() -> bool:
    for path in ("/etc/passwd", "/proc/self/mem", "/usr", "/tmp", "/dev/null"):  # noqa: S108 - nothing is made there
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        return False
    try:
        return os.listdir("/") == []
    except OSError:
        return True


def _no_connection() -> bool:
    try:
        with socket.socket() as sock:
            sock.settimeout(0.5)
            sock.connect(("127.0.0.1", _DISCARD_PORT))
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return False


def check_locked(locks: child.Locks, parent: int, address_bytes: int) -> list[Layer]:
    """With everything on: the filter kills and refuses as it should, and memory is bounded."""

    def locked(act: Callable[[], bool]) -> int:
        def inside() -> bool:
            ours, theirs = socket.socketpair()
            pid = os.getpid()
            if locks.rlimits:
                confine.limit_run(pid, address_bytes=address_bytes + _SLACK_BYTES, cpu_s=5)
            ours.detach()
            child.lock(theirs.detach(), parent, locks)
            return act()

        return attempt(inside)

    kills = os.WTERMSIG(locked(_open_socket)) == signal.SIGSYS and os.WTERMSIG(locked(_fork)) == signal.SIGSYS
    refuses = locked(_open_refused) == 0
    filtered = locks.seccomp is not None and kills and refuses
    how = "kills and refuses as it should" if filtered else "switched off" if locks.seccomp is None else "a probe got through"
    bounded = locks.rlimits and locked(_memory_bounded) == 0
    limits = "memory, CPU time, descriptors, processes" if bounded else "not in force"
    return [Layer(name="seccomp", holds=filtered, how=how), Layer(name="rlimits", holds=bounded, how=limits)]


def _open_socket() -> bool:
    socket.socket().close()
    return False


def _fork() -> bool:
    if os.fork() == 0:
        os._exit(0)
    return False


def _open_refused() -> bool:
    try:
        os.close(os.open("/", os.O_RDONLY))
    except OSError:
        return True
    return False


def _memory_bounded() -> bool:
    try:
        len(bytearray(4 * _SLACK_BYTES))
    except MemoryError:
        return True
    return False
