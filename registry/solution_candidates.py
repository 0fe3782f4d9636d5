"""What of a stored solution may be said of a new request: how near it is, and with which values its code would run. Pure.

Called by solutions.py. Imports the words of the library, alignment and wording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from registry.alignment import Tiers, Value, align
from registry.same_words import same_words
from registry.solution_index import Near
from registry.solution_records import Candidate, Certain, Hit, How, Json, Request, Solution
from registry.trust import Evidence
from registry.wording import Wording, agreement, read


def candidate_of(
    solution: Solution, request: Request, near: Near, all_near: Sequence[Near], tiers: Tiers, certain: Certain
) -> Candidate:
    """``near`` is the nearest phrasing of ``solution``, one of ``all_near``."""
    others = [each.similarity for each in all_near if each.solution != near.solution]
    values: Mapping[str, Value] | None = None
    obstacle, compared = "", near.text
    # Code is vouched for by its checks; what its words are worth is counted there.
    alike = solution.artifact is None and same_words(request.canonical, near.text)
    if solution.artifact is not None:
        aligned = align(solution.request, request.canonical, solution.parameters)
        obstacle = aligned.reason
        if aligned.covered:  # all that differs is taken up by parameters: for the wording the two are one request
            compared = request.canonical
            obstacle = certain(solution, request, aligned.values)
            values = None if obstacle else aligned.values
    evidence = Evidence(
        similarity=near.similarity,
        agreement=agreement(_read(request.canonical), _read(compared)),
        runner_up=max(others, default=None),
        same_words=alike,
    )
    return Candidate(
        solution=near.solution,
        similarity=near.similarity,
        evidence=evidence,
        tier=tiers.name(near.similarity),
        steps=tiers.steps(near.similarity),
        values=values,
        obstacle=obstacle,
        artifact=solution.artifact,
    )


def same_again(request: Request, known: Solution, certain: Certain, *, runs: bool) -> Hit | None:
    """The answer to the very same request; None where it must not be given again and cannot be made anew. ``runs``: there is
    something that runs code, and something that checks it."""
    how: How = "exact"
    values = {each.name: each.value for each in known.parameters}
    if request.repeat == "no":
        if known.artifact is None or not runs or certain(known, request, values):
            return None
        how = "rerun"
    return Hit(
        solution=known.id,
        answer=known.answer,
        how=how,
        similarity=1.0,
        error=0.0,
        tier="exact",
        steps=3,
        reason="the same request",
        values=values,
    )


def barred(request: Request, first: Candidate, solution: Solution | None, *, runs: bool, stale: bool) -> str:
    """Why ``first`` cannot answer whatever trust says, or ""."""
    if solution is None:
        return "nothing near"
    if solution.artifact is None:
        if request.repeat != "near":
            return "not repeated: a new answer is wanted" if request.repeat == "no" else "not repeated: it has a seed"
        return "stale" if stale else ""
    if first.values is None or not runs:
        return f"not parametric: {first.obstacle or 'nothing runs or checks code'}"
    return ""


def same_answer(stored: Json, new: Json) -> bool:
    """Whether two answers are one: data when it is equal, a text when it says the same words."""
    if isinstance(stored, str) and isinstance(new, str):
        return stored.split() == new.split() or same_words(stored, new)
    if isinstance(stored, dict) and isinstance(new, dict) and stored.keys() == new.keys() == {"text"}:
        return same_answer(stored["text"], new["text"])
    return bool(stored == new)


@lru_cache(maxsize=2048)
def _read(text: str) -> Wording:
    return read(text)
