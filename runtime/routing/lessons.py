"""What the log says a router does wrong: groups of requests for which another arm would have been better, and the worst choices.

Called by runtime/routers and ops/bench/routers.py. Pure; imports numpy and this room alone.

Every judged choice was made with a known probability, so that what each other arm would have been worth on a group can be
estimated without having tried it on all of it (weighted by the inverse of that probability). A group is told where the gain of
another arm is above zero by a bound that allows for all the groups that were looked at: few tests of counts and flags need few
requests, many words need many. So what is told grows with what is known.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Json = Any
Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
ArmKey = tuple[str, str]
"""(strategy, backend)."""

FLAGS: Final = ("question", "goes_on", "schema")
NUMBERS: Final = ("words", "numbers", "lines", "messages", "complexity", "count", "rules", "tools", "library_similarity", "hour")
MOST_WEIGHT: Final = 100.0
LEAST_REQUESTS: Final = 12
LEAST_GIVEN: Final = 6
"""What was tried less often on a group is not told of it."""
ERROR: Final = 0.5
"""Share of logs on which a family of tests may tell a group that is none: an attempt is wasted then, and no more, since the other
half of the log and the experiment are still to come."""
MAX_WORDS: Final = 400
MOST_OF_ALL: Final = 0.6
"""A word that stands in more of the requests says little of any."""
CUTS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MAX_GROUPS: Final = 16
MAX_WORD_GROUPS: Final = 12
MAX_EXAMPLES: Final = 10
EXAMPLE_CHARS: Final = 160
_WORD: Final = re.compile(r"[^\W\d_]{3,24}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A judged choice. ``guesses`` are what the learner thought each open arm was worth before the outcome; ``worth`` what came
    of
    ``arm``, 0 to 1, which was given with ``propensity``. ``unit`` says which half of the log it is in. ``step`` is the step that
    decided then, ``now`` and ``now_step`` what the router in force says of it (None: it leaves it to the learner)."""

    unit: str
    features: Mapping[str, Json]
    arm: ArmKey
    worth: float
    propensity: float
    guesses: Mapping[ArmKey, float]
    step: str = ""
    now: ArmKey | None = None
    now_step: str = ""

    @property
    def usual(self) -> ArmKey | None:
        """What the learner takes where a router leaves the choice to it: the arm of the best guess."""
        return max(self.guesses, key=lambda arm: self.guesses[arm], default=None)


class Test(NamedTuple):
    """A condition on a request: ``feature`` ``op`` ``value``; ``has`` is a word in the text, ``is`` equality."""

    feature: str
    op: str
    value: Json

    @property
    def text(self) -> str:
        if self.op == "has":
            return f"the text has the word {self.value!r}"
        if self.op == "is":
            return f"{self.feature} is {self.value!r}"
        return f"{self.feature} {self.op} {self.value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Requests that meet ``test``: what was chosen for them came to ``now``; with ``best`` for all it would have been ``then``,
    better by at least ``gain_low``. ``worth`` are all arms' estimates."""

    test: Test
    requests: int
    now: float
    best: ArmKey
    then: float
    gain_low: float
    share: float
    worth: Mapping[ArmKey, float]

    @property
    def value(self) -> float:
        """What can be had for sure, over all requests."""
        return self.share * self.gain_low


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """``arms`` are what each arm would have been worth on all requests; ``steps`` what each step's decisions came to, and what
    the best single arm would have come to on the same."""

    requests: int
    now: float
    arms: Mapping[ArmKey, float]
    groups: tuple[Group, ...]
    steps: tuple[Group, ...]
    worst: tuple[Seen, ...]

    @property
    def says_something(self) -> bool:
        """Whether anything is known to be wrong."""
        return bool(self.groups) or any(step.gain_low > 0 for step in self.steps)


def for_lessons(unit: str) -> bool:
    """The half of the log that a model is told of; it is judged on the other half."""
    return zlib.crc32(unit.encode("utf-8", "replace")) % 2 == 0


class _Log(NamedTuple):
    """``(n,)`` each: which arm was given, which the router in force takes, what came of it, and one over its probability."""

    arms: Sequence[ArmKey]
    given: npt.NDArray[np.intp]
    now: npt.NDArray[np.intp]
    worth: Vector
    weight: Vector


def lessons(seen: Sequence[Seen]) -> Lessons | None:
    """What can be learned from ``seen``; None where that is nothing at all."""
    arms = sorted({arm for each in seen for arm in each.guesses})
    if not seen or len(arms) < 2:
        return None
    place = {arm: at for at, arm in enumerate(arms)}
    log = _Log(
        arms,
        np.array([place.get(each.arm, -1) for each in seen]),
        np.array([place.get(each.now or each.usual or each.arm, -1) for each in seen]),
        np.array([each.worth for each in seen]),
        np.minimum(1 / np.array([max(each.propensity, 1e-6) for each in seen]), MOST_WEIGHT),
    )
    everything = np.ones(len(seen), dtype=bool)
    found: list[Group] = []
    for family in (_shape(seen), _patterns(seen), _words(seen)):
        tests = list(family)
        found += [group for test, mask in tests if (group := _group(test, mask, log, len(tests))) is not None]
    steps = [group for test, mask in _steps(seen) if (group := _group(test, mask, log, 1, least=-np.inf)) is not None]
    regrets = [max(each.guesses.values()) - each.worth for each in seen]
    worst = [seen[at] for at in np.argsort(regrets)[::-1][:MAX_EXAMPLES] if regrets[at] > 0]
    now = _mean(log, everything & (log.given == log.now))
    return Lessons(
        requests=len(seen),
        now=now[0] if now is not None else float(log.worth.mean()),
        arms={arm: value[0] for at, arm in enumerate(arms) if (value := _mean(log, log.given == at)) is not None},
        groups=tuple(_chosen(found)),
        steps=tuple(steps),
        worst=tuple(worst),
    )


def _mean(log: _Log, mask: Mask) -> tuple[float, float] | None:
    """(mean worth, its variance) over the choices of ``mask``, weighted to stand for all such requests; None for too few.

    The self-normalised estimate (Hájek 1971): with one outcome the same as the other its variance is 0, so that a floor of half
    an outcome's worth is put under it.
    """
    if int(mask.sum()) < LEAST_GIVEN:
        return None
    weight, worth = log.weight[mask], log.worth[mask]
    mean = float((weight * worth).sum() / weight.sum())
    effective = float(weight.sum() ** 2 / (weight**2).sum())
    spread = float((weight**2 * (worth - mean) ** 2).sum() / weight.sum() ** 2)
    return mean, max(spread, (0.5 / effective) ** 2)


def _group(test: Test, mask: Mask, log: _Log, tests: int, least: float = 0.0) -> Group | None:
    n = int(mask.sum())
    now = _mean(log, mask & (log.given == log.now)) if n >= LEAST_REQUESTS else None
    if now is None:
        return None
    z = NormalDist().inv_cdf(1 - ERROR / (tests * len(log.arms)))
    worth = {at: value for at in range(len(log.arms)) if (value := _mean(log, mask & (log.given == at))) is not None}
    low = {at: mean - now[0] - z * float(np.sqrt(variance + now[1])) for at, (mean, variance) in worth.items()}
    if not low:
        return None
    best = max(low, key=lambda at: low[at])
    if low[best] <= least:
        return None
    return Group(
        test=test,
        requests=n,
        now=now[0],
        best=log.arms[best],
        then=worth[best][0],
        gain_low=low[best],
        share=n / len(mask),
        worth={log.arms[at]: mean for at, (mean, _) in worth.items()},
    )


def _chosen(found: Sequence[Group]) -> Iterator[Group]:
    """The most valuable, a feature's best cut alone."""
    words, numbers = 0, set[tuple[str, ArmKey]]()
    for taken, group in enumerate(sorted(found, key=lambda group: -group.value)):
        if group.test.op == "has":
            words += 1
            if words > MAX_WORD_GROUPS:
                continue
        elif group.test.op != "is":
            if (group.test.feature, group.best) in numbers:
                continue
            numbers.add((group.test.feature, group.best))
        if taken >= 4 * MAX_GROUPS:
            return
        yield group


def _shape(seen: Sequence[Seen]) -> Iterator[tuple[Test, Mask]]:
    everything = np.ones(len(seen), dtype=bool)
    yield Test("words", ">=", 0), everything
    for name in FLAGS:
        values = np.array([bool(each.features.get(name)) for each in seen])
        for truth in (True, False):
            yield Test(name, "is", truth), values == truth
    for name in NUMBERS:
        values = np.array([float(each.features.get(name) or 0) for each in seen])
        for cut in sorted({round(float(each), 3) for each in np.quantile(values, CUTS)} - {float(values.min())}):
            yield Test(name, ">=", cut), values >= cut
            yield Test(name, "<", cut), values < cut


def _patterns(seen: Sequence[Seen]) -> Iterator[tuple[Test, Mask]]:
    values = [str(each.features.get("pattern") or "") for each in seen]
    for name, _ in Counter(value for value in values if value).most_common(50):
        yield Test("pattern", "is", name), np.array([value == name for value in values])


def _words(seen: Sequence[Seen]) -> Iterator[tuple[Test, Mask]]:
    texts = [frozenset(_WORD.findall(str(each.features.get("text") or ""))) for each in seen]
    counts = Counter(word for words in texts for word in words)
    fit = [(word, n) for word, n in counts.items() if LEAST_REQUESTS <= n <= MOST_OF_ALL * len(seen)]
    for word, _ in sorted(fit, key=lambda each: (-each[1], each[0]))[:MAX_WORDS]:
        yield Test("text", "has", word), np.array([word in words for words in texts])


def _steps(seen: Sequence[Seen]) -> Iterator[tuple[Test, Mask]]:
    for name in sorted({each.now_step for each in seen if each.now_step}):
        yield Test("step", "is", name), np.array([each.now_step == name for each in seen])


# ── as a model reads it ─────────────────────────────────────────────────────────────────────────────────────────────────


def told(group: Group) -> dict[str, Json]:
    """A group as JSON for a prompt."""
    return {
        "when": group.test.text,
        "feature": group.test.feature,
        "op": group.test.op,
        "value": group.test.value,
        "requests": group.requests,
        "worth_now": round(group.now, 3),
        "best": {"strategy": group.best[0], "backend": group.best[1]},
        "worth_then": round(group.then, 3),
        "gain_at_least": round(group.gain_low, 3),
        "worth_by_arm": {f"{strategy} x {backend}": round(value, 3) for (strategy, backend), value in group.worth.items()},
    }


def example(each: Seen) -> dict[str, Json]:
    """A bad choice as JSON for a prompt: what the request was like, what was chosen, what it came to."""
    features = {name: value for name, value in each.features.items() if name not in ("text", "arms")}
    text = str(each.features.get("text") or "")[:EXAMPLE_CHARS]
    guesses = {f"{strategy} x {backend}": round(value, 2) for (strategy, backend), value in each.guesses.items()}
    chosen = f"{each.arm[0]} x {each.arm[1]}"
    return {"text": text, **features, "chosen": chosen, "worth": round(each.worth, 2), "expected": guesses}
