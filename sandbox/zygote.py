"""The zygote: a warm, locked process that forks one child for each run and hands the child's socket to the caller.

Set up by boot.py; serves the actors of this user over one unix socket, and ends when the last of
them has gone. Runs no foreign code and reads nothing that a child sends. Order: namespaces, fork, imports and warming, lock-down,
probes, the system-call filter, service.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox import confine, wire
from sandbox.records import Layer

FIRST_CALLER_S = 20.0
LONG_S = 0.25
LONG_TIMES = 4
"""A run older than LONG_S makes room for others, up to LONG_TIMES the bound: a few that hang must not hold up the many."""
_GRACE_S = 0.05
_FORK_PAUSE_S = 0.05
_BACKLOG = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What launch.py passes on, as JSON in the argument list."""

    mount_point: str
    warm: int
    max_running: int
    max_held: int
    retire_after: int
    policy: bool
    scientific: bool
    without: frozenset[str]

    @classmethod
    def read(cls, text: str) -> Config:
        fields = json.loads(text)
        return cls(**{**fields, "without": frozenset(fields["without"])})


@dataclass(slots=True)
class Child:
    """One child. ``sock`` is the parent's end until it is handed out."""

    pid: int
    sock: socket.socket | None
    caller: Caller | None = None
    lease: int = 0
    held: bool = False
    since: float = 0.0
    deadline: float = float("inf")


@dataclass(slots=True)
class Caller:
    """One connected actor. ``waiting`` holds its asks for a child that could not be served yet."""

    sock: socket.socket
    children: set[int] = field(default_factory=set)
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a caller wants: a child, for ``wall_s`` (held: for as long as it likes), under these limits."""

    caller: Caller
    lease: int
    held: bool
    wall_s: float
    cpu_s: int
    memory_bytes: int

    @classmethod
    def read(cls, caller: Caller, fields: dict[str, Any]) -> Ask:
        """Raises KeyError, TypeError, ValueError for what is no ask."""
        numbers = {"wall_s": float(fields["wall_s"]), "cpu_s": max(1, int(fields["cpu_s"])), "lease": int(fields["id"])}
        return cls(caller=caller, held=bool(fields["held"]), memory_bytes=int(fields["memory_bytes"]), **numbers)  # type: ignore[arg-type]


class Zygote:
    """The service loop. ``fork`` makes one locked child around a socket and returns its process id."""

    def __init__(self, listener: socket.socket, config: Config, fork: Callable[[socket.socket], int]) -> None:
        self._listener: socket.socket | None = listener
        self._config = config
        self._fork = fork
        self._hello = b""
        self._callers: dict[int, Caller] = {}
        self._children: dict[int, Child] = {}
        self._spare: deque[Child] = deque()
        self._waiting: deque[Ask] = deque()
        self._running = self._held = self._forks = 0
        self._base_kb = 0
        self._fork_after = 0.0
        self._address_bytes = 0
        self._wake, wake_in = os.pipe()
        for end in (self._wake, wake_in):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(listener.fileno(), select.POLLIN)

    def introduce(self, layers: list[Layer], address_bytes: int) -> None:
        """What callers are told at first. Learns what an idle child weighs, by letting one read the end of its stream at once."""
        self._hello = wire.message(layers=[asdict(layer) for layer in layers])
        self._address_bytes = address_bytes
        ours, theirs = socket.socketpair()
        pid = self._fork(theirs)
        theirs.close()
        ours.close()
        _, _, usage = os.wait4(pid, 0)
        self._base_kb = usage.ru_maxrss

    def serve(self) -> None:
        """Until the last caller has gone."""
        patience = time.monotonic() + FIRST_CALLER_S
        while self._callers or time.monotonic() < patience:
            ready = self._poll.poll(self._pause_ms(patience))
            for descriptor, _ in ready:
                if descriptor == self._wake:
                    self._reap()
                elif self._listener is not None and descriptor == self._listener.fileno():
                    self._accept()
                    patience = 0.0
                elif descriptor in self._callers:
                    self._hear(self._callers[descriptor])
            self._kill_overdue()
            self._serve_waiting()
            if not ready and self._wants_spare():
                self._make_spare()

    def _pause_ms(self, patience: float) -> float:
        if self._wants_spare():
            return 0
        now = time.monotonic()
        soonest = min((each.deadline for each in self._children.values()), default=float("inf"))
        if not self._callers:
            soonest = min(soonest, patience)
        if self._waiting:
            soonest = min(soonest, now + LONG_S / 5)
        if self._callers and len(self._spare) < self._config.warm:
            soonest = min(soonest, self._fork_after)
        return -1 if soonest == float("inf") else max(0.0, (soonest - now) * 1000) + 1

    def _wants_spare(self) -> bool:
        return bool(self._callers) and len(self._spare) < self._config.warm and time.monotonic() >= self._fork_after

    # ── callers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        caller = Caller(sock)
        self._callers[sock.fileno()] = caller
        self._poll.register(sock.fileno(), select.POLLIN)
        self._tell(caller, self._hello)

    def _hear(self, caller: Caller) -> None:
        while not caller.gone:
            try:
                data = caller.sock.recv(wire.MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._leave(caller)
                return
            try:
                fields = wire.read_message(data)
                self._obey(caller, str(fields["op"]), int(fields["id"]), fields)
            except (ValueError, KeyError, TypeError):
                self._leave(caller)

    def _obey(self, caller: Caller, op: str, lease: int, fields: dict[str, Any]) -> None:
        if op == "lease":
            self._waiting.append(Ask.read(caller, fields))
        elif op == "end":
            self._waiting = deque(ask for ask in self._waiting if ask.caller is not caller or ask.lease != lease)
            for pid in caller.children:
                if self._children[pid].lease == lease:
                    self._kill(pid)

    def _leave(self, caller: Caller) -> None:
        """The caller has gone: so do its children."""
        caller.gone = True
        descriptor = caller.sock.fileno()
        self._poll.unregister(descriptor)
        del self._callers[descriptor]
        caller.sock.close()
        self._waiting = deque(ask for ask in self._waiting if ask.caller is not caller)
        for pid in caller.children:
            self._kill(pid)

    def _tell(self, caller: Caller, message: bytes, descriptors: tuple[int, ...] = ()) -> bool:
        try:
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
            if descriptors:
                socket.send_fds(caller.sock, [message], list(descriptors), flags)
            else:
                caller.sock.send(message, flags)
        except OSError:  # it has gone, or does not listen
            if not caller.gone:
                self._leave(caller)
            return False
        return True

    # ── children ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _serve_waiting(self) -> None:
        for ask in list(self._waiting):
            if ask.held and self._held >= self._config.max_held:
                self._waiting.remove(ask)
                self._tell(ask.caller, wire.message(id=ask.lease, error="too many resident functions on this machine"))
            elif ask.held or self._has_room():
                self._waiting.remove(ask)
                self._hand_out(ask)

    def _has_room(self) -> bool:
        most = self._config.max_running
        if self._running < most:
            return True
        since = time.monotonic() - LONG_S
        young = sum(each.since > since for each in self._children.values() if not each.held)
        return self._running < LONG_TIMES * most and young < most

    def _hand_out(self, ask: Ask) -> None:
        lease, held = ask.lease, ask.held
        if not self._spare:
            problem = self._make_spare()
            if not self._spare:
                self._tell(ask.caller, wire.message(id=lease, error=f"no new process: {problem}"))
                return
        made = self._spare.popleft()
        sock = made.sock
        if sock is None or made.pid not in self._children:
            return
        made.sock, made.caller, made.lease, made.held, made.since = None, ask.caller, lease, held, time.monotonic()
        self._held += held
        self._running += not held
        ask.caller.children.add(made.pid)
        with contextlib.ExitStack() as after:
            after.enter_context(sock)
            try:
                confine.limit_run(made.pid, address_bytes=self._address_bytes + ask.memory_bytes, cpu_s=ask.cpu_s)
            except OSError as error:
                self._kill(made.pid)
                self._tell(ask.caller, wire.message(id=lease, error=f"the limits could not be set: {error}"))
                return
            if not held:
                made.deadline = time.monotonic() + ask.wall_s + _GRACE_S
            descriptors = [sock.fileno()]
            with contextlib.suppress(OSError):
                descriptors.append(os.pidfd_open(made.pid))
                after.callback(os.close, descriptors[-1])
            self._tell(ask.caller, wire.message(id=lease), tuple(descriptors))
        if self._forks >= self._config.retire_after:
            self._retire()

    def _make_spare(self) -> str:
        """One more spare child; says why there is none."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            return str(error)
        with theirs:
            try:
                pid = self._fork(theirs)
            except OSError as error:
                ours.close()
                self._fork_after = time.monotonic() + _FORK_PAUSE_S
                return str(error)
        self._forks += 1
        made = Child(pid, ours)
        self._children[pid] = made
        self._spare.append(made)
        return ""

    def _retire(self) -> None:
        """Take no new callers: children share an address layout, and one should not serve for ever."""
        if self._listener is not None:
            self._poll.unregister(self._listener.fileno())
            self._listener.close()
            self._listener = None
            for caller in list(self._callers.values()):
                self._tell(caller, wire.message(id=0, retired=True))

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, 512):
                pass
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, status, usage)

    def _ended(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        ended = self._children.pop(pid, None)
        if ended is None:
            return
        if ended.sock is not None:  # a spare one died
            ended.sock.close()
            with contextlib.suppress(ValueError):
                self._spare.remove(ended)
            return
        self._held -= ended.held
        self._running -= not ended.held
        if ended.caller is not None and not ended.caller.gone:
            ended.caller.children.discard(pid)
            peak = max(0, usage.ru_maxrss - self._base_kb) * 1024
            cpu_s = usage.ru_utime + usage.ru_stime
            signal_ = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            self._tell(ended.caller, wire.message(id=ended.lease, ended=True, signal=signal_, cpu_s=cpu_s, peak_bytes=peak))

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still its own

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for each in self._children.values():
            if each.deadline <= now:
                each.deadline = float("inf")
                self._kill(each.pid)
