"""System-call filters as classic BPF, installed through ctypes: what a child may ask of the kernel, and what the zygote may.

Called by confine.py. Pure but for ``install``. x86_64 and aarch64 on Linux; needs no library beyond libc.
Source of the encodings: linux/filter.h, linux/seccomp.h, linux/audit.h and the two architectures' system-call tables.
"""

from __future__ import annotations

import ctypes
import errno
import platform
from collections.abc import Iterable, Mapping
from typing import NamedTuple

ALLOW = 0x7FFF_0000
KILL = 0x8000_0000
_ERRNO = 0x0005_0000

_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NR_OFFSET, _ARCH_OFFSET, _ARGS_OFFSET = 0, 4, 16
_X32_BIT = 0x4000_0000
_AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

MACHINE = platform.machine()
SUPPORTED = MACHINE in _AUDIT

PROT_EXEC = 4
MAP_ANONYMOUS = 0x20
FIONBIO = 0x5421
CLONE_THREAD = 0x0001_0000

# name: (x86_64, aarch64); -1 where an architecture has no such call
_NUMBERS: Mapping[str, tuple[int, int]] = {
    "accept4": (288, 242), "access": (21, -1), "brk": (12, 214), "capset": (126, 91), "clock_getres": (229, 114),
    "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "clone": (56, 220), "clone3": (435, 435), "close": (3, 57),
    "close_range": (436, 436), "dup": (32, 23), "dup2": (33, -1), "dup3": (292, 24), "exit": (60, 93), "exit_group": (231, 94),
    "faccessat": (269, 48), "faccessat2": (439, 439), "fcntl": (72, 25), "fork": (57, -1), "fstat": (5, 80), "futex": (202, 98),
    "getcpu": (309, 168), "getcwd": (79, 17), "getdents64": (217, 61), "getegid": (108, 177), "geteuid": (107, 175),
    "getgid": (104, 176), "getpid": (39, 172), "getppid": (110, 173), "getrandom": (318, 278), "getrlimit": (97, 163),
    "getrusage": (98, 165), "getsockname": (51, 204), "getsockopt": (55, 209), "gettid": (186, 178), "gettimeofday": (96, 169),
    "getuid": (102, 174), "ioctl": (16, 29), "kill": (62, 129), "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446), "lseek": (8, 62), "lstat": (6, -1), "madvise": (28, 233), "membarrier": (324, 283),
    "mkdir": (83, -1), "mkdirat": (258, 34), "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216), "munmap": (11, 215),
    "nanosleep": (35, 101), "newfstatat": (262, 79), "open": (2, -1), "openat": (257, 56), "openat2": (437, 437),
    "pidfd_open": (434, 434), "pivot_root": (155, 41), "poll": (7, -1), "ppoll": (271, 73), "prctl": (157, 167),
    "prlimit64": (302, 261), "read": (0, 63), "readlink": (89, -1), "readlinkat": (267, 78), "recvmsg": (47, 212),
    "recvfrom": (45, 207), "restart_syscall": (219, 128), "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigprocmask": (14,
    135), "rt_sigreturn": (15, 139), "sched_getaffinity": (204, 123), "sched_yield": (24, 124), "seccomp": (317, 277),
    "sendmsg": (46, 211), "sendto": (44, 206), "set_robust_list": (273, 99), "sigaltstack": (131, 132), "socketpair": (53, 199),
    "stat": (4, -1), "statfs": (137, 43), "statx": (332, 291), "sysinfo": (99, 179), "times": (100, 153), "uname": (63, 160),
    "unlink": (87, -1), "unlinkat": (263, 35), "vfork": (58, -1), "wait4": (61, 260), "write": (1, 64), "setrlimit": (160, 164),
}  # fmt: skip


def number(name: str) -> int:
    """The call's number on this machine, -1 where there is none. Raises KeyError for a name that is not in the table."""
    return _NUMBERS[name][0 if MACHINE == "x86_64" else 1]


def refuse(code: int) -> int:
    """The verdict that lets a call return ``code`` as its error."""
    return _ERRNO | code


class Test(NamedTuple):
    """A condition on one argument; a call that fails it gets ``verdict``.

    ``kind``: "is" (64 bits equal ``value``), "lacks" (none of the bits of ``value``), "has" (one of them).
    """

    kind: str
    argument: int
    value: int
    verdict: int


Instruction = tuple[int, int, int, int]


def program(
    allowed: Iterable[str], refused: Iterable[str], tested: Mapping[str, tuple[Test, ...]], *, audit: int | None = None
) -> list[Instruction]:
    """The filter as (code, jump if true, jump if false, operand). What is named nowhere kills the process, and so does a call of
    another architecture or of the x32 table."""
    arch = _AUDIT[MACHINE] if audit is None else audit
    made: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_OFFSET), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, KILL), (_LOAD, 0, 0, _NR_OFFSET),
    ]  # fmt: skip
    if MACHINE == "x86_64":
        made += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, KILL)]
    for name, tests in tested.items():
        if number(name) >= 0:
            body = [step for test in tests for step in _steps(test)] + [(_RETURN, 0, 0, ALLOW)]
            made += [(_EQUAL, 0, len(body), number(name)), *body]
    for names, verdict in ((allowed, ALLOW), (refused, refuse(errno.EPERM))):
        for name in names:
            if number(name) >= 0:
                made += [(_EQUAL, 0, 1, number(name)), (_RETURN, 0, 0, verdict)]
    return [*made, (_RETURN, 0, 0, KILL)]


def _steps(test: Test) -> list[Instruction]:
    low = (_LOAD, 0, 0, _ARGS_OFFSET + 8 * test.argument)
    high = (_LOAD, 0, 0, _ARGS_OFFSET + 8 * test.argument + 4)
    fail = (_RETURN, 0, 0, test.verdict)
    if test.kind == "is":
        return [high, (_EQUAL, 1, 0, test.value >> 32), fail, low, (_EQUAL, 1, 0, test.value & 0xFFFF_FFFF), fail]
    if test.kind == "lacks":
        return [low, (_ANY_BIT, 0, 1, test.value), fail]
    return [low, (_ANY_BIT, 1, 0, test.value), fail]


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


class Filter:
    """A filter ready to be installed: built before the lock-down, so that installing it only makes one call."""

    def __init__(self, steps: list[Instruction]) -> None:
        self._steps = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
        self._program = _Program(len(steps), self._steps)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._number = number("seccomp")

    def install(self) -> None:
        """Lock this process for good. Needs no_new_privs or CAP_SYS_ADMIN. Raises OSError."""
        set_mode_filter = 1
        if self._libc.syscall(self._number, set_mode_filter, 0, ctypes.byref(self._program)) != 0:
            raise OSError(ctypes.get_errno(), "seccomp")


# Memory, time and the end: what an interpreter that talks over two descriptors needs.
_PLAIN = (
    "munmap", "brk", "mremap", "madvise", "futex", "rt_sigreturn", "rt_sigprocmask", "exit", "exit_group", "getrandom",
    "clock_gettime", "clock_getres", "gettimeofday", "sched_yield", "restart_syscall", "getpid", "gettid", "getrusage", "times",
    "getcpu", "close", "clock_nanosleep", "nanosleep", "rseq",
)  # fmt: skip
# What innocent libraries try and can do without: refused, not killed.
_INNOCENT = (
    "open", "openat", "openat2", "stat", "fstat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink",
    "readlinkat", "getcwd", "getdents64", "statfs", "ioctl", "fcntl", "lseek", "uname", "sysinfo", "sched_getaffinity", "getuid",
    "geteuid", "getgid", "getegid", "getppid", "rt_sigaction", "sigaltstack", "getrlimit", "prlimit64", "mkdir", "mkdirat",
    "unlink", "unlinkat", "dup", "poll", "ppoll",
)  # fmt: skip
_ZYGOTE = (
    "read", "write", "recvmsg", "recvfrom", "sendmsg", "sendto", "accept4", "getsockopt", "getsockname", "socketpair", "poll",
    "ppoll", "fork", "vfork", "clone3", "wait4", "kill", "pidfd_open", "prlimit64", "prctl", "seccomp", "dup", "dup2", "dup3",
    "close_range", "set_robust_list", "rt_sigaction", "getppid", "fcntl", "fstat", "getuid",
)  # fmt: skip
_NO_EXECUTABLE_MEMORY: Mapping[str, tuple[Test, ...]] = {
    "mmap": (Test("lacks", 2, PROT_EXEC, KILL), Test("has", 3, MAP_ANONYMOUS, refuse(errno.EACCES))),
    "mprotect": (Test("lacks", 2, PROT_EXEC, KILL),),
}


def child_steps() -> list[Instruction]:
    """A child: reads descriptor 0, writes descriptor 1, handles its own anonymous memory."""
    tested = {
        **_NO_EXECUTABLE_MEMORY,
        "read": (Test("is", 0, 0, refuse(errno.EBADF)),),
        "write": (Test("is", 0, 1, refuse(errno.EBADF)),),
    }
    return program(_PLAIN, _INNOCENT, tested)


def zygote_steps() -> list[Instruction]:
    """The zygote: what a child may, and forking, waiting, killing and passing descriptors. No files, no new connections.

    clone3 hides its flags in memory, so a thread cannot be told from a process there; the zygote runs no foreign code.
    """
    tested = {
        **_NO_EXECUTABLE_MEMORY,
        "clone": (Test("lacks", 0, CLONE_THREAD, KILL),),
        "ioctl": (Test("is", 1, FIONBIO, refuse(errno.EPERM)),),
    }
    allowed = (*_PLAIN, *_ZYGOTE)
    return program(allowed, [name for name in _INNOCENT if name not in allowed and name != "ioctl"], tested)
