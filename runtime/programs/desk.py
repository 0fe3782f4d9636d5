"""What the network learns from code in use: programs that worked are kept in the registry, and their executions become evidence.

Built by daemon.py. Dispatch tells it of every request that ended (``seen``, which never waits); what is to be done about it waits
in a bounded queue for ``run``. The library asks it for code (``source``) and keeps code through it. Must not import dispatch.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agents.programs import CodeUsed
from agents.records import Json
from agents.strategies.runner import request_text
from registry import versions
from registry.artifacts import Registry
from registry.evidence import Run
from registry.records import Kind, NewVersion, RegistryError, RegistryUnavailable, VersionId
from registry.solution_records import Ran
from runtime.open_request import OpenRequest
from runtime.programs.registry_desk import RegistryDesk
from runtime.programs.trial import kept as kept_trial
from runtime.records import Answer
from sandbox.records import Case

log = logging.getLogger(__name__)

MAX_WAITING: Final = 256
"""Programs that wait to be kept; more are dropped, and counted. An answer never waits for this."""
KIND: Final[Kind] = "generator"
SIMULATED: Final = "simulated"
MAX_FOLLOWED: Final = 100
MAX_CODES: Final = 256
LIBRARY: Final = "library"
"""Under this name the library's runs are evidence."""
_NAME_WORDS: Final = 5
_NO_NAMES: Final = re.compile(r"(?:an?|and|are|as|at|by|each|for|from|in|into|is|of|on|or|that|the|this|to|user|with)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """One program that waits to be kept."""

    used: CodeUsed
    problem: str
    locale: str
    author: str
    at: float
    simulated: bool


class CodeDesk:
    """``seen`` and ``counts`` at any time; ``run`` until cancelled. ``clock`` gives Unix time in seconds."""

    def __init__(self, desk: RegistryDesk, *, enabled: bool = True, clock: Callable[[], float] = time.time) -> None:
        self._desk, self._enabled, self._clock = desk, enabled, clock
        self._waiting: asyncio.Queue[_Kept] = asyncio.Queue(MAX_WAITING)
        self._known: dict[str, VersionId] = {}
        self._codes: dict[VersionId, str] = {}
        """Contents by version, which never change; which version stands for another is looked up each time."""
        self.counts: Counter[str] = Counter()
        """How often code was ``kept``, ``refused`` (its check or the registry said no) or ``dropped`` (the queue was full)."""

    # ── what requests leave behind ──────────────────────────────────────────────────────────────────────────────────────

    def seen(self, run: OpenRequest, answer: Answer | None) -> None:
        """A request ended. Its executions of kept code become evidence, its program is kept when the whole answer was right."""
        if not self._enabled:
            return
        node = run.node or ""
        for event in run.events:
            if event.kind == "code" and event.data.get("state") == "ran" and node:
                data = event.data
                version, latency_s = str(data.get("artifact", "")), float(data.get("latency_s", 0.0))
                self.ran(version, node=node, ok=data.get("ok") is True, latency_s=latency_s, at=event.at)
            elif event.kind == "code" and event.data.get("state") == "wrote":
                self._tell_arm(event.data)
        code = answer.draft.code if answer is not None and answer.draft.complete else None
        if answer is None or code is None or code.how == "used":
            return
        problem = request_text(run.request.messages, versions.MAX_PROBLEM_CHARS)
        try:
            self._waiting.put_nowait(
                _Kept(used=code, problem=problem, locale=run.locale, author=node, at=self._clock(), simulated=answer.simulated)
            )
        except asyncio.QueueFull:
            self.counts["dropped"] += 1

    def executed(self, ran: Ran, held: bool) -> None:
        """The library ran kept code again: as much evidence as a node's run."""
        self.ran(ran.version, node=LIBRARY, ok=held, latency_s=ran.wall_s)

    def ran(self, version: str, *, node: str, ok: bool, latency_s: float, at: float | None = None) -> None:
        """A version was executed by ``node``, ``at`` a time (None: now)."""
        try:
            standings = self._desk.registry.catalog.standings
        except RegistryUnavailable:
            return
        if (version_id := VersionId(version)) in standings:
            at = self._clock() if at is None else at
            self._desk.evidence.record(Run(version_id=version_id, node=node, at=at, ok=ok, latency_s=latency_s))

    def _tell_arm(self, data: Json) -> None:
        """How the first try of a new program did: with a standard, held back or not, or before there was one."""
        standard = str(data.get("standard", ""))
        try:
            registry = self._desk.registry
        except RegistryUnavailable:
            return
        before = not standard and not has_standard(registry)
        if before or standard in registry.catalog.standings:
            guided = data.get("guided") is True and not before
            self._desk.evidence.wrote(standard, guided=guided, ok=data.get("ok") is True)

    async def run(self) -> None:
        """Keep what waits, one after the other. Until cancelled."""
        while self._enabled:
            kept = await self._waiting.get()
            await self._desk.settled.wait()
            version = await self.keep(
                kept.used, problem=kept.problem, locale=kept.locale, author=kept.author, simulated=kept.simulated
            )
            if version is not None:
                run = Run(version_id=VersionId(version), node=kept.author, at=kept.at, ok=True, latency_s=kept.used.latency_s)
                self._desk.evidence.record(run)

    # ── keeping and finding ─────────────────────────────────────────────────────────────────────────────────────────────

    async def keep(self, used: CodeUsed, *, problem: str, locale: str, author: str, simulated: bool = False) -> str | None:
        """The version id of the program, kept as the draft of a generator until it was reviewed; the same code is kept once.
        ``simulated``: a simulated backend wrote it, and that is a tag of it.

        None while the registry is closed, and for what it refuses: code that fails its sandbox check, or was rejected before.
        """
        try:
            registry = self._desk.registry
            version = await self._keep(registry, used, problem, locale, author, tags=(SIMULATED,) if simulated else ())
        except RegistryUnavailable:
            return None
        except RegistryError as error:
            log.info("a program was not kept: %s", error)
            self.counts["refused"] += 1
            return None
        return version

    async def _keep(
        self, registry: Registry, used: CodeUsed, problem: str, locale: str, author: str, *, tags: tuple[str, ...]
    ) -> VersionId | None:
        if used.how == "used" and used.artifact:
            return in_use(registry, VersionId(used.artifact))
        parameters = signature(used.parameters)
        digest = versions.content_hash(KIND, used.code, parameters)
        known = self._find(registry, digest)
        if known is not None:
            return in_use(registry, known)
        made_of = dict.fromkeys(VersionId(each) for each in (used.artifact, *used.also))
        parents = tuple(each for each in made_of if each in registry.catalog.standings)
        problem = versions.readable(problem, versions.MAX_PROBLEM_CHARS) or "(no words)"
        new = NewVersion(
            name=name_of(problem, digest),
            kind=KIND,
            content=used.code,
            problem=problem,
            description=kept_trial(used),
            author=author,
            locale=locale,
            parameters=parameters,
            relation="synthesize" if len(parents) > 1 else "fork" if parents else "new",
            parents=parents,
            improvements=used.improvements if parents else (),
        )
        version = await registry.draft(new, [Case(inputs=used.inputs, name="as it was used")], tags=tags)
        self._known[digest] = version.version_id
        self.counts["kept"] += 1
        return version.version_id

    def _find(self, registry: Registry, digest: str) -> VersionId | None:
        """The version with this content, whoever wrote it."""
        catalog = registry.catalog
        found = self._known.get(digest)
        if found is not None and found in catalog.standings:
            return found
        for version_id, version in catalog.versions.items():
            if version.content_hash == digest and version_id in catalog.standings:
                self._known[digest] = version_id
                return version_id
        return None

    async def source(self, version: str) -> str | None:
        """The code that runs for a version; see ``running``."""
        found = await self.running(version)
        return found[1] if found is not None else None

    async def running(self, version: str) -> tuple[VersionId, str] | None:
        """What stands for a version now, and its code, verified by its hash when it is first read: itself, or what took over from
        it where that has the same parameters.

        None for one that is not there, was rejected, or cannot be read now.
        """
        try:
            registry = self._desk.registry
            known = registry.catalog.versions.get(VersionId(version))
            successor = in_use(registry, VersionId(version))
            if known is None or successor is None:
                return None
            same = registry.catalog.versions[successor].parameters == known.parameters
            if not same and registry.catalog.standings[known.version_id].state == "archived":
                return None
            chosen = successor if same else known.version_id
            code = self._codes.get(chosen) or (await registry.content(chosen)).content
        except RegistryError as error:
            log.warning("code of %s cannot be had: %s", version, error)
            return None
        if len(self._codes) >= MAX_CODES and chosen not in self._codes:
            self._codes.pop(next(iter(self._codes)))
        self._codes[chosen] = code
        return chosen, code


# ── pure ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def in_use(registry: Registry, version_id: VersionId) -> VersionId | None:
    """Who stands for a version now: itself, or what took over or was made of it in a revision. None where it was rejected."""
    standings = registry.catalog.standings
    for _ in range(MAX_FOLLOWED):
        standing = standings.get(version_id)
        if standing is None:
            return None
        if standing.state not in ("archived", "deprecated") or (standing.successor is None and standing.state == "deprecated"):
            return version_id
        if standing.successor is None:
            return None
        version_id = standing.successor
    return None


def has_standard(registry: Registry) -> bool:
    """Whether a standard was ever published: what is written without one after that is no «before»."""
    catalog = registry.catalog
    return any(
        catalog.standings[version_id].state != "draft"
        for artifact in catalog.artifacts.values()
        if artifact.kind == "standard"
        for version_id in catalog.by_name[artifact.name]
    )


def signature(parameters: Json) -> dict[str, Json]:
    """Names and types of the inputs: a part of what is hashed, so that it must not depend on their values."""
    return {str(name): {"type": _type(value)} for name, value in sorted(parameters.items())}


def _type(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        ((int, float), "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "any")


def name_of(problem: str, digest: str) -> str:
    """A name that says what it is for, and belongs to this content alone."""
    words = [word for word in re.findall(r"[a-z][a-z0-9]*", problem.lower()) if not _NO_NAMES.fullmatch(word) and len(word) <= 16]
    return "-".join((*list(dict.fromkeys(words))[:_NAME_WORDS], digest[:10]))
