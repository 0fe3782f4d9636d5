"""The circuit breaker of one backend: a pure state machine over time.

closed -> open after failures in a row, or when half of a full window failed; open -> half open after ``open_s``, when one
probe is let through; the probe's success closes it, its failure opens it again. Called by desk.py. It does no I/O and reads no
clock: ``now`` is any monotonic second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from agents.calls import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """``failures`` in a row, or half of the last ``window`` calls, open it for ``open_s`` seconds."""

    enabled: bool = True
    failures: int = 5
    window: int = 20
    open_s: float = 15.0


class Breaker:
    """One backend's breaker. Every ``admit`` that said "probe" is answered by one ``record`` or ``cancelled``."""

    __slots__ = ("_in_a_row", "_open_until", "_probing", "_results", "policy")

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self._results: deque[bool] = deque(maxlen=policy.window)
        self._in_a_row = 0
        self._open_until: float | None = None
        self._probing = False

    def admit(self, now: float) -> Literal["yes", "probe", "no"]:
        """May a call start now? "probe" takes the one probe slot."""
        if self._open_until is None or not self.policy.enabled:
            return "yes"
        if self._probing or now < self._open_until:
            return "no"
        self._probing = True
        return "probe"

    def record(self, ok: bool, now: float, probe: bool) -> None:
        """Note what came of a call. Calls that started before it opened say nothing new and are ignored while open."""
        if not self.policy.enabled:
            self.cancelled(probe)
            return
        if probe and self._open_until is not None:
            self._probing = False
            if ok:
                self._close()
            else:
                self._open_until = now + self.policy.open_s
            return
        if self._open_until is not None:
            return
        self._results.append(ok)
        self._in_a_row = 0 if ok else self._in_a_row + 1
        if not ok and self._is_too_much():
            self._open_until = now + self.policy.open_s

    def cancelled(self, probe: bool) -> None:
        """A call ended by our own will: it says nothing, but the probe slot is given back."""
        if probe:
            self._probing = False

    def adopt(self, policy: BreakerPolicy, now: float) -> None:
        """Go on under another policy: what was seen counts on, an open breaker rests no longer than the new policy says."""
        self._results = deque(self._results, maxlen=policy.window)
        if not policy.enabled:
            self._close()
        elif self._open_until is not None:
            self._open_until = min(self._open_until, now + policy.open_s)
        self.policy = policy

    def health(self, now: float) -> Health:
        """The state as routing sees it."""
        if self._open_until is None or not self.policy.enabled:
            return Health()
        if self._probing or now >= self._open_until:
            return Health(state="half_open")
        return Health(state="open", retry_in_s=self._open_until - now)

    def _is_too_much(self) -> bool:
        if self._in_a_row >= self.policy.failures:
            return True
        full = len(self._results) == self.policy.window
        return full and 2 * self._results.count(False) >= self.policy.window

    def _close(self) -> None:
        self._open_until = None
        self._in_a_row = 0
        self._results.clear()
