"""Generated routers as the operator sees them: versions with lineage and conduct, attempts, prompts. JSON-able. Called by
front.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.records import Json
from registry.artifacts import Registry
from registry.records import Version
from runtime.routers.desk import ROUTER, RouterDesk
from runtime.routers.prompting import GUIDANCE, rewards
from runtime.routers.records import Round
from runtime.routing.steps import of_version

MAX_VERSIONS: Final = 100
MAX_ROUNDS: Final = 50


def versions_of(registry: Registry, desk: RouterDesk, tried: str | None) -> list[dict[str, Json]]:
    """Every router, the newest first."""
    if ROUTER not in registry.catalog.artifacts:
        return []
    return [_version(registry, desk, each, tried) for each in reversed(registry.versions_of(ROUTER)[-MAX_VERSIONS:])]


def _version(registry: Registry, desk: RouterDesk, version: Version, tried: str | None) -> dict[str, Json]:
    name, standing = version.version_id, registry.catalog.standings[version.version_id]
    conduct = desk.conduct(name)
    in_force = registry.catalog.artifact(ROUTER).champion == name
    steps: Any = version.parameters.get("steps")
    return {
        "version": name,
        "state": standing.state,
        "reason": standing.reason,
        "place": "in force" if in_force else "under test" if tried == name else "",
        "serves": conduct is not None,
        "parents": list(version.parents),
        "depth": version.depth,
        "author": version.author,
        "simulated": "simulated" in standing.tags,
        "created_at": version.created_at,
        "edits": list(version.improvements),
        "steps": [each["name"] for each in steps] if isinstance(steps, list) else [],
        "reviews": len(registry.catalog.reviews.get(name, ())),
        "calls": conduct.calls if conduct is not None else 0,
        "decided": conduct.decided if conduct is not None else 0,
        "faults": conduct.faults if conduct is not None else 0,
        "last_fault": conduct.last_fault if conduct is not None else "",
    }


async def router_view(registry: Registry, desk: RouterDesk, tried: str | None, name: str) -> dict[str, Json]:
    """One router with its code and each step's source. Raises UnknownArtifact, InvalidArtifact."""
    version = await registry.content(registry.find(name).version_id)
    steps = [
        {"name": step.name, "why": step.why, "source": step.source} for step in of_version(version.content, version.parameters)
    ]
    return {**_version(registry, desk, version, tried), "steps": steps, "content": version.content}


def prompts_of(registry: Registry, rounds: Sequence[Round]) -> list[dict[str, Json]]:
    """The versions of the guidance, and how well the routers did that were written by each."""
    if GUIDANCE not in registry.catalog.artifacts:
        return []
    known = rewards(rounds)
    found = []
    for version in reversed(registry.versions_of(GUIDANCE)):
        got = known.get(version.version_id, [])
        state = registry.catalog.standings[version.version_id].state
        mean = sum(got) / len(got) if got else None
        found.append(
            {"version": version.version_id, "state": state, "routers": len(got), "reward": mean, "author": version.author}
        )
    return found


def round_view(each: Round) -> Mapping[str, Json]:
    """A round without what it was checked on: these are requests of clients."""
    return {**each.view(), "data": {name: value for name, value in each.data.items() if name != "cases"}}
