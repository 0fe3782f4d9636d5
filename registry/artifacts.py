"""Publishing, forking, moving, reviewing and starring: what can be done with artifacts, each as one change through the one
writer.

Called by the daemon (operator routes, chores) and, through the daemon's hub, by nodes. Reads come from the catalogue; contents
from the tables, verified by their hash, with the journal's copy where a table's is damaged or not there yet. Imports sandbox
only through the port in checking.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from registry import versions
from registry.catalog import SPECS, USAGE, Catalog, Record
from registry.checking import Checker
from registry.contents import Contents
from registry.evidence import Evidence
from registry.journal import Journal
from registry.records import (
    ALIASES,
    CODE_KINDS,
    OPERATOR,
    REVIEW_ROLES,
    TEXT_ROLES,
    Alias,
    Artifact,
    InvalidArtifact,
    NewVersion,
    NotAllowed,
    RegistryUnavailable,
    Review,
    Standing,
    Star,
    State,
    UnknownArtifact,
    Version,
    VersionId,
)
from registry.review import Decision, decide, may_review
from registry.rules import (
    MAX_REASON_CHARS,
    MAX_TAGS,
    after_review,
    judge,
    may_move,
    may_star,
    pointed,
    prepare,
    tagged,
    without,
)
from registry.tables import Tables
from registry.writer import Writer
from sandbox.records import Case

log = logging.getLogger(__name__)

_DRAFTED = Standing(version_id=VersionId(""), state="draft", reason="drafted", by="", at=0.0)


class Registry:
    """Open with ``Registry.open``; always ``close``. ``clock`` gives Unix time in seconds."""

    def __init__(
        self,
        tables: Tables,
        journal: Journal,
        evidence: Evidence,
        writer: Writer,
        *,
        checker: Checker | None,
        clock: Callable[[], float],
    ) -> None:
        self.tables, self.journal, self.evidence, self.writer, self.clock = tables, journal, evidence, writer, clock
        self.checker = checker
        self.contents = Contents(tables, journal, writer)

    @classmethod
    async def open(
        cls,
        tables: Tables,
        journal: Journal,
        evidence: Evidence,
        *,
        checker: Checker | None,
        clock: Callable[[], float] = time.time,
    ) -> Registry:
        """Over open ``tables`` (with SPECS and USAGE among them), which are first brought to what the journal says.

        Without a ``checker`` no code is published. Raises RegistryUnavailable, RegistryDamaged.
        """
        for spec in (*SPECS, USAGE):
            await tables.ensure(spec)
        writer = await Writer.open(tables, journal, clock=clock)
        registry = cls(tables, journal, evidence, writer, checker=checker, clock=clock)
        writer.catalog.usage = await evidence.usage()
        return registry

    async def close(self) -> None:
        """Write what waits. The tables stay open: they are shared."""
        await self.writer.close()

    @property
    def catalog(self) -> Catalog:
        """To read; it changes under whoever keeps it over an await."""
        return self.writer.catalog

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, reference: str) -> Version:
        """``name``, ``name@1.2.3`` or ``name@champion`` without its content. A bare name is the champion, else the newest
        published version, else the newest. Raises InvalidArtifact, UnknownArtifact."""
        name, which = versions.split_reference(reference)
        artifact = self.catalog.artifact(name)
        if which in ALIASES:
            target = getattr(artifact, which)
            if target is None:
                raise UnknownArtifact(f"{name} has no {which}")
            return self.catalog.version(target)
        if which == "latest":
            return self.catalog.version(artifact.latest)
        if which is not None:
            return self.catalog.version(versions.version_id(name, which))
        return self.catalog.version(artifact.champion or self._newest_published(name) or artifact.latest)

    def _newest_published(self, name: str) -> VersionId | None:
        found = self.versions_of(name, "published")
        return max(found, key=lambda each: versions.parse_number(each.number)).version_id if found else None

    def versions_of(self, name: str, *states: State) -> list[Version]:
        """All versions of an artifact in ``states`` (in any, where none is named), the oldest first, without contents."""
        found = [self.catalog.version(each) for each in self.catalog.by_name.get(name, ()) if each in self.catalog.standings]
        return [each for each in found if not states or self.catalog.standings[each.version_id].state in states]

    async def content(self, version_id: VersionId) -> Version:
        """A version with its content, verified. Raises HashMismatch, UnknownArtifact, RegistryUnavailable."""
        return await self.contents.one(version_id)

    def current(self, version_id: VersionId) -> VersionId:
        """Who answers for a version now: itself, or whoever took over from it, and from that one."""
        seen = {version_id}
        while (standing := self.catalog.standings.get(version_id)) is not None:
            successor = standing.successor
            if standing.state != "deprecated" or successor is None or successor in seen:
                break
            seen.add(successor)
            version_id = successor
        return version_id

    # ── publishing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def publish(self, new: NewVersion, cases: Sequence[Case] = ()) -> Version:
        """Check and publish; the same content handed in twice is one version.

        Raises InvalidArtifact, UnknownArtifact (a parent), LineageCycle, Conflict, CheckFailed, RegistryUnavailable.
        """
        versions.check_new(new)
        prepare(self.catalog, new, self.clock())  # what is bound to be refused is not worth a run
        passed = await self._check(new.kind, new.content, cases)
        return await self._put_new(new, replace(_DRAFTED, state="published", cases=passed, reason=_published(passed)))

    async def draft(
        self, new: NewVersion, cases: Sequence[Case] = (), *, revisions: int = 0, tags: Sequence[str] = ()
    ) -> Version:
        """Keep a version that is not published yet. With ``cases`` it is checked, so that reviews alone can publish it; without
        them ``release`` has to. ``revisions``: how often reviews sent back what it was made of. Raises as ``publish`` does."""
        versions.check_new(new)
        checked = cases or new.kind not in CODE_KINDS
        passed = await self._check(new.kind, new.content, cases) if checked else None
        first = replace(_DRAFTED, revisions=revisions, tags=tuple(tags), cases=passed)
        return await self._put_new(new, first)

    async def release(self, reference: str, cases: Sequence[Case], *, by: str) -> Standing:
        """Check a draft and publish it. Raises as ``publish`` does, and NotAllowed."""
        version = await self.content(self.find(reference).version_id)
        passed = await self._check(version.kind, version.content, cases)
        return await self._move(version.version_id, "published", by=by, reason=_published(passed), cases=passed)

    async def _check(self, kind: str, content: str, cases: Sequence[Case]) -> int:
        if kind not in CODE_KINDS:
            return 0
        if not cases:
            raise InvalidArtifact("cases", f"a {kind} is published only after a sandbox check; give at least one case")
        if self.checker is None:
            raise RegistryUnavailable("code cannot be published: there is no sandbox to check it in")
        reports = await self.checker.check(content, cases)
        judge(reports, len(cases))
        return len(reports)

    async def _put_new(self, new: NewVersion, first: Standing) -> Version:
        """``first`` is how it stands at first, but for its id, its author and the time."""
        made: list[Version] = []

        def change(catalog: Catalog) -> Sequence[Record]:
            version, artifact, is_old = prepare(catalog, new, self.clock())
            made.append(version)
            known = catalog.standings.get(version.version_id)
            if is_old and known is not None:
                if first.state == "published" and known.state == "draft":
                    done = replace(known, state="published", cases=first.cases, reason=first.reason)
                    return [replace(done, by=new.author, at=self.clock())]
                return []
            return [version, replace(first, version_id=version.version_id, by=new.author, at=self.clock()), artifact]

        await self.writer.change(change)
        return made[-1]

    # ── moving ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def move(
        self, reference: str, to: State, *, by: str, reason: str, successor: VersionId | None = None, tag: str = ""
    ) -> list[Standing]:
        """Change the state of one version, or of every version of a bare name that may move there, and give it a ``tag``.

        Publishing goes through ``publish`` and ``release``; here ``published`` restores. Raises NotAllowed, UnknownArtifact.
        """
        versions.check_author(by, field="by")
        reason = reason.strip()[:MAX_REASON_CHARS]
        name, which = versions.split_reference(reference)
        if which is not None:
            chosen = self.find(reference).version_id
            return [await self._move(chosen, to, by=by, reason=reason, successor=successor, tag=tag)]
        self.catalog.artifact(name)
        movable = [each for each in self.versions_of(name) if may_move(self.catalog.standings[each.version_id], to)]
        if not movable:
            raise NotAllowed(f"no version of {name} can become {to}")
        return [await self._move(each.version_id, to, by=by, reason=reason, successor=successor, tag=tag) for each in movable]

    async def _move(
        self,
        version_id: VersionId,
        to: State,
        *,
        by: str,
        reason: str,
        successor: VersionId | None = None,
        cases: int | None = None,
        tag: str = "",
    ) -> Standing:
        def change(catalog: Catalog) -> Sequence[Record]:
            version = catalog.version(version_id)
            old = catalog.standings[version_id]
            if not may_move(old, to) and not (old.state == "draft" and to == "published" and cases is not None):
                raise NotAllowed(f"{version_id} is {old.state} and cannot become {to}")
            if successor is not None and (successor == version_id or successor not in catalog.standings):
                raise UnknownArtifact(f"successor: there is no other version {successor}")
            kept = old.cases if cases is None else cases
            tags = tagged(old.tags, tag) if tag else old.tags
            new = replace(old, state=to, by=by, at=self.clock(), reason=reason, successor=successor, cases=kept, tags=tags)
            records: list[Record] = [new]
            artifact = catalog.artifact(version.name)
            stands = without(artifact, version_id)
            if to != "published" and stands != artifact:
                records.append(stands)
            return records

        found = await self.writer.change(change)
        assert isinstance(found[0], Standing)
        return found[0]

    async def point(self, name: str, alias: Alias, reference: str | None) -> Artifact:
        """Move ``alias`` to a published version of the artifact, or take it away. Raises NotAllowed, UnknownArtifact."""
        target = self.find(f"{name}@{reference}").version_id if reference is not None else None

        def change(catalog: Catalog) -> Sequence[Record]:
            if target is not None and catalog.standings[target].state != "published":
                raise NotAllowed(f"{target} is {catalog.standings[target].state}; only a published version can be {alias}")
            return [pointed(catalog.artifact(name), alias, target)]

        found = await self.writer.change(change)
        assert isinstance(found[0], Artifact)
        return found[0]

    async def tag(self, version_id: VersionId, tag: str) -> None:
        """Mark a version (``breakthrough``); a tag that it has is not given again. Raises UnknownArtifact, InvalidArtifact."""
        versions.check_author(tag, field="tag")

        def change(catalog: Catalog) -> Sequence[Record]:
            catalog.version(version_id)
            standing = catalog.standings[version_id]
            if tag in standing.tags:
                return []
            if len(standing.tags) >= MAX_TAGS:
                raise InvalidArtifact("tag", f"{version_id} has {MAX_TAGS} tags already")
            return [replace(standing, tags=(*standing.tags, tag))]

        await self.writer.change(change)

    # ── opinions ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def review(self, review: Review) -> Decision:
        """Keep a review and act on what is decided with it: accepted drafts that passed their check are published, what is
        rejected is archived (a draft) or deprecated, what is to be revised is counted. Raises NotAllowed, InvalidArtifact,
        UnknownArtifact."""
        versions.check_author(review.reviewer, field="reviewer")
        if not 0.0 <= review.score <= 1.0:
            raise InvalidArtifact("score", "must be from 0 to 1")
        decided: list[Decision] = []

        def change(catalog: Catalog) -> Sequence[Record]:
            version = catalog.version(review.version_id)
            may_review(version, review.reviewer)
            standing = catalog.standings[version.version_id]
            kept = replace(review, round=standing.revisions)
            heard = [each for each in catalog.reviews.get(version.version_id, ()) if each.round == standing.revisions]
            decision = decide(
                version,
                [*heard, kept],
                catalog.usage.get(version.version_id),
                checked=standing.cases is not None,
                revisions=standing.revisions,
                needed=REVIEW_ROLES if version.kind in CODE_KINDS else TEXT_ROLES,
            )
            decided.append(decision)
            moved = after_review(decision, standing, self.clock())
            artifact = catalog.artifact(version.name)
            left = artifact if moved is None or moved.state in ("draft", "published") else without(artifact, version.version_id)
            return [kept, *([moved] if moved is not None else []), *([left] if left != artifact else [])]

        await self.writer.change(change)
        return decided[-1]

    async def star(self, reference: str, *, by: str) -> Star:
        """``by`` found the version useful. Only after measured reuse: 5 runs of it by that node (by anybody but its author,
        when the operator gives the star), 80 % of them good. Raises NotAllowed, UnknownArtifact."""
        versions.check_author(by, field="by")
        version = self.find(reference)
        if by != OPERATOR and by == version.author:
            raise NotAllowed(f"{by} wrote {version.version_id} and cannot star it")
        node = None if by == OPERATOR else by
        runs, successes = await self.evidence.used_by(version.version_id, node=node, other_than=version.author)
        may_star(runs, successes)
        star = Star(version_id=version.version_id, by=by, runs=runs, successes=successes, at=self.clock())
        await self.writer.change(lambda catalog: [star])
        return star


def _published(cases: int) -> str:
    return f"passed {cases} cases" if cases else "published"
