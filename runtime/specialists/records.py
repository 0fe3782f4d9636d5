"""The words of specialists on the request path. Imports nothing of the daemon."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A specialist's routine said that a request is its own: the node that answers, and what it is told beside its own prompt.
    ``backend`` is preferred ("": as the node prefers); ``version`` is the routine's."""

    node: str
    backend: str
    prompt: str
    confidence: float
    version: str
    pattern: str
