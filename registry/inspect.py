"""The repository report: what there is, what is used, what broke through, whether quality rises. From real data only.

Called by the operator routes. Pure but for reading the contents that the standard is held against. Imports nothing of the
project but this package.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from registry import lineage
from registry.artifacts import Registry
from registry.catalog import Catalog
from registry.evidence import Day, effect_of, mean_quality
from registry.records import CODE_KINDS, KINDS, STATES, InvalidArtifact, VersionId
from registry.standards import Rule, compliance, rules_of
from registry.upkeep import BREAKTHROUGH

TOP = 10
_MONTH_DAYS = 30


async def inspect(registry: Registry) -> dict[str, Any]:
    """The whole report as JSON. Raises RegistryUnavailable."""
    catalog = registry.catalog
    return {
        "at": registry.clock(),
        "totals": totals(catalog),
        "most_used": most_used(catalog),
        "breakthroughs": recent_breakthroughs(catalog),
        "quality_trend": quality_trend(await registry.evidence.days()),
        "lineage": depths(catalog),
        "stars": most_starred(catalog),
        "standards": await _standards(registry),
        "bytes": await registry.tables.size_bytes(),
    }


def totals(catalog: Catalog) -> dict[str, Any]:
    """Counts of artifacts and versions. An artifact is active while one of its versions is published."""
    by_state = dict.fromkeys(STATES, 0)
    by_kind = dict.fromkeys(KINDS, 0)
    active: set[str] = set()
    for version_id, standing in catalog.standings.items():
        by_state[standing.state] += 1
        if standing.state == "published":
            active.add(catalog.versions[version_id].name)
    for artifact in catalog.artifacts.values():
        by_kind[artifact.kind] += 1
    runs = sum(usage.runs for usage in catalog.usage.values())
    return {
        "artifacts": len(catalog.artifacts),
        "active": len(active),
        "retired": len(catalog.artifacts) - len(active),
        "versions": sum(by_state.values()),
        "versions_by_state": by_state,
        "artifacts_by_kind": by_kind,
        "versions_by_relation": dict(Counter(catalog.versions[each].relation for each in catalog.standings)),
        "executions": runs,
        "reviews": sum(len(each) for each in catalog.reviews.values()),
        "stars": sum(len(each) for each in catalog.stars.values()),
    }


def most_used(catalog: Catalog) -> list[dict[str, Any]]:
    """By nodes that ran one of its versions in the active window, then by executions."""
    rows: list[dict[str, Any]] = []
    for name, version_ids in catalog.by_name.items():
        used = [catalog.usage[each] for each in version_ids if each in catalog.usage]
        runs = sum(each.runs for each in used)
        if runs:
            nodes = max(each.nodes for each in used)
            rate = sum(each.successes for each in used) / runs
            rows.append({"name": name, "nodes": nodes, "executions": runs, "success_rate": rate})
    return sorted(rows, key=lambda row: (-row["nodes"], -row["executions"], row["name"]))[:TOP]


def recent_breakthroughs(catalog: Catalog) -> list[dict[str, Any]]:
    """Tagged versions, the newest first, with what came of each: forks, improvements, nodes that run it."""
    below = lineage.children(catalog.parents)
    rows: list[dict[str, Any]] = []
    for version_id, standing in catalog.standings.items():
        if BREAKTHROUGH not in standing.tags:
            continue
        version, kids = catalog.versions[version_id], [catalog.versions[each] for each in below.get(version_id, ())]
        usage = catalog.usage.get(version_id)
        rows.append(
            {
                "version": version_id,
                "author": version.author,
                "at": version.created_at,
                "forks": sum(kid.name != version.name for kid in kids),
                "improvements": sum(len(kid.improvements) for kid in kids),
                "nodes": usage.nodes if usage is not None else 0,
            }
        )
    return sorted(rows, key=lambda row: (-row["at"], row["version"]))[:TOP]


def most_starred(catalog: Catalog) -> list[dict[str, Any]]:
    """Versions by stars."""
    rows: list[dict[str, Any]] = [{"version": version_id, "stars": len(stars)} for version_id, stars in catalog.stars.items()]
    return sorted(rows, key=lambda row: (-row["stars"], row["version"]))[:TOP]


def quality_trend(days: Sequence[Day]) -> list[dict[str, Any]]:
    """Mean quality of executions by month (30 days each, counted from the first execution), at most the last 24."""
    if not days:
        return []
    months: dict[int, list[Day]] = {}
    for day in days:
        months.setdefault((day.day - days[0].day) // _MONTH_DAYS, []).append(day)
    return [
        {"month": month + 1, "quality": mean_quality(part), "executions": sum(day.runs for day in part)}
        for month, part in sorted(months.items())
    ][-24:]


def depths(catalog: Catalog) -> dict[str, Any]:
    """The deepest line and the version with the most contributors; None where there is no version."""
    known = [catalog.versions[each] for each in catalog.standings]
    if not known:
        return {"deepest": None, "most_collaborative": None}
    deepest = max(known, key=lambda each: (each.depth, each.version_id))
    widest = max(known, key=lambda each: (len(each.contributors), each.depth, each.version_id))
    return {
        "deepest": {"version": deepest.version_id, "generations": deepest.depth + 1},
        "most_collaborative": {"version": widest.version_id, "contributors": len(widest.contributors)},
    }


async def rules_in_force(registry: Registry) -> tuple[list[Rule], list[VersionId]]:
    """The machine-checkable rules of all standards in force, and which these are."""
    rules: list[Rule] = []
    in_force: list[VersionId] = []
    for artifact in list(registry.catalog.artifacts.values()):
        if artifact.kind == "standard" and registry.versions_of(artifact.name, "published"):
            chosen = registry.find(artifact.name)
            try:
                rules += rules_of((await registry.content(chosen.version_id)).content)
            except InvalidArtifact:
                continue  # prose that no machine understands is still a standard for its readers
            in_force.append(chosen.version_id)
    return rules, in_force


async def _standards(registry: Registry) -> dict[str, Any]:
    """How much of the published code keeps the rules in force; share None without such rules. ``effect``: how new programs did
    whose writers were shown the standard, and those that were not."""
    rules, in_force = await rules_in_force(registry)
    standings = registry.catalog.standings if rules else {}
    code = [key for key in standings if standings[key].state == "published" and registry.catalog.versions[key].kind in CODE_KINDS]
    codes = [each.content for each in (await registry.contents.many(code)).values()]
    share = await asyncio.to_thread(compliance, codes, rules)  # parsing a thousand files takes seconds
    effect = effect_of(await registry.evidence.written())
    return {"in_force": in_force, "rules": len(rules), "checked": len(codes), "compliance": share, "effect": effect}
