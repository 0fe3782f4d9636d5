"""The lock-down of the zygote and of its children, layer by layer, and the probes that show which layers hold.

Called by zygote.py and child.py, in processes that will never be unlocked; nothing here may be called in a daemon. Knows nothing
of Python code or policies. The order of ``lock_zygote`` matters and is said there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from sandbox import seccomp
from sandbox.records import Health, Layer

NOBODY = 65_534
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x2_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_REC, _MS_PRIVATE = 1, 2, 4, 8, 32, 0x4000, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE = 1, 4, 24, 38, 65
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAP_SYS_ADMIN = 21
_MNT_DETACH = 2

# These decide; see ``judge``.
NEEDED = ("seccomp", "no_new_privs", "rlimits")
FILES = ("empty_root", "landlock")
NETWORK = ("net_namespace", "landlock_net")
SWITCHABLE = frozenset({"namespaces", "empty_root", "landlock", "seccomp", "rlimits"})

_libc = ctypes.CDLL(None, use_errno=True)


def _check(done: int, what: str) -> int:
    if done < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return done


def prctl(option: int, *values: int) -> int:
    """prctl(2) with up to four numbers. Raises OSError."""
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return _check(_libc.prctl(option, *padded), f"prctl {option}")


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when its parent ends; ends at once when ``parent`` is no longer that."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


# ── namespaces and root ─────────────────────────────────────────────────────────────────────────────────────────────────


def enter_namespaces() -> Layer:
    """New network, mount, IPC, UTS and pid namespaces, with a user namespace where this process may not have them otherwise.

    The pid namespace holds from the next fork on.
    """
    flags = _NEWNS | _NEWNET | _NEWIPC | _NEWUTS | _NEWPID
    uid, gid = os.getuid(), os.getgid()
    try:
        if _is_admin():
            _check(_libc.unshare(ctypes.c_int(flags)), "unshare")
            return Layer(name="namespaces", holds=True, how="net, mount, pid, ipc, uts")
        _check(_libc.unshare(ctypes.c_int(flags | _NEWUSER)), "unshare")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")
    except OSError as error:
        return Layer(name="namespaces", holds=False, how=str(error))
    return Layer(name="namespaces", holds=True, how="net, mount, pid, ipc, uts, in a user namespace")


def _is_admin() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def empty_root(mount_point: str, *, namespaces: bool) -> Layer:
    """Make / an empty read-only tmpfs, mounted over ``mount_point`` (in the private mount namespace); without namespaces an empty
    folder of root's by chroot."""
    try:
        if namespaces:
            _pivot(mount_point)
            return Layer(name="empty_root", holds=True, how="an empty read-only tmpfs")
        if os.geteuid() == 0:
            os.chroot(mount_point)
            os.chdir("/")
            if os.listdir("/"):
                return Layer(name="empty_root", holds=False, how="chroot into a folder that is not empty")
            return Layer(name="empty_root", holds=True, how="chroot into an empty folder")
    except OSError as error:
        return Layer(name="empty_root", holds=False, how=str(error))
    return Layer(name="empty_root", holds=False, how="needs namespaces or root")


def _pivot(mount_point: str) -> None:
    _mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    plain = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _mount(b"tmpfs", os.fsencode(mount_point), b"tmpfs", plain, b"size=4k,nr_inodes=2,mode=555")
    os.chdir(mount_point)
    _check(_libc.syscall(seccomp.number("pivot_root"), b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")
    _mount(None, b"/", None, _MS_REMOUNT | _MS_RDONLY | plain, b"size=4k")


def _mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None) -> None:
    _check(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data), "mount")


# ── privileges ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop_privileges() -> Layer:
    """Nobody's user and groups where this process is root, and no capability in any set, bounding set first."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0 and ctypes.get_errno() == errno.EINVAL:
            break
    how = f"user {os.getuid()}"
    try:
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            how = f"user {NOBODY}"
        with contextlib.suppress(OSError):
            prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        header, data = _CapHeader(0x2008_0522, 0), (_CapData * 2)()
        _check(_libc.syscall(seccomp.number("capset"), ctypes.byref(header), data), "capset")
    except OSError as error:
        return Layer(name="privileges", holds=False, how=str(error))
    return Layer(name="privileges", holds=os.getuid() != 0, how=f"{how}, no capabilities")


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


def landlock_abi() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    ask_version = 1
    number = seccomp.number("landlock_create_ruleset")
    return max(0, int(_libc.syscall(number, None, ctypes.c_size_t(0), ctypes.c_uint32(ask_version))))


def landlock_nothing() -> tuple[Layer, Layer]:
    """Handle every right that the kernel knows and grant none. Needs no_new_privs. The layers for files and for the network."""
    abi = landlock_abi()
    if not abi:
        missing = "not in this kernel"
        return Layer(name="landlock", holds=False, how=missing), Layer(name="landlock_net", holds=False, how=missing)
    files = (1 << 13) - 1 | (abi >= 2) << 13 | (abi >= 3) << 14 | (abi >= 5) << 15
    rules = _Ruleset(files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    try:
        made = _libc.syscall(
            seccomp.number("landlock_create_ruleset"), ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0)
        )
        _check(made, "landlock_create_ruleset")
        try:
            _check(_libc.syscall(seccomp.number("landlock_restrict_self"), made, 0), "landlock_restrict_self")
        finally:
            os.close(made)
    except OSError as error:
        return Layer(name="landlock", holds=False, how=str(error)), Layer(name="landlock_net", holds=False, how=str(error))
    net = Layer(name="landlock_net", holds=abi >= 4, how="TCP denied" if abi >= 4 else f"ABI {abi}; TCP needs 4")
    return Layer(name="landlock", holds=True, how=f"every right denied (ABI {abi})"), net


def lock_zygote(mount_point: str, namespaces: Layer, without: frozenset[str]) -> list[Layer]:
    """All that holds for the zygote and its children, but for the system-call filters. Afterwards nothing can be opened.

    Root first (needs privileges), then the bounding set, groups, user and capabilities, then no_new_privs, which Landlock needs.
    """
    layers = [namespaces, Layer(name="net_namespace", holds=namespaces.holds, how=namespaces.how)]
    if "empty_root" in without:
        layers.append(Layer(name="empty_root", holds=False, how="switched off"))
    else:
        layers.append(empty_root(mount_point, namespaces=namespaces.holds))
    layers.append(drop_privileges())
    layers.append(_settled("no_new_privs", lambda: prctl(_PR_SET_NO_NEW_PRIVS, 1)))
    layers.append(_settled("not_dumpable", lambda: prctl(_PR_SET_DUMPABLE, 0)))
    if "landlock" in without:
        layers += [Layer(name=name, holds=False, how="switched off") for name in ("landlock", "landlock_net")]
    else:
        layers += landlock_nothing()
    layers.append(_settled("no_executable_memory", lambda: prctl(_PR_SET_MDWE, 1)))
    for which in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(which, (0, 0))
    return layers


def _settled(name: str, act: Callable[[], object]) -> Layer:
    try:
        act()
    except OSError as error:
        return Layer(name=name, holds=False, how=str(error))
    return Layer(name=name, holds=True, how="set")


def limit_child() -> None:
    """The limits that are the same for every run: two descriptors, no new processes."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (2, 2))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def limit_run(pid: int, *, address_bytes: int, cpu_s: int) -> None:
    """The limits of one run, set from outside before the child reads a byte of it. Raises OSError, ProcessLookupError."""
    resource.prlimit(pid, resource.RLIMIT_AS, (address_bytes, address_bytes))
    resource.prlimit(pid, resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))


def judge(layers: list[Layer], *, running: bool = True) -> Health:
    """Full: all of NEEDED, one of FILES, one of NETWORK, privileges dropped. Off: one of NEEDED is missing. Else reduced.

    ``running`` False: nothing was started, so nothing was shown.
    """
    holds = {layer.name for layer in layers if layer.holds}
    fatal = tuple(name for name in NEEDED if name not in holds)
    if fatal or not running:
        return Health(level="off", layers=tuple(layers), missing=fatal, reason=f"needed and missing: {', '.join(fatal)}")
    missing = tuple(
        name
        for name, there in (
            ("files", holds & set(FILES)),
            ("network", holds & set(NETWORK)),
            ("privileges", "privileges" in holds),
        )
        if not there
    )
    if not missing:
        return Health(level="full", layers=tuple(layers))
    shown = {"files": " or ".join(FILES), "network": " or ".join(NETWORK), "privileges": "privileges"}
    reason = "missing and not made up for: " + "; ".join(shown[name] for name in missing)
    return Health(level="reduced", layers=tuple(layers), missing=missing, reason=reason)
