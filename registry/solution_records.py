"""The words of the library: what is asked of it, what it keeps, what it answers.

Called by solutions.py, its index and its rows, and by whoever asks the library. Imports the other words of the registry only.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from registry.alignment import Parameter, Value
from registry.trust import EntryTrust, Evidence

Json = Any

MAX_REQUEST_CHARS = 32_000
MAX_ANSWER_BYTES = 256 * 1024
How = Literal["exact", "reused", "rerun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked. ``shape`` is the form of the answer as canonical JSON, "" for free text; ``kind`` sets how long answers
    stay fresh.

    Nothing is ever shared between requests that differ in ``tenant``, ``backend_policy``, ``system_prompt`` or ``shape``.
    """

    text: str
    tenant: str
    backend_policy: str = ""
    system_prompt: str = ""
    shape: str = ""
    kind: str = "text"

    @property
    def canonical(self) -> str:
        """The text with one kind of white space and one form of each character. Upper and lower case stay different."""
        return " ".join(unicodedata.normalize("NFC", self.text).split())

    @property
    def partition(self) -> str:
        """What must be equal for an answer to be shared, as a hash."""
        return _hash(self.tenant, self.backend_policy, self.system_prompt, self.shape)

    @property
    def exact(self) -> str:
        """The hash by which the same request is found again without an embedding."""
        return _hash(self.partition, self.canonical)


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A request that was solved. ``artifact`` names the version of the code that solved it, with the ``parameters`` it was
    given; without one the ``answer`` is all there is. ``checks`` are opaque here: the Check that is handed to the library reads
    them.
    """

    id: str
    partition: str
    tenant: str
    kind: str
    request: str
    answer: Json
    made_at: float
    artifact: str | None = None
    parameters: tuple[Parameter, ...] = ()
    checks: Json = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    trust: EntryTrust


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stored solution that a request was compared with. ``values`` are the parameters to run its code with (None: it has no
    code, or the difference is not one of parameters; ``obstacle`` says which)."""

    solution: str
    similarity: float
    evidence: Evidence
    tier: str
    steps: int
    values: Mapping[str, Value] | None = None
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """The answer, from the store. ``error`` is the chance that it is wrong, as far as that was counted (0 for an exact hit)."""

    solution: str
    answer: Json
    how: How
    similarity: float
    error: float
    tier: str
    steps: int
    reason: str
    evidence: Evidence | None = None
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """The request has to be solved. Hand this back with ``record``: what comes of it teaches when ``candidates`` may answer.

    ``candidates`` are the nearest solutions, nearest first; what is to be adapted is the first. ``vector`` is the embedding, so
    that it is not made twice (None: it was not made).
    """

    reason: str
    candidates: tuple[Candidate, ...] = ()
    vector: Any = None
    tier: str = "generation"
    steps: int = 6
    audit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """How a request was solved that the library had missed. Stored only when ``complete`` (not cut short, no error),
    ``verified`` (its checks passed) and not ``tainted`` (nothing of it came from an untrusted tool's text).

    ``held`` says of solutions by id whether their answer would have been right too, where somebody compared; of the others the
    library compares the answers itself.
    """

    request: Request
    miss: Miss
    answer: Json
    complete: bool
    verified: bool
    tainted: bool = False
    artifact: str | None = None
    parameters: tuple[Parameter, ...] = ()
    checks: Json = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """``solution`` is the id; ``new`` is False where the request became one more phrasing of a solution that was there."""

    solution: str
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStored:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of running stored code again: the ``answer``, or the ``error``."""

    answer: Json = None
    error: str = ""


class Runner(Protocol):
    """Runs the code of an artifact's version with parameters; a failure of the code is a Ran with an error, never an
    exception.
    """

    async def run(self, artifact: str, values: Mapping[str, Value]) -> Ran: ...


class Check(Protocol):
    """Whether ``answer`` passes what ``solution.checks`` demand for ``request``; returns why not, or ""."""

    async def __call__(self, solution: Solution, request: Request, values: Mapping[str, Value], answer: Json) -> str: ...


def unfit(solved: Solved) -> str:
    """Why what was solved must not be kept, or ""."""
    if not solved.complete:
        return "incomplete"
    if solved.tainted:
        return "tainted by a tool's text"
    if not solved.verified:
        return "not verified"
    if len(solved.request.text) > MAX_REQUEST_CHARS:
        return "the request is too long"
    try:
        size = len(json.dumps([solved.answer, solved.checks], allow_nan=False))
    except (TypeError, ValueError):
        return "the answer is not JSON"
    return "the answer is too large" if size > MAX_ANSWER_BYTES else ""
