"""What time it is, for all of a daemon: one value that daemon.py hands to every part.

Built by whoever starts a daemon; ops/sim passes one that leaps from day to day. Latencies are not taken from it: how long
something took is always measured. A node in a process of its own (Ray) stamps its calls and events with its machine's time.
Imports nothing of the project.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """``wall`` gives Unix seconds; ``steady`` seconds that never go back, for spans between two looks."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
