"""The traffic of the demo's eight weeks: who asks what, and what the network should make of it. Pure for a seed.

Called by demo_life.py. Nothing here says how a change comes about: requests are sent, and an operator wishes once for a node;
what follows is the daemon's own doing, and demo_change.py reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

Json = Any
NUMBERS: Final = ("revenue", "parcels", "readings")
"""Kinds of requests that a program answers better than a model alone."""
WINDOW: Final = 40
"""Requests after which the demo's daemon looks at itself; a week is some of these."""
_CITIES: Final = ("Lisbon", "Oslo", "Madrid", "Rome", "Paris", "Vienna", "Prague", "Cairo", "Delhi", "Lima", "Quito", "Bonn")
_NAMES: Final = ("Anna", "Bruno", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Leo")
_PLACES: Final = ("town hall", "museum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: of which kind it is in the demo's words, and its body."""

    kind: str
    body: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """``mix``: kinds and their parts of the traffic. ``expects``: what should have come about by its end, in the words of
    demo_change.py; the traffic goes on until then, for at least ``least`` and at most ``most`` windows."""

    number: int
    title: str
    mix: Mapping[str, int]
    expects: tuple[str, ...] = ()
    least: int = 2
    most: int = 4
    wish: bool = False
    """An operator adds a second node for what the revenue specialist does."""


def weeks() -> Sequence[Week]:
    """All of them, in order."""
    first = {"revenue": 9, "readings": 8, "parcels": 8, "poem": 8, "hours": 7}
    known = {
        "revenue": 7,
        "revenue by program": 6,
        "readings": 7,
        "readings by program": 6,
        "parcels": 7,
        "parcels by program": 6,
    }
    known |= {"hours": 1}
    later = {"revenue": 11, "readings": 9, "poem": 10, "hours": 9, "plan": 1}
    desks = {"revenue at the specialist": 12, "revenue at the desk": 12, "readings": 6, "poem": 5, "hours": 5}
    return (
        Week(number=1, title="one generalist answers everything", mix=first),
        Week(number=2, title="the same kinds come again", mix=first, expects=("patterns",)),
        Week(
            number=3, title="some clients have their numbers made by a program", mix=known, expects=("spawned", "written"), most=5
        ),
        Week(number=4, title="the specialists at work", mix=first, expects=("routine", "kept"), most=12),
        Week(
            number=5,
            title="hard requests come; nobody asks for {parcels} any more",
            mix=later,
            expects=("committee", "parked"),
            most=8,
        ),
        Week(number=6, title="an operator adds a second desk for {revenue}", mix=desks, expects=("merged",), most=10, wish=True),
        Week(number=7, title="everyday traffic", mix=later),
        Week(number=8, title="everyday traffic", mix=later, expects=("merge kept", "pruned"), most=24),
    )


def window_of(mix: Mapping[str, int], rng: Random, *, names: Mapping[str, str], cast: Mapping[str, str]) -> list[Asked]:
    """WINDOW requests in the parts of ``mix``, shuffled. ``names``: live nodes by what the demo calls them; ``cast``: kinds that
    take each other's part."""
    whole = sum(mix.values())
    parts = {" ".join((cast.get(kind.split()[0], kind.split()[0]), *kind.split()[1:])): part for kind, part in mix.items()}
    kinds = [kind for kind, part in parts.items() for _ in range(round(part * WINDOW / whole))]
    rng.shuffle(kinds)
    return [Asked(kind=kind.partition(" ")[0], body=_body(kind, rng, names)) for kind in kinds]


def cast_of(took: Sequence[str]) -> dict[str, str]:
    """Who plays which part from week 5 on: ``took`` are the kinds that specialists took, the busiest first. The first is what an
    operator adds a desk for, the second is what nobody asks for any more."""
    known = [kind for kind in dict.fromkeys((*took, *NUMBERS)) if kind in NUMBERS]
    return dict(zip(NUMBERS, known, strict=True))


def _body(kind: str, rng: Random, names: Mapping[str, str]) -> Json:
    """Of a request; one that is for a node by name goes to whoever there is where that node is not."""
    body, node = _BODIES[kind](rng), names.get(kind.rpartition(" at the ")[2])
    return body if node is None else {**body, "model": f"node/{node}"}


# ── what each kind asks ─────────────────────────────────────────────────────────────────────────────────────────────────


def _numbers(rng: Random, things: str, unit: str, field: str, mean: tuple[int, int], std: tuple[int, int], extra: Json) -> Json:
    """A list of numbers with a distribution that is checked. Many ask just that; others name a place, or want a field more."""
    middle, spread = rng.randrange(*mean), rng.randrange(*std)
    place = f" in {rng.choice(_CITIES)}" if rng.random() < 0.5 else ""
    rows, _, name = field.partition("[].")
    item = {name: 0.0, **(extra if rng.random() < 0.25 else {})}
    prompt = f"{things}{place}, {unit}, normally distributed with a mean of {middle} and a standard deviation of {spread}"
    constraint = {"field": field, "distribution": {"family": "normal", "mean": middle, "std": spread}}
    return {"prompt": prompt, "shape": {rows: [item]}, "count": rng.choice((20, 30, 40)), "constraints": [constraint]}


def _revenue(rng: Random) -> Json:
    things = "Quarterly revenue of the shops of a company"
    return _numbers(rng, things, "in thousands of dollars", "shops[].revenue", (40, 90), (4, 9), {"owner": "string"})


def _readings(rng: Random) -> Json:
    things = "Laboratory temperature readings of a chemistry experiment"
    return _numbers(rng, things, "in degrees", "readings[].degrees", (15, 60), (2, 6), {"sensor": "string"})


def _parcels(rng: Random) -> Json:
    things = "Weights of the parcels in the warehouse of a mail-order firm"
    return _numbers(rng, things, "in grams", "parcels[].grams", (300, 700), (20, 60), {"street": "string"})


def _poem(rng: Random) -> Json:
    return {"prompt": f"Write a birthday poem for my friend {rng.choice(_NAMES)}, who is {rng.randrange(18, 80)} today."}


def _hours(rng: Random) -> Json:
    """The same few questions again and again."""
    shape = {"opens": 0, "closes": 0}
    bounds = [{"field": "opens", "range": [6, 12]}, {"field": "closes", "range": [14, 22]}]
    prompt = f"At which hour does the {rng.choice(_PLACES)} of {rng.choice(_CITIES[:4])} open and close on weekdays?"
    return {"prompt": prompt, "shape": shape, "constraints": bounds}


def _plan(rng: Random) -> Json:
    one, other = rng.sample(_NAMES, 2)
    prompt = (
        f"Design and justify a plan for the merger of the firms of {one} and {other} in {rng.choice(_CITIES)}. Compare at least "
        "three strategies, analyse the trade-offs and risks step by step, and estimate the probability of each.\n"
        "1. Why would the customers of both accept the plan, and what are the implications?\n"
        "2. How do you schedule the integration of both systems, exactly, unless regulators object?\n"
        f"3. What constraints does a budget of {rng.randrange(100, 400)},000 set, and how do you optimise it over 18 months?\n"
        "4. Which assumptions are consistent with a statistical analysis of earlier mergers? Explain and evaluate.\n"
        "- critique the architecture of the data migration\n- derive the distribution of costs"
    )
    shape = {"plan": [{"step": "string", "owner": "string", "days": 0}], "risks": [{"name": "string", "probability": 0.0}]}
    return {"prompt": prompt, "shape": {**shape, "summary": "string"}}


Body = Callable[[Random], Json]


def _by_program(body: Body) -> Body:
    """The client names the strategy that has a program make the numbers, and who writes it."""
    return lambda rng: {**body(rng), "model": "strategy/code_augmented", "backend": "enricher"}


_MAKERS: Final[Mapping[str, Body]] = {"revenue": _revenue, "readings": _readings, "parcels": _parcels}
_BODIES: Final[Mapping[str, Body]] = {
    **_MAKERS,
    **{f"{kind} by program": _by_program(body) for kind, body in _MAKERS.items()},
    **{f"{kind} at the {who}": body for kind, body in _MAKERS.items() for who in ("specialist", "desk")},
    "poem": _poem,
    "hours": _hours,
    "plan": _plan,
}
