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
    added; ``constraints`` are what the result was held against. ``how`` it came about: a version of the registry used as it is
    (``artifact`` is that version), one that was modified (``artifact`` is its parent, ``improvements`` what was changed), or
    written anew. ``latency_s`` is what the run took.
    """

    code: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    count: int = 1
    seed: int = 0
    constraints: tuple[Constraint, ...] = ()
    artifact: str = ""
    how: How = "new"
    improvements: tuple[str, ...] = ()
    latency_s: float = 0.0

    @property
    def inputs(self) -> dict[str, Json]:
        """What ``run`` was given."""
        return {**self.parameters, "count": self.count, "seed": self.seed}
