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

from registry.alignment import Parameter, Tiers, Value
from registry.trust import EntryTrust, Evidence, TrustSettings

Json = Any

MAX_REQUEST_CHARS = 32_000
MAX_ANSWER_BYTES = 256 * 1024
How = Literal["exact", "reused", "rerun"]
Repeat = Literal["near", "exact", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked. ``shape`` is the form of the answer as canonical JSON, "" for free text; ``kind`` sets how long answers
    stay fresh.

    Nothing is ever shared between requests that differ in ``tenant``, ``backend_policy``, ``system_prompt`` or ``shape``.

    ``repeat``: an answer may be given again as it stands to a request in other words (``near``), only to the very same one
    (``exact``), or not at all, because new data is wanted each time: then only code can answer, which runs again. ``variant``
    tells apart what is otherwise the very same request, such as a seed. ``inputs`` are handed to code beside its parameters.
    """

    text: str
    tenant: str
    backend_policy: str = ""
    system_prompt: str = ""
    shape: str = ""
    kind: str = "text"
    repeat: Repeat = "near"
    variant: str = ""
    inputs: Mapping[str, Value] = field(default_factory=dict)

    @property
    def canonical(self) -> str:
        """The text with one kind of white space and one form of each character. Upper and lower case stay different."""
        return " ".join(unicodedata.normalize("NFC", self.text).split())

    @property
    def partition(self) -> str:
        """What must be equal for an answer to be shared, as a hash."""
        return _hash(self.tenant, self.backend_policy, self.system_prompt, self.shape)

    @property
    def kin(self) -> str:
        """What must be equal for code to be adapted: any form of answer, as the adapted code is held against the new one."""
        return _hash(self.tenant, self.backend_policy, self.system_prompt, "", "kin")

    @property
    def exact(self) -> str:
        """The hash by which the same request is found again without an embedding."""
        return exact_of(self.partition, self.canonical, self.variant)


def exact_of(partition: str, canonical: str, variant: str = "") -> str:
    """``Request.exact`` of a request by its parts."""
    return _hash(partition, canonical, *([variant] if variant else []))


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
    artifact: str | None = None


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

    ``candidates`` are the nearest solutions, nearest first. ``kin`` are the nearest with code, whatever form their answers have:
    what may be adapted. ``vector`` is the embedding, so that it is not made twice (None: it was not made).
    """

    reason: str
    candidates: tuple[Candidate, ...] = ()
    kin: tuple[Candidate, ...] = ()
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
    """What came of running stored code again: the ``answer``, or the ``error``. ``version`` is what ran, "" where nothing did,
    ``wall_s`` how long it took."""

    answer: Json = None
    error: str = ""
    version: str = ""
    wall_s: float = 0.0


class Runner(Protocol):
    """Runs the code of ``solution.artifact`` with parameters; a failure of the code is a Ran with an error, not an exception."""

    async def run(self, solution: Solution, values: Mapping[str, Value]) -> Ran: ...


class Check(Protocol):
    """Whether ``answer`` passes what ``solution.checks`` demand for ``request``; returns why not, or ""."""

    async def __call__(self, solution: Solution, request: Request, values: Mapping[str, Value], answer: Json) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LibrarySettings:
    """``fresh_s``: how long an answer may be given again, by kind; ``""`` is for kinds that are not named. Code does not age."""

    trust: TrustSettings = field(default_factory=TrustSettings)
    tiers: Tiers = field(default_factory=Tiers)
    fresh_s: Mapping[str, float] = field(default_factory=lambda: {"": 30 * 86_400.0})
    max_solutions: int = 100_000
    max_phrasings: int = 64


class Certain(Protocol):
    """Whether the checks of ``solution`` cover its code when it runs with other ``values``; returns why not, or "". Pure."""

    def __call__(self, solution: Solution, request: Request, values: Mapping[str, Value]) -> str: ...


class Store(Protocol):
    """Where a library is kept over a restart; see solution_store.py."""

    async def open(self) -> Kept: ...

    def changed(self, solution: Solution) -> None: ...

    def phrased(self, phrasing: Phrasing) -> None: ...

    def gone(self, solution: str, phrasings: frozenset[str]) -> None: ...

    async def flush(self, learned: Mapping[str, bytes]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrasing:
    """A request that a solution answers. ``key`` is its exact hash, ``vector`` ``(d,) float32`` its embedding by ``model``."""

    key: str
    partition: str
    solution: str
    text: str
    model: str
    vector: Any


@dataclass(slots=True, kw_only=True)
class Kept:
    """What was read back. ``damaged`` counts rows that could not be."""

    solutions: list[Solution] = field(default_factory=list)
    phrasings: list[Phrasing] = field(default_factory=list)
    learned: dict[str, bytes] = field(default_factory=dict)
    damaged: int = 0


def unfit(solved: Solved) -> str:
    """Why what was solved must not be kept, or ""."""
    if not solved.complete:
        return "incomplete"
    if solved.tainted:
        return "tainted by a tool's text"
    if not solved.verified:
        return "not verified"
    if solved.artifact is None and solved.request.repeat == "no":
        return "new data is wanted each time, and no code gives it"
    if len(solved.request.text) > MAX_REQUEST_CHARS:
        return "the request is too long"
    try:
        size = len(json.dumps([solved.answer, solved.checks], allow_nan=False))
    except (TypeError, ValueError):
        return "the answer is not JSON"
    return "the answer is too large" if size > MAX_ANSWER_BYTES else ""
