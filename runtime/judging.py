"""The verdict of an answer, on its way from the node to the client.

Called by dispatch.py. Checks are linear in the answer; long answers are checked off the event loop, so that other requests go on.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Final

from agents import quality
from agents.records import InvalidRequest
from agents.strategies.runner import joined_issues
from runtime.records import Answer, Request

INLINE_CHARS: Final = 10_000
"""Answers up to this length are checked at once: a thread would cost more than the check (1 ms or less)."""
INLINE_CONSTRAINTS: Final = 20


async def judged(request: Request, answer: Answer) -> Answer:
    """``answer`` with its verdict where the request says what it wants (a schema, a count, constraints), and with the broken
    constraints among its issues, which make it partial. A part of a longer list is left as it is: its job judges the whole."""
    if request.place is not None or (request.schema is None and not request.constraints):
        return answer
    draft = answer.draft
    check = partial(
        quality.check, draft.data, schema=request.schema, count=request.count, constraints=request.constraints, text=draft.text
    )
    long = len(draft.text) > INLINE_CHARS or len(request.constraints) > INLINE_CONSTRAINTS
    try:
        verdict = await asyncio.to_thread(check) if long else check()
    except InvalidRequest:
        # A schema or constraint that no surface should have let through: the answer is worth more than its score.
        return answer
    found = quality.issues(verdict, only_constraints=True)
    if found:
        draft = replace(draft, issues=joined_issues(draft.issues, found), complete=False)
    return replace(answer, draft=draft, verdict=verdict)
