"""When a failed call is tried again, after how long, and how long one call may take: pure functions.

Called by pool.py (the wait), attempt.py (the time of a call) and http.py (reading Retry-After). Imports nothing of the project.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 3600.0
"""A backend that asks for more is taken to have said this."""

SHARE = 0.6
"""Of the time that is left, so much for a call while another backend could still answer in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """``max_attempts`` counts calls to one backend for one ask, the first included."""

    enabled: bool = True
    max_attempts: int = 3
    base_delay_s: float = 0.25
    max_delay_s: float = 8.0


def parse_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after`` (seconds or an HTTP date), in 0 … MAX_RETRY_AFTER_S.

    ``headers`` has lower-case names or ignores case; ``now`` is seconds since the epoch. None when nothing usable is said.
    """
    value = headers.get("retry-after-ms")
    if value is not None and (milliseconds := _number(value)) is not None:
        return _clamp(milliseconds / 1000.0)
    value = headers.get("retry-after")
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        return _clamp(seconds)
    try:
        return _clamp(parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def next_delay_s(policy: RetryPolicy, attempt: int, retry_after_s: float | None, rng: random.Random) -> float | None:
    """Seconds to wait after the ``attempt``-th call (from 1) failed. None: do not retry here.

    Full jitter, uniform in 0 … base x 2^attempt, so that clients that failed together do not come back together. A
    Retry-After within ``max_delay_s`` is a floor; a longer one means that another backend should be asked.
    """
    if not policy.enabled or attempt >= policy.max_attempts:
        return None
    if retry_after_s is not None:
        if retry_after_s > policy.max_delay_s:
            return None
        return min(policy.max_delay_s, retry_after_s + rng.uniform(0.0, policy.base_delay_s))
    return rng.uniform(0.0, min(policy.max_delay_s, policy.base_delay_s * 2.0 ** min(attempt, 30)))


def share_s(remaining_s: float, *, others: int, connect_timeout_s: float) -> float:
    """Seconds that one call may take to answer, of ``remaining_s`` for the whole ask.

    All of it for the last candidate. While ``others`` could still be asked, a backend that hangs must leave them enough: it gets
    SHARE of it, but never less than it may need to connect.
    """
    if others <= 0:
        return remaining_s
    return min(remaining_s, max(SHARE * remaining_s, connect_timeout_s))


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _clamp(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
