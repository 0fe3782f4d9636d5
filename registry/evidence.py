"""What executions say: sums that add up, and tests that tell a real gain from luck, however often one looks.

Called by artifacts.py, search.py, review.py, upkeep.py and inspect.py. Pure but for the port ``Evidence``, which the daemon's
ledger implements. Imports nothing of the project but this package's records.

The test is the mixture sequential probability ratio test (Robbins 1970; Johari, Pekelis and Walsh 2015) on the difference of
two means: with an estimated difference d of variance V and a normal prior N(0, t²) over true differences, the likelihood ratio
is ``sqrt(V / (V + t²)) * exp(t² d² / (2 V (V + t²)))``, and 1/ratio is a p-value that stays valid though it is looked at after
every batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from registry.records import VersionId

MIN_RUNS = 30
"""Fewer runs on either side prove nothing: the test's normal approximation needs them."""
LUCK = 0.01
"""Chance of calling luck a gain, over all looks at one pair."""
SUCCESS_GAIN = 0.10
"""Share of runs that succeed more; the same for the mean quality."""
SPEED_GAIN = 2.0
"""Times as fast (ratio of geometric means)."""
WORSE_BY = 0.02
"""A version may succeed this much less often and still count as no worse."""
BAD_RUNS = 5
BAD_SUCCESS = 0.5
_Z95 = 1.959964

Measure = Literal["success", "quality", "speed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a version: by which node, how long, whether its checks held, and how good it was (0 … 1) where known."""

    version_id: VersionId
    node: str
    at: float
    ok: bool
    latency_s: float
    quality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """All executions of one version, as sums, so that batches add up. Latencies enter as natural logarithms of seconds: they are
    skewed, and ratios are what is compared. ``nodes`` is how many nodes ran it in the active window; times are Unix seconds."""

    version_id: VersionId
    runs: int = 0
    successes: int = 0
    latency_sum_s: float = 0.0
    log_latency_sum: float = 0.0
    log_latency_squares: float = 0.0
    quality_runs: int = 0
    quality_sum: float = 0.0
    quality_squares: float = 0.0
    nodes: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def success_rate(self) -> float | None:
        """Share of runs whose checks held; None without runs."""
        return self.successes / self.runs if self.runs else None

    @property
    def latency_s(self) -> float | None:
        """The mean, in seconds."""
        return self.latency_sum_s / self.runs if self.runs else None

    @property
    def quality(self) -> float | None:
        """The mean quality where it was judged, else the share of runs whose checks held."""
        return self.quality_sum / self.quality_runs if self.quality_runs else self.success_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """All executions of one day (``day`` counts from 1970-01-01, UTC)."""

    day: int
    runs: int
    successes: int
    quality_runs: int
    quality_sum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """First tries at new programs in one arm: how many, and how many passed their checks at once. ``standard`` "": before there
    was one."""

    standard: str
    guided: bool
    tries: int
    passed: int


class Evidence(Protocol):
    """Execution evidence at rest. The daemon's ledger implements it; nothing here writes a table for a run."""

    def record(self, run: Run) -> None:
        """Queue one execution; never blocks, survives a restart once written."""
        ...

    async def fold(self) -> list[VersionId]:
        """Add the executions since the last fold to the sums, in one transaction; returns whose sums changed."""
        ...

    async def usage(self, version_ids: list[VersionId] | None = None) -> dict[VersionId, Usage]:
        """Sums by version; of all that were ever run where None is given."""
        ...

    async def used_by(self, version_id: VersionId, *, node: str | None = None, other_than: str | None = None) -> tuple[int, int]:
        """(runs, successes) by one node, or by every node ``other_than`` one."""
        ...

    async def days(self) -> list[Day]:
        """All executions by day, oldest first."""
        ...

    def wrote(self, standard: str, *, guided: bool, ok: bool) -> None:
        """Queue one first try at a new program while ``standard`` was in force: whether its writer was shown it, and whether the
        program passed its checks; never blocks."""
        ...

    async def written(self) -> list[Written]:
        """Sums of these, by standard and arm."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much better one version is than another in one measure. ``size``: a difference of shares, or a ratio of speeds."""

    measure: Measure
    size: float
    p_value: float

    def __str__(self) -> str:
        shown = f"{self.size:.1f} times as fast" if self.measure == "speed" else f"{self.measure} +{100 * self.size:.0f} points"
        return f"{shown} (p = {self.p_value:.2g})"


def add(one: Usage, other: Usage) -> Usage:
    """The sums of two batches of the same version; ``nodes`` is the larger count."""
    firsts = [each.first_at for each in (one, other) if each.runs]
    return Usage(
        version_id=one.version_id,
        runs=one.runs + other.runs,
        successes=one.successes + other.successes,
        latency_sum_s=one.latency_sum_s + other.latency_sum_s,
        log_latency_sum=one.log_latency_sum + other.log_latency_sum,
        log_latency_squares=one.log_latency_squares + other.log_latency_squares,
        quality_runs=one.quality_runs + other.quality_runs,
        quality_sum=one.quality_sum + other.quality_sum,
        quality_squares=one.quality_squares + other.quality_squares,
        nodes=max(one.nodes, other.nodes),
        first_at=min(firsts, default=0.0),
        last_at=max(one.last_at, other.last_at),
    )


def usage_of(version_id: VersionId, runs: Iterable[Run]) -> Usage:
    """The sums of single runs."""
    total = Usage(version_id=version_id)
    nodes = set()
    for run in runs:
        nodes.add(run.node)
        log_s = log_latency(run.latency_s)
        judged = run.quality is not None
        one = Usage(
            version_id=version_id,
            runs=1,
            successes=int(run.ok),
            latency_sum_s=max(0.0, run.latency_s),
            log_latency_sum=log_s,
            log_latency_squares=log_s**2,
            quality_runs=int(judged),
            quality_sum=run.quality or 0.0,
            quality_squares=(run.quality or 0.0) ** 2,
            first_at=run.at,
            last_at=run.at,
        )
        total = add(total, one)
    return replace(total, nodes=len(nodes))


def log_latency(latency_s: float) -> float:
    """Natural logarithm of seconds, from a microsecond up."""
    return math.log(max(1e-6, latency_s))


def success_floor(usage: Usage) -> float:
    """Lower end of the 95 % interval of the success rate; 0 without runs."""
    return share_interval(usage.successes, usage.runs)[0]


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of the share ``part / whole``; (0, 1) of nothing."""
    if not whole:
        return 0.0, 1.0
    share, z2 = part / whole, _Z95**2
    spread = _Z95 * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole * whole))
    middle, scale = share + z2 / (2 * whole), 1 + z2 / whole
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def is_bad(usage: Usage | None) -> bool:
    """Whether executions speak against a version: at least 5 runs, and half of them or more failed."""
    return usage is not None and usage.runs >= BAD_RUNS and usage.successes <= BAD_SUCCESS * usage.runs


def gains(better: Usage, worse: Usage) -> list[Gain]:
    """Where ``better`` beats ``worse`` by a large and significant margin, while it succeeds no less often; else empty.

    Needs 30 runs on either side. Sizes: success or quality +10 points, speed twice.
    """
    if min(better.runs, worse.runs) < MIN_RUNS or not no_worse(better, worse):
        return []
    least = {"success": SUCCESS_GAIN, "quality": SUCCESS_GAIN, "speed": SPEED_GAIN}
    return [gain for gain in _significant(better, worse) if gain.size >= least[gain.measure]]


def no_worse(one: Usage, other: Usage) -> bool:
    """Whether ``one`` succeeds no less often than ``other``, but for a margin of 2 points: the 95 % interval must rule that
    out."""
    if not one.runs or not other.runs:
        return False
    a, b = one.successes / one.runs, other.successes / other.runs
    spread = _Z95 * math.sqrt(_share_variance(one.successes, one.runs) + _share_variance(other.successes, other.runs))
    return a - b >= 0.0 or (a - b >= -WORSE_BY and a - b + spread >= 0.0)


def supersedes(child: Usage, parent: Usage) -> str | None:
    """Why ``child`` should take over from ``parent``; None where it should not: a significant gain, of any size, and nothing
    worse."""
    if min(child.runs, parent.runs) < MIN_RUNS or not no_worse(child, parent):
        return None
    found = _significant(child, parent)
    won = [gain for gain in found if _is_gain(gain)]
    lost = [gain for gain in found if not _is_gain(gain) and (gain.measure != "speed" or gain.size < 1 / SPEED_GAIN)]
    return "; ".join(map(str, won)) if won and not lost else None


def p_value(difference: float, variance: float, scale: float) -> float:
    """The always-valid p-value of ``difference`` being none; ``scale`` is the size of differences that matter (t of the
    prior)."""
    if variance <= 0.0:
        return 0.0 if difference else 1.0
    prior = scale**2
    log_ratio = 0.5 * math.log(variance / (variance + prior)) + prior * difference**2 / (2 * variance * (variance + prior))
    return min(1.0, math.exp(-min(log_ratio, 700.0)))


def _significant(one: Usage, other: Usage) -> list[Gain]:
    """Where ``one`` differs from ``other`` by more than luck, for better or worse."""
    found = [
        _share_gain("success", one.successes, one.runs, other.successes, other.runs),
        _quality_gain(one, other),
        _speed_gain(one, other),
    ]
    return [gain for gain in found if gain is not None and gain.p_value <= LUCK]


def _is_gain(gain: Gain) -> bool:
    return gain.size > (1.0 if gain.measure == "speed" else 0.0)


def _share_variance(successes: int, runs: int) -> float:
    """Of a share, with half a success and half a failure added, so that none failing is not taken for certainty."""
    share = (successes + 0.5) / (runs + 1)
    return share * (1 - share) / runs


def _share_gain(measure: Measure, good: int, of: int, other_good: int, of_other: int) -> Gain:
    size = good / of - other_good / of_other
    variance = _share_variance(good, of) + _share_variance(other_good, of_other)
    return Gain(measure=measure, size=size, p_value=p_value(size, variance, SUCCESS_GAIN))


def _quality_gain(one: Usage, other: Usage) -> Gain | None:
    if min(one.quality_runs, other.quality_runs) < MIN_RUNS:
        return None
    a = _moments(one.quality_runs, one.quality_sum, one.quality_squares)
    b = _moments(other.quality_runs, other.quality_sum, other.quality_squares)
    return Gain(measure="quality", size=a[0] - b[0], p_value=p_value(a[0] - b[0], a[1] + b[1], SUCCESS_GAIN))


def _speed_gain(one: Usage, other: Usage) -> Gain:
    a = _moments(one.runs, one.log_latency_sum, one.log_latency_squares)
    b = _moments(other.runs, other.log_latency_sum, other.log_latency_squares)
    difference = b[0] - a[0]
    return Gain(measure="speed", size=math.exp(difference), p_value=p_value(difference, a[1] + b[1], math.log(SPEED_GAIN)))


def _moments(n: int, total: float, squares: float) -> tuple[float, float]:
    """(mean, variance of the mean). A spread of nothing is taken for a spread of a thousandth."""
    mean = total / n
    return mean, max(1e-6, (squares - n * mean * mean) / (n - 1)) / n


def effect_of(written: Sequence[Written]) -> dict[str, object] | None:
    """What a standard does to the pass rate of new code, over all its versions; None while nothing was written with one in force.

    ``guided`` and ``unguided`` are drawn by chance while a standard is in force: their difference and its p-value are the
    standard's. ``before`` is what was written before there was one: other requests, at another time. Each arm has its tries, how
    many passed, and Wilson's 95 % interval of the share.
    """
    arms = {
        "guided": [each for each in written if each.standard and each.guided],
        "unguided": [each for each in written if each.standard and not each.guided],
        "before": [each for each in written if not each.standard],
    }
    tries = {name: sum(each.tries for each in arm) for name, arm in arms.items()}
    passed = {name: sum(each.passed for each in arm) for name, arm in arms.items()}
    if not tries["guided"] + tries["unguided"]:
        return None
    both = tries["guided"] and tries["unguided"]
    gain = _share_gain("success", passed["guided"], tries["guided"], passed["unguided"], tries["unguided"]) if both else None
    enough = min(tries["guided"], tries["unguided"]) >= MIN_RUNS
    intervals = {name: share_interval(passed[name], tries[name]) for name in arms}
    return {
        **{name: {"tries": tries[name], "passed": passed[name], "interval": list(intervals[name])} for name in arms},
        "difference": gain.size if gain is not None else None,
        "p_value": gain.p_value if gain is not None and enough else None,
    }


def mean_quality(days: Sequence[Day]) -> float | None:
    """Over several days: judged quality where there is one, else the share of successes."""
    judged, runs = sum(day.quality_runs for day in days), sum(day.runs for day in days)
    if judged:
        return sum(day.quality_sum for day in days) / judged
    return sum(day.successes for day in days) / runs if runs else None
