"""What a change does to the catalogue: the version that a hand-in becomes, the moves of states, what a review leads to. Pure.

Called by artifacts.py inside the one writer. Imports nothing of the project but this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from registry import lineage, versions
from registry.catalog import Catalog
from registry.records import (
    ALIASES,
    MOVES,
    Alias,
    Artifact,
    CheckFailed,
    Conflict,
    NewVersion,
    NotAllowed,
    RegistryUnavailable,
    Review,
    Standing,
    State,
    Version,
    VersionId,
)
from registry.review import Decision
from sandbox.records import CaseReport, Problem

MAX_VERSIONS = 50_000
"""The catalogue is in memory, about 1 kB each."""
MAX_REASON_CHARS = 500
MAX_TAGS = 20
RESTORED = "restored"
"""The tag of what was deprecated and taken back: evidence does not deprecate it again by itself."""
STAR_RUNS = 5
STAR_SUCCESS = 0.8


def pointed(artifact: Artifact, alias: Alias, to: VersionId | None) -> Artifact:
    """``artifact`` with one alias moved, or taken away."""
    return replace(artifact, champion=to) if alias == "champion" else replace(artifact, challenger=to)


def without(artifact: Artifact, version_id: VersionId) -> Artifact:
    """``artifact`` with no alias on ``version_id``."""
    for alias in ALIASES:
        if getattr(artifact, alias) == version_id:
            artifact = pointed(artifact, alias, None)
    return artifact


def may_move(standing: Standing, to: State) -> bool:
    """By the one table of moves; into publication only back, and only what passed a check."""
    if to not in MOVES[standing.state]:
        return False
    return to != "published" or (standing.state != "draft" and standing.cases is not None)


def restored(standing: Standing, *, was_published: bool, reviews: Sequence[Review]) -> State:
    """What a version becomes that is taken back into use: published only where it was that before and no security check failed
    it, else a draft, on which its check and reviews decide."""
    safe = not any(each.secure is False for each in reviews)
    return "published" if safe and was_published and standing.cases is not None else "draft"


def tagged(tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    """``tags`` with one more where it is new and there is room."""
    return (*tags, tag) if tag not in tags and len(tags) < MAX_TAGS else tags


def judge(reports: Sequence[CaseReport], wanted: int) -> None:
    """Raises CheckFailed, with the first failure in words for the author; RegistryUnavailable where nothing was run."""
    for report in reports:
        if report.result.problem is Problem.UNAVAILABLE:
            raise RegistryUnavailable(f"the sandbox cannot check it now: {report.result.error}")
    failed = [report for report in reports if not report.passed]
    if failed or len(reports) != wanted:
        first = failed[0] if failed else None
        why = (first.result.error or f"it gave {first.result.value!r}")[:200] if first is not None else "there is no report"
        name = first.name if first is not None else "check"
        raise CheckFailed(f"{len(failed)} of {wanted} cases failed; {name}: {why}")


def may_star(runs: int, successes: int) -> None:
    """Raises NotAllowed without measured reuse."""
    if runs < STAR_RUNS or successes < STAR_SUCCESS * runs:
        needed = f"a star needs measured reuse: at least {STAR_RUNS} runs, {STAR_SUCCESS:.0%} of them good"
        raise NotAllowed(f"{needed}; here {successes} of {runs} runs went well")


def after_review(decision: Decision, standing: Standing, now: float) -> Standing | None:
    """The standing that a decision leads to; None where it changes nothing. What was published and is rejected is deprecated:
    whoever uses it goes on until there is something better. What is not safe is put away: nobody runs it any more."""
    reason = f"review: {decision.reason}"[:MAX_REASON_CHARS]
    if decision.verdict == "revise":
        return replace(standing, revisions=standing.revisions + 1, reason=reason, by="review", at=now)
    wanted: dict[str, dict[State, State]] = {
        "accept": {"draft": "published"},
        "reject": {"draft": "archived", "published": "archived", "deprecated": "archived"}
        if decision.unsafe
        else {"draft": "archived", "published": "deprecated"},
    }
    to = wanted.get(decision.verdict, {}).get(standing.state)
    return replace(standing, state=to, reason=reason, by="review", at=now) if to is not None else None


def prepare(catalog: Catalog, new: NewVersion, now: float) -> tuple[Version, Artifact, bool]:
    """The version and artifact that ``new`` becomes; True when the very same content is there already as one of its versions."""
    if len(catalog.standings) >= MAX_VERSIONS:
        raise RegistryUnavailable(f"the registry holds {MAX_VERSIONS} versions; no more are taken")
    digest = versions.content_hash(new.kind, new.content, dict(new.parameters))
    artifact = catalog.artifacts.get(new.name)
    if artifact is not None and artifact.kind != new.kind:
        raise Conflict(f"{new.name} is a {artifact.kind}, not a {new.kind}")
    if artifact is not None:
        known = [catalog.versions[each] for each in catalog.by_name.get(new.name, ()) if each in catalog.standings]
        same = next((each for each in reversed(known) if each.content_hash == digest), None)
        if same is not None:
            return same, artifact, True
        if new.base is not None and new.base != artifact.latest:
            raise Conflict(f"{new.name} is at {artifact.latest} by now, not at {new.base}; look at it and try again")
    number = _number(artifact, new)
    version_id = versions.version_id(new.name, number)
    lineage.check(catalog.parents, version_id, new.parents)
    above = {parent: catalog.version(parent) for parent in new.parents}
    version = Version(
        version_id=version_id,
        name=new.name,
        number=number,
        kind=new.kind,
        content=new.content,
        content_hash=digest,
        parameters=new.parameters,
        problem=new.problem,
        description=new.description,
        author=new.author,
        locale=new.locale,
        relation=new.relation,
        parents=new.parents,
        improvements=new.improvements,
        contributors=lineage.contributors(new.author, new.parents, {key: each.contributors for key, each in above.items()}),
        depth=lineage.depth(catalog.parents, new.parents, {key: each.depth for key, each in above.items()}),
        created_at=now,
    )
    if artifact is None:
        artifact = Artifact(name=new.name, kind=new.kind, author=new.author, locale=new.locale, created_at=now, latest=version_id)
    return version, replace(artifact, latest=version_id), False


def _number(artifact: Artifact | None, new: NewVersion) -> str:
    newest = artifact.latest.partition("@")[2] if artifact is not None else None
    if new.number is None:
        return versions.next_number(newest, new.bump)
    if newest is not None and versions.parse_number(new.number) <= versions.parse_number(newest):
        raise Conflict(f"{new.name} is at {newest} already; {new.number} is not after it")
    return new.number
