"""Routers that a model writes: how they evolve on a simulated pool, and how fast one decides.

    python -m ops.bench.routers [--json] [--quick] [--only evolution|speed] [--seed N] [--plot FILE]

``evolution``: traffic runs under the router in force, a simulated model that can write code is shown its measured mistakes and
edits it, the edits are checked in the sandbox, scored on the half of the log that the model did not see, and tried on new
traffic; what wins is adopted, and so on. In the end every version routes the same fresh traffic, which nothing was written
from. The whole loop is the daemon's own (runtime/routers, runtime/routing); only the requests and the clock are not. The model
sees no more than what was measured: which steps come in which order is nowhere written down. ``speed``: calls of a held router
of as many steps. Intervals: 95 %.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from agents.llm.prompts import prompt
from agents.llm.simulated.answers import answer
from agents.llm.simulated.reading import Reading
from agents.records import Json
from ops.bench.plot import Panel, write_lines
from ops.bench.report import Goal, at_least, at_most, emit, parser, progress
from ops.bench.routers_world import ARMS, KEYS, MIX, POOL, WEIGHTS, Asked, draw
from runtime.config.routers import RoutersSettings
from runtime.routers.checking import checked
from runtime.routers.replay import in_force, sayings, shadowed
from runtime.routers.writing import task
from runtime.routing.bandit import Learner
from runtime.routing.experiment import Plan, Result, assign, begin, observe, rule
from runtime.routing.features import point
from runtime.routing.generated import offered
from runtime.routing.lessons import ArmKey, Lessons, Seen, for_lessons, lessons
from runtime.routing.records import Context, RoutingError, Spent
from runtime.routing.steps import EDITS_SCHEMA, Step, compiled, edited, edits_of
from sandbox.runner import Sandbox

Row = dict[str, Any]

SETTINGS = RoutersSettings(explore=0.25, least_confidence=0.0, limit_ms=1000)
CONFIGURED = frozenset(arm.backend for arm in ARMS)
WRITER = replace(POOL[-1], name="writer", skills={"code": 0.9})
LOGGED, TRIED, JUDGED = 2000, 15_000, 3000
KEPT_LOG = 12_000
KNOWS_NOTHING = 2000
"""So many first requests are given to anybody, as by a daemon that has just begun."""
ATTEMPTS, QUICK_ATTEMPTS = 12, 5
SEEDS = 3
JUDGED_FROM = 10_000_000
"""Requests of this number on are kept for the last comparison."""
CALLS = 3000


@dataclass(frozen=True, kw_only=True)
class Version:
    """A router of the line: ``code`` empty for none at all, where all began."""

    name: str
    steps: tuple[Step, ...] = ()
    code: str = ""
    parent: str = ""
    edits: tuple[str, ...] = ()


@dataclass
class Stream:
    """Requests one after the other; ``sums`` is what each arm was worth so far, which stands in for the learner: the best
    single arm by it answers what no router decides."""

    seed: int
    at: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.sums = dict.fromkeys(KEYS, (1.0, 0.5))
        self.log: list[Seen] = []

    @property
    def usual(self) -> ArmKey:
        """The best single arm as far as is known."""
        return max(KEYS, key=lambda key: self.sums[key][1] / self.sums[key][0])

    def take(self, count: int) -> list[Asked]:
        found = [draw(self.at + number, self.seed) for number in range(count)]
        self.at += count
        return found

    def given(self, asked: Asked, said: ArmKey | None, step: str = "") -> Seen:
        """Choose as the daemon does (the router's arm but for exploring; the usual one where it passes), and look what came."""
        wanted = said or self.usual
        explore = 1.0 if len(self.log) < KNOWS_NOTHING else SETTINGS.explore
        share = {key: (1 - explore) * (key == wanted) + explore / len(KEYS) for key in KEYS}
        arm = self.rng.choices(KEYS, [share[key] for key in KEYS])[0]
        guesses = {key: total / n for key, (n, total) in self.sums.items()}
        n, total = self.sums[arm]
        came = asked.came(arm).worth
        # By the inverse of the probability: a router gives an arm what it is good at, and the rest counts as well.
        self.sums[arm] = (n + 1 / share[arm], total + came / share[arm])
        return Seen(
            unit=asked.unit,
            features=asked.features,
            arm=arm,
            worth=came,
            propensity=share[arm],
            guesses=guesses,
            step=step,
        )


async def said_by(sandbox: Sandbox, version: Version, asked: Sequence[Asked]) -> list[tuple[ArmKey | None, str]]:
    """What the version says on each request, and which step did."""
    if not version.code:
        return [(None, "")] * len(asked)
    seen = [Seen(unit="", features=each.features, arm=KEYS[0], worth=0.0, propensity=1.0, guesses={}) for each in asked]
    return await sayings(sandbox, version.code, seen, settings=SETTINGS, configured=CONFIGURED)


def written(found: Lessons, steps: Sequence[Step], failed: Sequence[str], seed: int) -> Json:
    """The simulated model's answer to the daemon's own question."""
    asked = task(found, steps, offered(ARMS), prompt("router_guidance"), failed)
    messages = ({"role": "user", "content": asked},)
    return answer(Reading(messages, schema=EDITS_SCHEMA), WRITER, seed).data


async def attempt(
    sandbox: Sandbox, champion: Version, stream: Stream, failed: list[str], number: int
) -> tuple[Version | None, str]:
    """One turn of the loop: the next version where it won, and what came of it."""
    asked = stream.take(LOGGED)
    said = await said_by(sandbox, champion, asked)
    fresh = [stream.given(each, arm, step) for each, (arm, step) in zip(asked, said, strict=True)]
    stream.log = [*stream.log, *fresh][-KEPT_LOG:]
    log = in_force(stream.log, await said_on(sandbox, champion, stream.log, stream.usual))
    told, kept = [each for each in log if for_lessons(each.unit)], [each for each in log if not for_lessons(each.unit)]
    found = lessons(told)
    if found is None or not found.says_something:
        return None, "nothing to learn: no group has a gain for sure"
    try:
        edits = edits_of(written(found, champion.steps, failed, 1000 * stream.seed + number))
        steps = edited(champion.steps, edits)
        code = compiled(steps)
    except RoutingError as error:
        return None, f"unusable: {error.field}: {error}"
    made = Version(name=f"v{number}", steps=steps, code=code, parent=champion.name, edits=tuple(edit.told for edit in edits))
    verdict = await checked(
        sandbox, code, [(each.features, ARMS) for each in told[:100]], settings=SETTINGS, configured=CONFIGURED
    )
    if not verdict.good:
        failed.extend(made.edits)
        return None, f"refused by the checks: {verdict.faults[0]}"
    _, gain = shadowed(kept, await said_on(sandbox, made, kept, stream.usual), explore=SETTINGS.explore)
    if gain <= 0:
        failed.extend(made.edits)
        return None, f"refused in the shadow: gain {gain:+.3f} of {'; '.join(made.edits)}"
    won, why = await tried(sandbox, champion, made, stream)
    failed.extend([] if won else made.edits)
    return (made if won else None), f"{'; '.join(made.edits)} [{why}]"


async def said_on(sandbox: Sandbox, version: Version, seen: Sequence[Seen], usual: ArmKey) -> list[tuple[ArmKey | None, str]]:
    """What the version comes to on logged requests; ``usual`` where it passes."""
    if not version.code:
        return [(usual, "")] * len(seen)
    said = await sayings(sandbox, version.code, seen, settings=SETTINGS, configured=CONFIGURED)
    return [(arm or usual, step) for arm, step in said]


async def tried(sandbox: Sandbox, champion: Version, challenger: Version, stream: Stream) -> tuple[bool, str]:
    """The experiment on new traffic, as the daemon rules on it: over the requests on which the two differ."""
    plan = Plan(
        experiment_id=challenger.name, champion=champion.name, challenger=challenger.name, salt=str(stream.seed), began_at=0.0,
        share=0.5, holdout=0.0, min_requests=60, min_dwell_s=0.0, max_requests=TRIED, max_extensions=0, cost_cap_usd=0.01,
    )  # fmt: skip
    state = begin(plan)
    for _ in range(TRIED // 200):
        asked = stream.take(200)
        sides = {"champion": await said_by(sandbox, champion, asked), "challenger": await said_by(sandbox, challenger, asked)}
        for at, each in enumerate(asked):
            if sides["champion"][at][0] == sides["challenger"][at][0]:
                continue
            group = assign(plan, each.unit)
            seen = stream.given(each, sides[group][at][0])
            came = each.came(seen.arm)
            result = Result(quality=seen.worth, cost_usd=came.cost_usd, latency_s=came.latency_s)
            state = observe(plan, state, group, result)
        ruling = rule(plan, state, 1.0)
        if ruling.action != "go_on":
            break
    requests = state.sides["challenger"].requests
    return ruling.action == "adopt", f"{ruling.action} after {requests} requests: {ruling.reason}"


def interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> Row:
    """Mean and 95 % interval (normal)."""
    half = 1.96 * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    return {"mean": float(values.mean()), "low": float(values.mean()) - half, "high": float(values.mean()) + half}


def worth_of(asked: Sequence[Asked], said: Sequence[ArmKey | None], usual: ArmKey) -> np.ndarray[Any, np.dtype[np.float64]]:
    """``(n,)``: the worth of each choice; ``usual`` answers where the router passes."""
    return np.array([each.came(arm or usual).worth for each, arm in zip(asked, said, strict=True)])


def learned(asked: Sequence[Asked], seed: int) -> float:
    """What the learner comes to on the second half of this traffic, from nothing and without embeddings; for comparison."""
    learner, found = Learner(rng=np.random.default_rng(seed)), []
    for number, each in enumerate(asked):
        context = Context(point=point(str(each.features["text"])))
        decision = learner.choose(str(number), context, ARMS, WEIGHTS, now=float(number))
        key = (decision.arm.strategy, decision.arm.backend)
        came = each.came(key)
        learner.spent(str(number), Spent(cost_usd=came.cost_usd, latency_s=came.latency_s))
        learner.learn(str(number), came.quality, now=float(number))
        found.append(came.worth)
    return float(np.mean(found[len(found) // 2 :]))


async def evolution(seed: int, attempts: int, judged: int) -> Row:
    """One line of routers, and every version on the same fresh traffic."""
    stream, line, history, failed = Stream(seed), [Version(name="v0")], list[Row](), list[str]()
    async with Sandbox() as sandbox:
        for number in range(1, attempts + 1):
            made, what = await attempt(sandbox, line[-1], stream, failed, number)
            progress(f"seed {seed}, attempt {number}: {'ADOPTED ' if made else ''}{what}")
            history.append({"attempt": number, "parent": line[-1].name, "adopted": made is not None, "what": what})
            if made is not None:
                line.append(made)
                failed.clear()
        fresh = [draw(JUDGED_FROM + number, seed) for number in range(judged)]
        values = [worth_of(fresh, [arm for arm, _ in await said_by(sandbox, version, fresh)], stream.usual) for version in line]
    best = np.array([each.best() for each in fresh])
    versions = []
    for at, (version, worth) in enumerate(zip(line, values, strict=True)):
        versions.append(
            {
                "version": version.name,
                "parent": version.parent or None,
                "edits": list(version.edits),
                "steps": [step.name for step in version.steps],
                "worth": interval(worth),
                "gain_over_parent": interval(worth - values[at - 1]) if at else None,
                "of_the_oracle": float(worth.mean() / best.mean()),
                "by_domain": {
                    domain: float(np.mean([value for each, value in zip(fresh, worth, strict=True) if each.domain == domain]))
                    for domain in MIX
                },
            }
        )
    singles = {" x ".join(key): float(np.mean([each.came(key).worth for each in fresh])) for key in KEYS}
    return {
        "versions": versions,
        "attempts": history,
        "singles": singles,
        "oracle": float(best.mean()),
        "learner_second_half": learned(fresh, seed),
        "last_router": line[-1].code,
        "requests": stream.at,
    }


async def speed(seed: int) -> Row:
    """Milliseconds of a held call, with a router of eight steps and the features of real requests."""
    words = (
        'import re\nFOUND = re.compile(r"\\b(?:{})\\b")\n\ndef step(request):\n'
        '    return {{"backend": "swift", "confidence": 0.9}} if FOUND.search(request["text"]) else None\n'
    )
    steps = [Step(name=f"s{n}", source=words.format("|".join(f"word{n}x{m}" for m in range(10)))) for n in range(7)]
    last = 'def step(request):\n    return {"backend": "grand" if request["complexity"] > 2 else "swift", "confidence": 0.7}\n'
    version = Version(name="v1", code=compiled([*steps, Step(name="last", source=last)]))
    asked, took = [draw(number, seed) for number in range(100)], []
    async with Sandbox() as sandbox:
        await sandbox.health(version.code)
        held = sandbox.hold(version.code)
        for number in range(CALLS + 100):
            began = time.perf_counter()
            result = await held.call(asked[number % len(asked)].features)
            took.append(1000 * (time.perf_counter() - began))
            assert result.ok, result
        await held.aclose()
    return {"p50_ms": float(np.median(took[100:])), "p99_ms": float(np.quantile(took[100:], 0.99)), "steps": 8, "calls": CALLS}


def run(only: str | None, *, seed: int, quick: bool) -> Row:
    """The parts that were asked for."""
    result: Row = {}
    if only in (None, "speed"):
        progress("speed of a held router")
        result["speed"] = asyncio.run(speed(seed))
    if only in (None, "evolution"):
        seeds = range(seed, seed + (1 if quick else SEEDS))
        attempts, judged = (QUICK_ATTEMPTS, 1000) if quick else (ATTEMPTS, JUDGED)
        result["evolution"] = {str(each): asyncio.run(evolution(each, attempts, judged)) for each in seeds}
    return result


def goals(result: Row) -> list[Goal]:
    """Only for what was measured in this run."""
    found = []
    if "speed" in result:
        found.append(at_most("a generated router's decision, p50", result["speed"]["p50_ms"], 1.0, "ms"))
    for seed, row in result.get("evolution", {}).items():
        later = [each for each in row["versions"] if each["gain_over_parent"] is not None]
        name = f"seed {seed}: least gain of a version over its parent on fresh traffic, lower bound"
        least = min((each["gain_over_parent"]["low"] for each in later), default=None)
        found.append(at_least(f"seed {seed}: versions after the first", float(len(later)), 3, ""))
        found.append(at_least(name, least, 0.0, ""))
    return found


def panels(result: Row) -> list[Panel]:
    """Worth by version, of each seed."""
    lines = {
        f"seed {seed}": [(float(at), each["worth"]["mean"]) for at, each in enumerate(row["versions"])]
        for seed, row in result.get("evolution", {}).items()
    }
    return [("worth on fresh traffic", "version", "worth", lines)] if lines else []


def main() -> None:
    chosen = parser(__doc__ or "", ("evolution", "speed")).parse_args()
    result = run(chosen.only, seed=chosen.seed, quick=chosen.quick)
    if chosen.plot is not None:
        write_lines(Path(chosen.plot), panels(result))
    emit(result, goals(result), as_json=chosen.json)


if __name__ == "__main__":
    main()
