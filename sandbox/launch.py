"""Finds the machine's zygote, or starts it: a private folder, a lock file, a socket in it.

Called by link.py in a thread, since it waits. Several processes may do so at once: the lock lets one of them start it. Never
called by code that is sandboxed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox import wire
from sandbox.records import Json, SandboxUnavailable, Setup

START_S = 60.0
_BACKLOG = 128
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TZ": "UTC0", "LC_ALL": "C.UTF-8"}
_BOOT = """import sys, json
config, descriptor, paths = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
sys.path[:] = [paths[0], *sys.path, *(each for each in paths[1:] if each not in sys.path)]
from sandbox.boot import main
main(config, descriptor)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A connection to a zygote, and what it says about its layers."""

    sock: socket.socket
    layers: list[dict[str, Json]]


def reach(setup: Setup, *, scientific: bool) -> Reached:
    """Connect to the zygote of this user, setup and version of the code; start one where there is none.

    Blocks for as long as that takes, at most START_S. Raises SandboxUnavailable.
    """
    try:
        folder = private_folder(setup.runtime_dir)
        path = folder / f"{_name(setup, scientific=scientific)}.sock"
        with contextlib.suppress(OSError, SandboxUnavailable):
            return _connect(path)
        with _locked(folder / "start.lock"):
            with contextlib.suppress(OSError, SandboxUnavailable):
                return _connect(path)
            _start(setup, folder, path, scientific=scientific)
            return _connect(path)
    except OSError as error:
        raise SandboxUnavailable(f"the sandbox cannot be started: {error}") from None


def _name(setup: Setup, *, scientific: bool) -> str:
    """Callers with the same setup and code share a zygote; others do not meet."""
    here = Path(__file__).parent
    newest = max(path.stat().st_mtime_ns for path in here.glob("*.py"))
    known = [str(here), newest, sys.executable, _config(setup, "", scientific=scientific)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def same_zygote(one: Setup, other: Setup) -> bool:
    """Whether callers with these setups are served by the same zygote: limits and permissions are each caller's own."""
    return (one.runtime_dir, _config(one, "", scientific=False)) == (other.runtime_dir, _config(other, "", scientific=False))


def _config(setup: Setup, mount_point: str, *, scientific: bool) -> str:
    running = setup.max_running or max(4, 2 * (os.cpu_count() or 1))
    fields = {
        "mount_point": mount_point,
        "warm": setup.warm,
        "retire_after": setup.retire_after,
        "max_running": running,
        "max_held": setup.max_held,
        "policy": setup.policy,
        "scientific": scientific,
        "without": sorted(setup.without),
    }
    return json.dumps(fields)


def private_folder(chosen: str | None) -> Path:
    """A folder that only this user can enter: ``chosen``, else under XDG_RUNTIME_DIR, else in /dev/shm or the temporary folder.

    Raises OSError when none can be had.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(chosen)] if chosen else [
        *([Path(runtime) / "morphogen"] if runtime else []),
        *(Path(base) / f"morphogen-{os.getuid()}" for base in ("/dev/shm", tempfile.gettempdir())),  # noqa: S108 - checked below
    ]  # fmt: skip
    problem: OSError = OSError("no place for the sandbox's socket")
    for place in places:
        try:
            place.mkdir(mode=0o700, parents=chosen is not None, exist_ok=True)
            found = place.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
                raise PermissionError(f"{place} is not a folder of this user's alone (mode 700)")
            (place / "empty").mkdir(mode=0o555, exist_ok=True)
            return place
        except OSError as error:
            problem = error
    raise problem


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        end = time.monotonic() + START_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise SandboxUnavailable("another process is starting the sandbox and does not come to an end") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _connect(path: Path) -> Reached:
    """Raises OSError where nobody listens, SandboxUnavailable where the one that does says nothing."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(os.fspath(path))
        sock.settimeout(START_S)
        data = sock.recv(wire.MAX_MESSAGE_BYTES)
        layers = wire.read_message(data)["layers"] if data else None
    except (OSError, ValueError, KeyError) as error:
        sock.close()
        if isinstance(error, OSError):
            raise
        raise SandboxUnavailable("the sandbox's process is not understood") from None
    if layers is None:
        sock.close()
        raise SandboxUnavailable("the sandbox's process ended while it started")
    sock.setblocking(False)
    return Reached(sock=sock, layers=layers)


def _start(setup: Setup, folder: Path, path: Path, *, scientific: bool) -> None:
    """Exec the zygote and wait until it serves. It is no child of ours afterwards. Raises OSError, SandboxUnavailable."""
    _clear(folder)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(os.fspath(path))
        listener.listen(_BACKLOG)
        config = _config(setup, os.fspath(folder / "empty"), scientific=scientific)
        argv = [sys.executable, "-I", "-B", "-c", _BOOT, config, str(listener.fileno()), json.dumps(_paths())]
        process = subprocess.Popen(
            argv,
            pass_fds=[listener.fileno()],
            env=_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        _, said = process.communicate(timeout=START_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise SandboxUnavailable(f"the sandbox did not start in {START_S:.0f} s") from None
    if said.strip():
        path.unlink(missing_ok=True)
        raise SandboxUnavailable(f"the sandbox did not start: {said.decode(errors='replace').strip().splitlines()[-1][:300]}")


def _clear(folder: Path) -> None:
    """Remove the sockets of zygotes that have ended. Under the lock, so that none is just being started."""
    for path in folder.glob("*.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            try:
                sock.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue


def _paths() -> list[str]:
    """Where the zygote finds this package and the libraries, also where they are not in its own site-packages."""
    found = [str(Path(__file__).parent.parent)]
    for name in ("numpy", "orjson", "RestrictedPython", "scipy"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            found.append(str(Path(spec.origin).parent.parent))
    return list(dict.fromkeys(found))
