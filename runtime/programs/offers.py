"""What the registry offers to a node that needs code: programs that may fit, and what to keep to when writing one.

Built by daemon.py, asked through the hub. Programs: published ones, and the node's own drafts, which reviewers have not seen yet;
none that executions speak against. Guidance: the standard in force, the practices of the node's locale, principles of
breakthroughs. Must not import dispatch.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from typing import Final

from agents.programs import Candidate, CodeFound
from agents.strategies.candidates import MAX_GUIDANCE_CHARS
from registry.artifacts import Registry
from registry.evidence import BAD_RUNS, is_bad, success_floor
from registry.records import RegistryError, RegistryUnavailable, VersionId
from registry.search import Hit, Query
from registry.upkeep import BREAKTHROUGH, SAME_PROBLEM
from registry.versions import readable
from runtime.programs.registry_desk import RegistryDesk

log = logging.getLogger(__name__)

MAX_OFFERED: Final = 5
LOOKED_AT: Final = 20
LEAST_SIMILAR: Final = 0.4
"""Cosine of two problems below which a program is not worth a look; phrasings of one request lie about 0.8 apart."""
STANDARD: Final = "coding-standard"
PRINCIPLES: Final = "principles-"
_MAX_QUERY_CHARS: Final = 4_000
_MAX_TEXTS: Final = 200
_EVEN_ODDS: Final = 0.5
_RULES_BLOCK: Final = re.compile(r"^```rules[ \t]*\n.*?^```[ \t]*$\n?", re.MULTILINE | re.DOTALL)


class Offers:
    """``holdout``: the share of tasks that get no guidance, so that its effect can be measured; which ones follows from their
    request's id."""

    def __init__(self, desk: RegistryDesk, *, holdout: float) -> None:
        self._desk, self._holdout = desk, holdout
        self._texts: dict[VersionId, str] = {}

    async def offer(self, problem: str, node: str, locale: str, task_id: str) -> CodeFound:
        """Never raises: without a registry there is nothing to offer."""
        try:
            registry, search = self._desk.registry, self._desk.search
            wanted = readable(problem, _MAX_QUERY_CHARS)
            if not wanted:
                return CodeFound()
            query = Query(text=wanted, by="problem", kind="generator", state=None, every_version=True, limit=LOOKED_AT)
            found = await search.find(query)
            fits = fitting(registry, found.hits, node, by_meaning=found.mode == "hybrid")
            chosen = ordered(registry, fits)[:MAX_OFFERED]
            codes = await registry.contents.many([version_id for version_id, _ in chosen])
            standard, guidance = await self.guidance(registry, locale)
        except RegistryUnavailable:
            return CodeFound()
        except RegistryError as error:
            log.warning("the registry could not be searched: %s", error)
            return CodeFound()
        shown = [_candidate(registry, each, codes[each].content, similar) for each, similar in chosen if each in codes]
        guided = is_guided(task_id, self._holdout)
        return CodeFound(candidates=tuple(shown), guidance=guidance if guided else "", standard=standard)

    async def guidance(self, registry: Registry, locale: str) -> tuple[str, str]:
        """(the standard's version, all guidance for a locale as text); empty where nothing is in force."""
        names = guiding(registry, locale)
        parts, standard = [], ""
        for name in names:
            version = registry.find(name)
            if registry.catalog.standings[version.version_id].state != "published":
                continue
            standard = standard or version.version_id
            parts.append(await self._text(registry, version.version_id))
        return str(standard), "\n\n".join(parts)[:MAX_GUIDANCE_CHARS]

    async def _text(self, registry: Registry, version_id: VersionId) -> str:
        """What is for readers in a standard; contents never change, so that each is read once."""
        if version_id not in self._texts:
            if len(self._texts) >= _MAX_TEXTS:
                self._texts.clear()
            self._texts[version_id] = _RULES_BLOCK.sub("", (await registry.content(version_id)).content).strip()
        return self._texts[version_id]


# ── pure ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_guided(task_id: str, holdout: float) -> bool:
    """By a hash of the request's id: the same for every attempt and every part of one request."""
    digest = hashlib.sha256(task_id.partition("/")[0].encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 >= holdout


def guiding(registry: Registry, locale: str) -> list[str]:
    """Names of what a writer of ``locale`` reads: standards for all, then its locale's, then the newest principles."""
    catalog = registry.catalog
    standards = [one for one in catalog.artifacts.values() if one.kind == "standard" and one.locale in ("", "root", locale)]
    standards.sort(key=lambda one: (one.locale not in ("", "root"), one.name != STANDARD, one.name))
    principles = [one for one in catalog.artifacts.values() if one.kind == "prompt" and one.name.startswith(PRINCIPLES)]
    principles.sort(key=lambda one: one.created_at, reverse=True)
    return [one.name for one in (*standards[:4], *principles[:3])]


def fitting(registry: Registry, hits: Sequence[Hit], node: str, *, by_meaning: bool) -> list[tuple[VersionId, float | None]]:
    """The versions that ``node`` may use, in the order of ``hits``: whoever was deprecated gives way to its successor, drafts are
    their author's alone, and what executions speak against is left out."""
    found: dict[VersionId, float | None] = {}
    for hit in hits:
        if by_meaning and (hit.similarity is None or hit.similarity < LEAST_SIMILAR):
            continue
        version_id = registry.current(hit.version.version_id)
        standing = registry.catalog.standings[version_id]
        version = registry.catalog.versions[version_id]
        may = standing.state == "published" or (standing.state == "draft" and version.author == node)
        if may and version.kind == "generator" and not is_bad(registry.catalog.usage.get(version_id)):
            found.setdefault(version_id, hit.similarity)
    return [(version_id, similar) for version_id, similar in found.items() if not _superseded(registry, version_id, found)]


def _superseded(registry: Registry, version_id: VersionId, found: dict[VersionId, float | None]) -> bool:
    """Whether a later version of the same artifact is among ``found``: two of one line are a waste of room."""
    name = registry.catalog.versions[version_id].name
    newer = registry.catalog.by_name[name]
    return any(other in found for other in newer[newer.index(version_id) + 1 :])


def ordered(registry: Registry, found: Sequence[tuple[VersionId, float | None]]) -> list[tuple[VersionId, float | None]]:
    """Evidence above likeness: of those that solve the same problem the surest comes first, an unknown one counts as even odds;
    the rest follow as they were found."""

    def place(indexed: tuple[int, tuple[VersionId, float | None]]) -> tuple[bool, float, int]:
        index, (version_id, similar) = indexed
        same = similar is None or similar >= SAME_PROBLEM
        usage = registry.catalog.usage.get(version_id)
        known = usage is not None and usage.runs >= BAD_RUNS
        return not same, -(success_floor(usage) if known and usage is not None else _EVEN_ODDS) if same else 0.0, index

    return [each for _, each in sorted(enumerate(found), key=place)]


def _candidate(registry: Registry, version_id: VersionId, code: str, similar: float | None) -> Candidate:
    catalog = registry.catalog
    version, usage = catalog.versions[version_id], catalog.usage.get(version_id)
    return Candidate(
        version=version_id,
        code=code,
        parameters=version.parameters,
        author=version.author,
        similarity=similar,
        runs=usage.runs if usage is not None else 0,
        successes=usage.successes if usage is not None else 0,
        latency_s=usage.latency_s if usage is not None else None,
        stars=len(catalog.stars.get(version_id, ())),
        breakthrough=BREAKTHROUGH in catalog.standings[version_id].tags,
    )
