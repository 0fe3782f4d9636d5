"""The words of the request path for the library: what a client lets it do, and what a look-up came to.

Imported by runtime/records.py; imports nothing of the house.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LibraryUse = Literal["default", "on", "refresh", "off"]
"""``default``: as the rules say. ``on``: a stored answer will do, also where a backend was named. ``refresh``: it is to be solved
anew, and kept. ``off``: it is neither looked up nor kept."""
LibraryResult = Literal["exact", "rerun", "reused", "adapted", "miss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a look-up in the library came to. ``tier`` and ``steps`` say how much would have to change, ``similarity`` how near
    the nearest ``solution`` was (None: there was none). ``simulated``: a simulated backend had a part in it when it was made.
    """

    result: LibraryResult
    reason: str
    tier: str = ""
    steps: int = 0
    similarity: float | None = None
    solution: str | None = None
    simulated: bool = False

    @property
    def is_hit(self) -> bool:
        return self.result in ("exact", "rerun", "reused")
