"""The filters, run by a small interpreter of classic BPF: what is allowed, refused and deadly."""

from __future__ import annotations

import errno

import pytest

from sandbox import seccomp
from sandbox.seccomp import ALLOW, KILL, Instruction, child_steps, number, refuse, zygote_steps

pytestmark = pytest.mark.skipif(not seccomp.SUPPORTED, reason="no filters for this machine")
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}.get(seccomp.MACHINE, 0)


def verdict(steps: list[Instruction], call: int, *arguments: int, arch: int = AUDIT) -> int:
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    words = {0: call & 0xFFFFFFFF, 4: arch}
    for index, value in enumerate(padded):
        words[16 + 8 * index] = value & 0xFFFFFFFF
        words[20 + 8 * index] = value >> 32 & 0xFFFFFFFF
    at = loaded = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        if code == 0x06:
            return operand
        if code == 0x20:
            loaded, at = words[operand], at + 1
            continue
        holds = {0x15: loaded == operand, 0x45: bool(loaded & operand), 0x35: loaded >= operand}[code]
        at += 1 + (if_true if holds else if_false)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("read", (0,), ALLOW),
        ("read", (3,), refuse(errno.EBADF)),
        ("read", (1 << 32,), refuse(errno.EBADF)),
        ("write", (1,), ALLOW),
        ("write", (2,), refuse(errno.EBADF)),
        ("mmap", (0, 4096, 3, 0x22), ALLOW),
        ("mmap", (0, 4096, 7, 0x22), KILL),
        ("mmap", (0, 4096, 3, 0x02), refuse(errno.EACCES)),
        ("mprotect", (0, 4096, 5), KILL),
        ("openat", (), refuse(errno.EPERM)),
        ("socketpair", (), KILL),
        ("fork", (), KILL),
        ("clone", (), KILL),
        ("clone3", (), KILL),
        ("kill", (), KILL),
        ("prctl", (), KILL),
        ("pidfd_open", (), KILL),
        ("sendmsg", (), KILL),
        ("seccomp", (), KILL),
        ("exit_group", (), ALLOW),
    ],
)
def test_what_a_child_may(name: str, arguments: tuple[int, ...], expected: int) -> None:
    if number(name) >= 0:
        assert verdict(child_steps(), number(name), *arguments) == expected


def test_other_tables_and_unknown_calls_kill() -> None:
    for steps in (child_steps(), zygote_steps()):
        assert verdict(steps, number("getpid"), arch=0x40000003) == KILL
        assert verdict(steps, 9999) == KILL
        if seccomp.MACHINE == "x86_64":
            assert verdict(steps, number("getpid") | 0x40000000) == KILL


def test_the_zygote_forks_processes_but_no_threads_and_opens_nothing() -> None:
    steps = zygote_steps()
    assert verdict(steps, number("clone"), 0x01200011) == ALLOW
    assert verdict(steps, number("clone"), 0x00010F00) == KILL
    assert verdict(steps, number("openat")) == refuse(errno.EPERM)
    assert verdict(steps, number("mmap"), 0, 4096, 7, 0x22) == KILL


def test_whatever_a_child_may_the_zygote_may_too() -> None:
    """Filters add up: what the zygote's forbids, its children cannot be allowed."""
    child, zygote = child_steps(), zygote_steps()
    for name in seccomp._NUMBERS:
        if number(name) >= 0 and verdict(child, number(name)) == ALLOW:
            assert verdict(zygote, number(name)) == ALLOW, name
