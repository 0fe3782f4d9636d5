"""The words of code in use: a program whose result passed every check, and what the network knows that might fit.

Strategies put ``CodeUsed`` into a Draft, the daemon's code desk keeps it; the hub hands out ``Candidate``s. Frozen and picklable,
as the words of records.py are. Imports nothing of the project but verdicts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.verdicts import Constraint

Json = Any
How = Literal["used", "modified", "new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeUsed:
    """A program that was run in the sandbox and whose result passed every check.

    ``code`` defines ``run(inputs)``; ``parameters`` are its named inputs with their values, to which ``count`` and ``seed`` were
    added; ``constraints`` and ``schema`` are what the result was held against. ``how`` it came about: a version of the registry
    used as it is (``artifact`` is that version), one that was modified (``artifact`` is its parent, ``improvements`` what was
    changed; ``also`` are the other parents where several were combined), or written anew. ``latency_s`` is what the run took.
    """

    code: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    count: int = 1
    seed: int = 0
    constraints: tuple[Constraint, ...] = ()
    schema: Mapping[str, Json] | None = None
    artifact: str = ""
    also: tuple[str, ...] = ()
    how: How = "new"
    improvements: tuple[str, ...] = ()
    latency_s: float = 0.0

    @property
    def inputs(self) -> dict[str, Json]:
        """What ``run`` was given."""
        return {**self.parameters, "count": self.count, "seed": self.seed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A version of the registry that may fit a problem, with what its executions say.

    ``parameters`` are the names and types of its inputs. ``similarity`` is the cosine of the two problems, None where it was
    found by words. ``latency_s`` is the mean of its runs.
    """

    version: str
    code: str
    parameters: Mapping[str, Json]
    author: str
    similarity: float | None = None
    runs: int = 0
    successes: int = 0
    latency_s: float | None = None
    stars: int = 0
    breakthrough: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A program that solved a request like this one, from the library of solutions: what to begin with.

    ``request`` are the words that it was written for, ``parameters`` the values that it ran with; ``tier`` says how much has to
    change (registry/alignment.py: Tiers).
    """

    version: str
    code: str
    parameters: Mapping[str, Json]
    request: str
    similarity: float
    tier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFound:
    """What the registry offers to whoever needs code: candidates, the best first, and what to keep to when writing.

    ``guidance`` is the standard in force, the practices of the locale and principles of breakthroughs, as text; it is held back
    from a share of the tasks so that its effect can be measured; ``standard`` names the standard either way ("" without one).
    """

    candidates: tuple[Candidate, ...] = ()
    guidance: str = ""
    standard: str = ""
