"""Adapting a stored solution: the cheapest able backend is asked for just the change that two requests' distance calls for. Pure.

Called by code_augmented.py with the programs that the library of solutions found (``Work.known``). What comes of it is read, run
and checked like any other program, and is a version with lineage. Must not import a backend or runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from agents.llm.chat import ChatRequest
from agents.llm.prompts import render
from agents.programs import Candidate, CodeFound, Known
from agents.records import Choice
from agents.strategies.runner import choice_for
from agents.strategy_specs import Single

MAX_REQUEST_CHARS: Final = 4_000
_CHANGES: Final[Mapping[str, str]] = {
    "parameter_tuning": "The two differ in values: give the program new ones.",
    "field_substitution": "The two differ in a field or in what the items are: put the new one in its place, with its range.",
    "logic_adaptation": "The two differ in how the values come about: exchange that part of the program.",
    "combination": "The two have little in common: keep what this request needs of it, and write the rest.",
}


def adapts(known: Sequence[Known]) -> bool:
    """Whether there is anything to begin with."""
    return bool(known) and known[0].tier in _CHANGES


def with_known(found: CodeFound, known: Sequence[Known]) -> CodeFound:
    """What the registry offers with the library's programs in front: two where they are to be combined, else the nearest."""
    if not adapts(known):
        return found
    some = list(known)[: 2 if known[0].tier == "combination" else 1]
    first = [
        Candidate(
            version=each.version,
            code=each.code,
            parameters=each.parameters,
            author="",
            similarity=each.similarity,
            runs=1,
            successes=1,
        )
        for each in some
    ]
    versions = {each.version for each in some}
    return replace(found, candidates=(*first, *(each for each in found.candidates if each.version not in versions)))


def adapter(own: Choice) -> Choice:
    """The cheapest backend that can write code; the one that was named where one was."""
    return choice_for(Single(tier="cheap"), own)


def adapting(asked: ChatRequest, known: Sequence[Known]) -> ChatRequest:
    """The question for a program, with what is to be changed, or which two are to be combined."""
    nearest = known[0]
    request = nearest.request[:MAX_REQUEST_CHARS]
    if nearest.tier == "combination" and len(known) > 1:
        told = render("code_combine", request=request, other=known[1].request[:MAX_REQUEST_CHARS])
    else:
        told = render("code_adapt", request=request, change=_CHANGES[nearest.tier])
    system, *rest = asked.messages
    return replace(asked, messages=({**system, "content": f"{system['content']}\n\n{told}"}, *rest))
