"""Whether a version is accepted: reviews and execution evidence in, a decision out. Pure.

Called by artifacts.py. Imports nothing of the project but this package. Evidence stands above opinion: what measurably fails is
not accepted whatever reviewers say, and what measurably works is not rejected for taste.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from registry.evidence import Usage, is_bad, success_floor
from registry.records import REVIEW_ROLES, NotAllowed, Review, ReviewRole, Version

MAX_REVISIONS = 2
PROVEN_RUNS = 20
PROVEN_FLOOR = 0.9
"""Lower end of the success rate's interval from which a version counts as proven."""
ACCEPT_SCORE = 0.6
MAX_CHANGES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``verdict`` and why; ``required_changes`` go back to the author of what is to be revised; ``waiting`` when reviews are
    missing. ``unsafe``: rejected because a security check failed, so that nobody may run it any more."""

    verdict: Literal["accept", "revise", "reject", "waiting"]
    reason: str
    required_changes: tuple[str, ...] = ()
    unsafe: bool = False


def may_review(version: Version, reviewer: str) -> None:
    """Raises NotAllowed for the author, and for whoever wrote one of its ancestors: they would judge their own work."""
    if reviewer in version.contributors:
        raise NotAllowed(f"{reviewer} is of the lineage of {version.version_id} and cannot review it")


def decide(
    version: Version,
    reviews: Sequence[Review],
    usage: Usage | None,
    *,
    checked: bool,
    revisions: int,
    needed: Collection[ReviewRole] = REVIEW_ROLES,
) -> Decision:
    """What becomes of ``version``. ``checked``: it passed its sandbox check; ``revisions``: how often it was sent back before.

    Only the newest review of each reviewer counts, and none of its own lineage. In this order: a failed security check rejects;
    so do a failed sandbox check and bad execution evidence; missing roles wait; proven evidence turns a rejection into a
    revision; then the opinions. A third revision rejects.
    """
    heard = _heard(version, reviews)
    if any(review.secure is False for review in heard):
        concerns = [concern for review in heard if review.secure is False for concern in review.concerns]
        reason = "a security check failed" + (f": {concerns[0]}" if concerns else "")
        return Decision(verdict="reject", reason=reason, unsafe=True)
    if not checked:
        return Decision(verdict="reject", reason="it has not passed its sandbox check")
    if usage is not None and is_bad(usage):
        return Decision(verdict="reject", reason=f"{usage.runs - usage.successes} of {usage.runs} executions failed")
    missing = [role for role in needed if role not in {review.role for review in heard}]
    if missing:
        return Decision(verdict="waiting", reason=f"no review yet for {', '.join(missing)}")
    proven = usage is not None and usage.runs >= PROVEN_RUNS and success_floor(usage) >= PROVEN_FLOOR
    return _by_opinion(heard, proven=proven, revisions=revisions)


def asked_changes(reviews: Sequence[Review]) -> tuple[str, ...]:
    """What those who did not accept in the last round of ``reviews`` want changed, each change once."""
    last = max((review.round for review in reviews), default=0)
    objecting = (review for review in reviews if review.round == last and review.opinion != "accept")
    return tuple(dict.fromkeys(change for review in objecting for change in review.required_changes))[:MAX_CHANGES]


def _by_opinion(heard: Sequence[Review], *, proven: bool, revisions: int) -> Decision:
    rejecting = [review for review in heard if review.opinion == "reject"]
    revising = [review for review in heard if review.opinion == "revise"]
    score = sum(review.score for review in heard) / len(heard)
    changes = tuple(dict.fromkeys(change for review in (*rejecting, *revising) for change in review.required_changes))
    if len(rejecting) * 2 > len(heard) and not proven:
        return Decision(verdict="reject", reason=f"{len(rejecting)} of {len(heard)} reviewers reject it")
    wanting = bool(rejecting or revising) or score < ACCEPT_SCORE
    if not wanting:
        return Decision(verdict="accept", reason=f"{len(heard)} reviewers accept it, mean score {score:.2f}")
    if proven and not changes:
        return Decision(verdict="accept", reason="executions prove it, and no reviewer names a change")
    if revisions >= MAX_REVISIONS:
        return Decision(verdict="reject", reason=f"still wanting after {revisions} revisions")
    reason = f"{len(rejecting) + len(revising)} of {len(heard)} reviewers want changes, mean score {score:.2f}"
    return Decision(verdict="revise", reason=reason, required_changes=changes[:MAX_CHANGES])


def _heard(version: Version, reviews: Sequence[Review]) -> list[Review]:
    newest: dict[tuple[str, str], Review] = {}
    for review in sorted(reviews, key=lambda each: each.at):
        if review.version_id == version.version_id and review.reviewer not in version.contributors:
            newest[review.reviewer, review.role] = review
    return list(newest.values())
