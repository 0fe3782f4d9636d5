"""What the tests of the sandbox share: programs, bounds, setups of their own, and the processes of a setup."""

# ruff: noqa: E501 - programs in one line each

from __future__ import annotations

import asyncio
from pathlib import Path

from sandbox.records import Limits, Setup

ADD = "def run(i):\n    return i['n'] + 1\n"
FOREVER = "def run(i):\n    while True:\n        pass\n"
COUNT = "n = 0\ndef run(i):\n    global n\n    n += 1\n    if i == 'fail':\n        raise ValueError\n    if i == 'hang':\n        while True:\n            pass\n    return n\n"
GRACE_S = 0.2
EASY = Limits(wall_s=20, cpu_s=10)
"""For runs that are not about time, on a machine that may be busy."""


def own(tmp_path: Path, **changes: object) -> Setup:
    tmp_path.chmod(0o700)
    return Setup(**{"limits": EASY, "runtime_dir": str(tmp_path), "allow_reduced": True, **changes})  # type: ignore[arg-type]


def processes(text: str) -> set[int]:
    """Processes with ``text`` in their command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def zygote_of(setup: Setup) -> int:
    """The zygote itself: the one process of this setup whose parent is not another of them."""
    family = processes(f"{setup.runtime_dir}/")
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in family}
    (found,) = [pid for pid, parent in parents.items() if parent not in family]
    return found


async def gone(setup: Setup) -> bool:
    for _ in range(100):
        if not processes(f"{setup.runtime_dir}/"):
            return True
        await asyncio.sleep(0.05)
    return False
