"""The words and the error tree of the registry. Everything in registry/ speaks in these. Imports nothing of the project.

The error tree (``RegistryError`` is the root)::

    RegistryError
    ├── EmbeddingUnavailable      there is no model to embed with, and ``fix`` says what to do
    ├── EmbeddingBusy             too many texts wait; try again after ``retry_after_s``
    ├── RegistryUnavailable       the tables or the ledger cannot be used now (disk, object store, still opening)
    ├── RegistryTooNew            a table was written by a newer version of Morphogen
    ├── RegistryDamaged           a table, or one row of it, cannot be read
    │   └── HashMismatch          a content is not what was published
    ├── InvalidArtifact           what was handed in cannot be kept; ``field`` says which part
    ├── UnknownArtifact           no such artifact, version or snapshot
    ├── Conflict                  somebody else was faster, or the name is taken
    ├── NotAllowed                the rules forbid this move (states, stars, reviews)
    ├── CheckFailed               the sandbox check did not pass; nothing was published
    ├── LineageCycle              a version would be its own ancestor
    └── TrustStateUnreadable      what trust.py had learned cannot be read back; it begins anew
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NewType

VersionId = NewType("VersionId", str)
"""``name@1.2.3``."""

Json = Any

Kind = Literal["generator", "validator", "router", "adapter", "prompt", "standard"]
State = Literal["draft", "published", "deprecated", "archived"]
Alias = Literal["champion", "challenger"]
Relation = Literal["new", "fork", "modify", "synthesize"]
ReviewRole = Literal["quality", "security", "performance"]
Opinion = Literal["accept", "revise", "reject"]

KINDS: tuple[Kind, ...] = ("generator", "validator", "router", "adapter", "prompt", "standard")
STATES: tuple[State, ...] = ("draft", "published", "deprecated", "archived")
ALIASES: tuple[Alias, ...] = ("champion", "challenger")
REVIEW_ROLES: tuple[ReviewRole, ...] = ("quality", "security", "performance")
TEXT_ROLES: tuple[ReviewRole, ...] = ("quality", "security")
"""Who has to look at a text: it runs nowhere."""
CODE_KINDS: frozenset[Kind] = frozenset({"generator", "validator", "router", "adapter"})
"""Kinds whose content is code that runs in the sandbox; the others are texts that models read."""

MOVES: Mapping[State, frozenset[State]] = {
    "draft": frozenset({"published", "archived"}),
    "published": frozenset({"deprecated", "archived"}),
    "deprecated": frozenset({"published", "archived", "draft"}),
    "archived": frozenset({"published", "draft"}),
}
"""Every allowed move of a version. Restoring goes to published where it was that before, else to draft."""

OPERATOR = "operator"
"""Who acts when a person does."""


# ── artifacts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable version of an artifact.

    ``content_hash`` is the SHA-256 of its canonical content (hex), verified whenever it is read. ``parents`` are what it was made
    of, ``improvements`` what was changed; ``contributors`` are the authors of it and of all its ancestors, ``depth`` the longest
    chain of versions above it. ``created_at`` is Unix time in seconds.
    """

    version_id: VersionId
    name: str
    number: str
    kind: Kind
    content: str
    content_hash: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    problem: str
    description: str = ""
    author: str
    locale: str = ""
    relation: Relation = "new"
    parents: tuple[VersionId, ...] = ()
    improvements: tuple[str, ...] = ()
    contributors: tuple[str, ...] = ()
    depth: int = 0
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What can change about a version: its state, why, who decided and when; tags; who takes over from a deprecated one.

    ``cases`` is how many cases its last passed check had (None: it has not passed one), ``revisions`` how often a review sent
    it back.
    """

    version_id: VersionId
    state: State
    reason: str = ""
    by: str
    at: float
    tags: tuple[str, ...] = ()
    successor: VersionId | None = None
    cases: int | None = None
    revisions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """The named thing: what stays the same over its versions, and the aliases that move."""

    name: str
    kind: Kind
    author: str
    locale: str = ""
    created_at: float
    latest: VersionId
    champion: VersionId | None = None
    challenger: VersionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One reviewer's word on one version. ``secure`` False is a failed security check; None: not looked at. ``score`` in [0,
    1]."""

    version_id: VersionId
    reviewer: str
    role: ReviewRole
    opinion: Opinion
    score: float
    secure: bool | None = None
    concerns: tuple[str, ...] = ()
    strengths: tuple[str, ...] = ()
    required_changes: tuple[str, ...] = ()
    round: int = 0
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Star:
    """``by`` found the version useful, after ``runs`` measured runs of which ``successes`` went well."""

    version_id: VersionId
    by: str
    runs: int
    successes: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What somebody hands in. ``number`` None takes the next after ``bump``; ``base`` is the version it was made on top of: when
    another one is the newest by then, there is a Conflict instead of an overwritten line of work."""

    name: str
    kind: Kind
    content: str
    problem: str
    author: str
    description: str = ""
    locale: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    relation: Relation = "new"
    parents: tuple[VersionId, ...] = ()
    improvements: tuple[str, ...] = ()
    number: str | None = None
    bump: Literal["major", "minor", "patch"] = "minor"
    base: VersionId | None = None


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class RegistryError(Exception):
    """Something of the registry failed."""


class EmbeddingUnavailable(RegistryError):
    """Texts cannot be embedded; ``fix`` is what an operator can do about it."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message, fix)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}" if self.fix else self.message


class EmbeddingBusy(RegistryError):
    """So many texts wait to be embedded that more are refused."""

    def __init__(self, waiting: int, retry_after_s: float = 1.0) -> None:
        super().__init__(waiting, retry_after_s)
        self.waiting = waiting
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.waiting} texts wait to be embedded already"


class RegistryUnavailable(RegistryError):
    """Not now; nothing was lost. The message says why."""

    retry_after_s = 5.0


class RegistryTooNew(RegistryError):
    """``table`` has schema version ``found``; this program understands up to ``known``. Nothing was changed."""

    def __init__(self, table: str, found: int, known: int) -> None:
        super().__init__(table, found, known)
        self.table = table
        self.found = found
        self.known = known

    def __str__(self) -> str:
        return (
            f"table {self.table} has schema version {self.found} and this Morphogen understands up to {self.known}: "
            "install the newer Morphogen again, or point registry.uri at another place"
        )


class RegistryDamaged(RegistryError):
    """``table`` cannot be read."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(table, reason)
        self.table = table
        self.reason = reason

    def __str__(self) -> str:
        return f"table {self.table} is damaged: {self.reason}"


class HashMismatch(RegistryDamaged):
    """The content of a version is not the one whose hash was kept."""


class InvalidArtifact(RegistryError):
    """``field`` cannot be kept as it is."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class UnknownArtifact(RegistryError):
    """There is no such artifact, version or snapshot; the message names it."""


class Conflict(RegistryError):
    """Somebody else was faster, or the name is taken; look at what there is now and try again."""


class NotAllowed(RegistryError):
    """The rules forbid this move; the message says which rule."""


class CheckFailed(RegistryError):
    """The sandbox check did not pass; the message has the first failure. Nothing was published."""


class LineageCycle(RegistryError):
    """A version would be its own ancestor."""


class TrustStateUnreadable(RegistryError):
    """A stored state of trust.py is damaged, or of another version."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"what was learned about reuse cannot be read: {self.reason}"
