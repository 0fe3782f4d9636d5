"""The repository report as lines of text. Called by registry.py of this room. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runtime.cli import tables

Json = Any
_MADE = {"new": "anew", "fork": "as forks", "modify": "by changing an earlier version", "synthesize": "of several"}


def lines(report: Json) -> Iterator[str]:
    """The whole report; a part of which nothing is known says so."""
    totals = report["totals"]
    yield "Network code repository"
    yield ""
    yield f"Artifacts: {totals['artifacts']} in {totals['versions']} versions, {tables.size(report['bytes'])}"
    yield f"  active: {totals['active']}, retired: {totals['retired']}"
    made = totals.get("versions_by_relation") or {}
    if made:
        yield "  made: " + ", ".join(f"{made[name]} {word}" for name, word in _MADE.items() if made.get(name))
    yield f"  executions: {totals['executions']}, reviews: {totals['reviews']}, stars: {totals['stars']}"
    yield ""
    yield "Most used"
    used = [
        f"  {n}. {row['name']}: {row['nodes']} nodes, {row['executions']} executions, {row['success_rate']:.0%} good"
        for n, row in enumerate(report["most_used"], 1)
    ]
    yield from used or ["  nothing was run yet"]
    yield ""
    yield "Recent breakthroughs"
    found = [
        f"  {row['version']} by {tables.printable(row['author'])}: {row['forks']} forks, {row['improvements']} improvements, "
        f"{row['nodes']} nodes"
        for row in report["breakthroughs"]
    ]
    yield from found or ["  none yet"]
    yield ""
    yield "Quality of executions"
    trend = report["quality_trend"]
    yield from [f"  month {row['month']}: {row['quality']:.2f} over {row['executions']} executions" for row in trend] or [
        "  nothing was run yet"
    ]
    yield ""
    yield from _lineage(report["lineage"])
    yield ""
    yield from _standards(report["standards"])


def _lineage(lineage: Json) -> Iterator[str]:
    yield "Lineage"
    deepest, widest = lineage["deepest"], lineage["most_collaborative"]
    if deepest is None:
        yield "  nothing was published yet"
        return
    yield f"  deepest: {deepest['version']}, {deepest['generations']} generations"
    yield f"  most collaborative: {widest['version']}, {widest['contributors']} contributors"


def _standards(standards: Json) -> Iterator[str]:
    yield "Standards"
    if not standards["in_force"]:
        yield "  none published yet"
        return
    yield f"  in force: {', '.join(standards['in_force'])}"
    share = standards["compliance"]
    if share is None:
        yield "  none of their rules can be checked by a machine, or there is no code to check"
    else:
        yield f"  {share:.0%} of {standards['checked']} published codes keep all {standards['rules']} rules"
    effect = standards.get("effect")
    if effect is not None:
        arms = [("guided", "with it"), ("unguided", "without"), ("before", "before there was one")]
        shown = [f"{_rate(effect[arm])} {words}" for arm, words in arms if effect.get(arm, {}).get("tries") or arm != "before"]
        yield f"  new programs that passed at once: {', '.join(shown)}"
        if effect.get("difference") is not None:
            luck = effect.get("p_value")
            said = "too few to tell from luck" if luck is None else f"p = {luck:.2g}"
            yield f"  with it against without: {100 * effect['difference']:+.0f} points ({said})"


def _rate(arm: Json) -> str:
    """Of how many, and Wilson's interval of the share."""
    low, high = arm.get("interval") or (None, None)
    return f"{arm['passed']} of {arm['tries']}" + (f" ({low:.0%} to {high:.0%})" if arm["tries"] and low is not None else "")
