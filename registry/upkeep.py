"""What the registry learns from executions, in batches: usage, breakthroughs, who takes over from whom; and tidying up.

Called by the daemon's chores. Decisions are pure functions over the catalogue; each is carried out through the registry's one
writer. Imports nothing of the project but this package.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from registry import lineage
from registry.artifacts import Registry
from registry.catalog import Catalog
from registry.evidence import MIN_RUNS, Gain, gains, success_floor, supersedes
from registry.records import NotAllowed, UnknownArtifact, VersionId
from registry.rules import RESTORED

log = logging.getLogger(__name__)

BREAKTHROUGH = "breakthrough"
SAME_PROBLEM = 0.85
"""Cosine of two problems from which a descendant covers what its ancestor did; the article's own threshold for one kind of
work."""
MAX_MOVES = 100
_BY = "upkeep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """``child`` should answer for ``parent`` from now on."""

    parent: VersionId
    child: VersionId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakthrough:
    """A version that beats each of its measured parents by a large, significant margin."""

    version_id: VersionId
    gains: tuple[Gain, ...]


async def fold(registry: Registry) -> list[VersionId]:
    """Take the executions since last time into the sums and show them; returns whose sums changed. Raises RegistryUnavailable."""
    changed = await registry.evidence.fold()
    if not changed:
        return []
    usage = await registry.evidence.usage(changed)
    registry.catalog.usage.update(usage)
    await registry.tables.merge("usage", [asdict(each) for each in usage.values()])
    return changed


async def learn(registry: Registry, changed: Collection[VersionId]) -> tuple[list[Takeover], list[Breakthrough]]:
    """Act on what changed: tag breakthroughs, deprecate what a better descendant covers (its users follow ``current``), and let a
    champion's successor in the same artifact be champion. Returns what was done. Raises RegistryUnavailable."""
    catalog = registry.catalog
    found = breakthroughs(catalog, changed)
    for each in found:
        await registry.tag(each.version_id, BREAKTHROUGH)
        log.info("%s is a breakthrough: %s", each.version_id, "; ".join(map(str, each.gains)))
    similar = await _similarities(registry, _pairs(catalog, changed))
    done = []
    for takeover in takeovers(catalog, changed, lambda a, b: similar.get((a, b), 0.0)):
        artifact = catalog.artifacts[catalog.versions[takeover.parent].name]
        try:
            await registry.move(takeover.parent, "deprecated", by=_BY, reason=takeover.reason, successor=takeover.child)
            if artifact.champion == takeover.parent and catalog.versions[takeover.child].name == artifact.name:
                await registry.point(artifact.name, "champion", takeover.child.partition("@")[2])
        except (NotAllowed, UnknownArtifact) as error:
            # An operator was faster; what they did stands.
            log.info("%s is not deprecated: %s", takeover.parent, error)
            continue
        done.append(takeover)
        log.info("%s takes over from %s: %s", takeover.child, takeover.parent, takeover.reason)
    return done, found


async def optimize(registry: Registry, *, retention_s: float) -> None:
    """Bring late rows to the tables, compact them and forget their old versions. Raises RegistryUnavailable."""
    await registry.writer.catch_up()
    await registry.tables.optimize(retention_s=retention_s)


# ── decisions ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def breakthroughs(catalog: Catalog, changed: Collection[VersionId]) -> list[Breakthrough]:
    """Published versions among ``changed`` (or children of those) that beat each measured parent and are not tagged yet.

    A version without a measured parent breaks through nothing: there is no previous approach to compare it with.
    """
    found = []
    below = lineage.children(catalog.parents)
    candidates = dict.fromkeys([*changed, *(child for each in changed for child in below.get(each, ()))])
    for version_id in candidates:
        standing, mine = catalog.standings.get(version_id), catalog.usage.get(version_id)
        if standing is None or mine is None or standing.state != "published" or BREAKTHROUGH in standing.tags:
            continue
        theirs = [catalog.usage[parent] for parent in catalog.parents.get(version_id, ()) if parent in catalog.usage]
        measured = [gains(mine, usage) for usage in theirs if usage.runs >= MIN_RUNS]
        if measured and all(measured):
            found.append(Breakthrough(version_id=version_id, gains=tuple(max(each, key=_weight) for each in measured)))
    return found


def takeovers(
    catalog: Catalog, changed: Collection[VersionId], similarity: Callable[[VersionId, VersionId], float]
) -> list[Takeover]:
    """Published versions that a published descendant covers with better evidence, each with the best such descendant. What an
    operator took back stays: their word stands."""
    best: dict[VersionId, tuple[float, Takeover]] = {}
    for parent, child in _pairs(catalog, changed):
        if RESTORED in catalog.standings[parent].tags or similarity(parent, child) < SAME_PROBLEM:
            continue
        reason = supersedes(catalog.usage[child], catalog.usage[parent])
        if reason is None:
            continue
        strength = success_floor(catalog.usage[child])
        if parent not in best or strength > best[parent][0]:
            takeover = Takeover(parent=parent, child=child, reason=f"{child} covers it with better evidence: {reason}")
            best[parent] = (strength, takeover)
    return [takeover for _, takeover in best.values()][:MAX_MOVES]


def _pairs(catalog: Catalog, changed: Collection[VersionId]) -> list[tuple[VersionId, VersionId]]:
    """(ancestor, descendant), both published and run often enough, where something about one of them is new."""

    def counts(version_id: VersionId) -> bool:
        standing, usage = catalog.standings.get(version_id), catalog.usage.get(version_id)
        return standing is not None and usage is not None and standing.state == "published" and usage.runs >= MIN_RUNS

    pairs: dict[tuple[VersionId, VersionId], None] = {}
    for version_id in changed:
        if counts(version_id):
            pairs.update({(each, version_id): None for each in lineage.ancestors(catalog.parents, version_id) if counts(each)})
            pairs.update({(version_id, each): None for each in lineage.descendants(catalog.parents, version_id) if counts(each)})
    return list(pairs)


async def _similarities(
    registry: Registry, pairs: Sequence[tuple[VersionId, VersionId]]
) -> dict[tuple[VersionId, VersionId], float]:
    """Cosine of the problems of each pair; equal texts count as 1, pairs without vectors are left out."""
    wanted = sorted({version_id for pair in pairs for version_id in pair})
    rows = await registry.tables.get("cards", wanted, columns=["version_id", "problem_vector"]) if wanted else []
    vectors = {row["version_id"]: np.asarray(row["problem_vector"]) for row in rows if row["problem_vector"] is not None}
    found: dict[tuple[VersionId, VersionId], float] = {}
    for one, other in pairs:
        if registry.catalog.versions[one].problem == registry.catalog.versions[other].problem:
            found[one, other] = 1.0
        elif one in vectors and other in vectors:
            found[one, other] = float(vectors[one] @ vectors[other])
    return found


def _weight(gain: Gain) -> float:
    return gain.size - 1.0 if gain.measure == "speed" else gain.size * 10
