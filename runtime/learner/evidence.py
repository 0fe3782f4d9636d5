"""What an outcome says of the arm that was chosen, and how far each source of verdicts may be believed.

Called by desk.py. Pure; bounded.

A check sees form and rules, not truth; a judge errs; a client knows best but may not be honest. Together they count as one
outcome at the most (bandit.Learner.learn). An answer that nobody judged counts for a tenth, at what the pool's answers are worth
on average: without it an arm of which only failures are heard would sink without end.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence

from agents.calls import CallRecord
from agents.records import AgentError
from runtime.learner.records import OWN, Evidence
from runtime.records import Answer

CHECKS = 0.6
PARTIAL = 0.2
DELIVERED = 0.1
LATE = 0.5
FEEDBACK = 1.0
LATE_LEAST_S = 5.0
"""A deadline shorter than this says more of the client than of the backend."""

_BLAMED = frozenset(
    {"backend_error", "backend_unreachable", "backend_timeout", "backend_failed", "backend_garbled", "stream_broken"}
)
_POOR = {"structured_failed": 0.0, "escalated": 0.0, "incomplete": 0.2}


def of_answer(answer: Answer, *, usual: float) -> Evidence:
    """What the answer says by itself. ``usual``: what an answer of the pool is worth on average."""
    draft, verdict = answer.draft, answer.verdict
    tool_calls = bool(draft.message and draft.message.get("tool_calls"))
    if not draft.text.strip() and draft.data is None and not tool_calls:
        return Evidence(score=0.0, reliability=1.0, source="empty")
    if verdict is not None and verdict.source != "none":
        return Evidence(score=verdict.score, reliability=CHECKS, source="checks")
    if not draft.complete:
        return Evidence(score=PARTIAL, reliability=CHECKS, source="checks")
    return Evidence(score=usual, reliability=DELIVERED, source="delivered")


def of_failure(error: AgentError | None, calls: Sequence[CallRecord], backend: str, *, deadline_s: float) -> Evidence | None:
    """What went wrong with ``backend``, if it was its fault; None where it says nothing of it (the client's mistake, a limit)."""
    own = [call for call in calls if backend in (OWN, call.backend)]
    if any(call.error in _BLAMED for call in own) and not any(call.error is None for call in own):
        return Evidence(score=0.0, reliability=1.0, source="failure")
    if error is not None and error.code in _POOR and own:
        return Evidence(score=_POOR[error.code], reliability=CHECKS, source="checks")
    if error is not None and error.code == "deadline_exceeded" and own and deadline_s >= LATE_LEAST_S:
        return Evidence(score=0.0, reliability=LATE, source="failure")
    return None


class KeyTrust:
    """How much one key's feedback counts: less as it disagrees with checks and judges, and no key more than its part where
    several give feedback; at most ``per_hour`` of one key are heard. Not thread-safe; bounded."""

    def __init__(self, *, window: int = 500, most_keys: int = 1024, per_hour: int = 600) -> None:
        self._window: deque[str] = deque(maxlen=window)
        self._most_keys = most_keys
        self._per_hour = per_hour
        self._differences: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._hours: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def admit(self, key: str, *, now: float) -> float:
        """One feedback of ``key``: the reliability that it has, 0 where too many came."""
        hour = int(now // 3600)
        at, count = self._hours.pop(key, (hour, 0))
        count = count + 1 if at == hour else 1
        self._hours[key] = (hour, count)
        if len(self._hours) > self._most_keys:
            self._hours.popitem(last=False)
        if count > self._per_hour:
            return 0.0
        self._window.append(key)
        counts = Counter(self._window)
        part = min(1.0, 2 * len(self._window) / (len(counts) * counts[key])) if len(counts) > 1 else 1.0
        return FEEDBACK * part * self._honesty(key)

    def compare(self, key: str, score: float, other: float) -> None:
        """The key said ``score`` where a check or a judge said ``other``."""
        n, total = self._differences.pop(key, (0.0, 0.0))
        self._differences[key] = (0.99 * n + 1.0, 0.99 * total + abs(score - other))
        if len(self._differences) > self._most_keys:
            self._differences.popitem(last=False)

    def _honesty(self, key: str) -> float:
        """1 for one of whom nothing is known or who differs by no more than a third on average, down to 0.2."""
        n, total = self._differences.get(key, (0.0, 0.0))
        mean = total / (n + 5.0)
        return min(1.0, max(0.2, 1.0 - 1.5 * max(0.0, mean - 0.33)))
