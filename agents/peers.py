"""What one task may ask of its peers: questions to other nodes, and committees, through the hub.

Built by node.py for each task, used by task_toolbox.py. Bounded here by the task's time; hops and the budget are the daemon's to
bound. Imports nothing of runtime.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from agents.committee.records import Convened, Design, PeerAnswer, Taken
from agents.records import AgentError, Task
from agents.strategy_specs import Seat
from agents.toolbox import Hub

POOL_S: Final = 0.5
CONVENE_S: Final = 2.0
"""Longest waits for the daemon: a committee of roles is better than a late one."""
MAX_PROBLEM_CHARS: Final = 4_000


class Peers:
    """The hub as one task sees it. ``tell`` is told why something was left out."""

    def __init__(self, hub: Hub, task: Task, *, locale: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub, self._task, self._locale, self._clock = hub, task, locale, clock

    async def ask(self, peer: str, question: str, *, deadline_s: float, instructions: str, max_tokens: int | None) -> PeerAnswer:
        return await self._hub.ask_peer(
            peer,
            question,
            task_id=self._task.task_id,
            hops=self._task.hops,
            deadline_s=deadline_s,
            instructions=instructions,
            max_tokens=max_tokens,
        )

    async def pooled_design(self, problem: str, tell: Callable[[str], None]) -> Design | None:
        try:
            async with asyncio.timeout(POOL_S):
                return await self._hub.pooled_design(problem[:MAX_PROBLEM_CHARS], task_id=self._task.task_id)
        except (AgentError, TimeoutError) as error:
            tell(f"no design was looked for: {error or 'it took too long'}")
            return None

    async def convene(self, problem: str, seats: Sequence[Seat], tell: Callable[[str], None]) -> Convened:
        """A task that was itself asked by a peer convenes nobody: committees do not grow committees."""
        began = self._clock()
        roles = tuple(Taken(speciality=seat.speciality) for seat in seats)
        if self._task.hops:
            tell("a node that was asked by another convenes no nodes")
            return Convened(committee_id="", seats=roles)
        try:
            async with asyncio.timeout(CONVENE_S):
                found = await self._hub.convene(
                    problem[:MAX_PROBLEM_CHARS],
                    tuple(seats),
                    task_id=self._task.task_id,
                    hops=self._task.hops,
                    locale=self._locale,
                )
        except (AgentError, TimeoutError) as error:
            tell(f"no nodes were convened: {error or 'it took too long'}")
            return Convened(committee_id="", seats=roles, took_s=self._clock() - began)
        return Convened(committee_id=found.committee_id, seats=found.seats, took_s=self._clock() - began)

    async def dissolve(
        self, committee: Convened, *, design: Design, problem: str, passed: bool, tell: Callable[[str], None]
    ) -> None:
        try:
            async with asyncio.timeout(CONVENE_S):
                await self._hub.dissolve(
                    committee.committee_id,
                    task_id=self._task.task_id,
                    design=design,
                    problem=problem[:MAX_PROBLEM_CHARS],
                    passed=passed,
                )
        except (AgentError, TimeoutError) as error:
            tell(f"the daemon dissolves the committee at the request's end: {error or 'it took too long'}")
