"""Tells the board of events what changes in the network: nodes, patterns, proposals, looks.

Built by build.py. Nodes and patterns are compared every second, whoever changed them; the others are told by those who do them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from agents.records import Event
from registry.upkeep import BREAKTHROUGH
from runtime.cluster import NodeStatus
from runtime.controlling.book import Added, Entry, Moved
from runtime.events import EventBoard
from runtime.observing.observer import Look
from runtime.topology.situation import Seen

EVERY_S: Final = 1.0
REGISTRY_TASK: Final = "registry"
"""Under this task the registry's own chores announce."""


class Tidings:
    """``run`` until cancelled; the other methods are told things."""

    def __init__(
        self,
        board: EventBoard,
        *,
        nodes: Callable[[], Sequence[NodeStatus]],
        patterns: Callable[[], Mapping[str, Seen]] = dict,
    ) -> None:
        self._board, self._nodes, self._patterns = board, nodes, patterns
        self._known: dict[str, tuple[str, int]] | None = None
        self._named: dict[str, str] | None = None

    async def run(self) -> None:
        while True:
            self.compare()
            await asyncio.sleep(EVERY_S)

    def compare(self) -> None:
        """Tell what is not as it was; the first time nothing is new."""
        nodes = self._nodes()
        now: dict[str, tuple[str, int]] = {node.spec.name: (node.state, node.restarts) for node in nodes}
        if self._known is not None:
            roles = {node.spec.name: node.spec.role for node in nodes}
            for name in now.keys() | self._known.keys():
                before, after = self._known.get(name), now.get(name)
                if before != after:
                    state = "gone" if after is None else after[0]
                    restarts = None if after is None else after[1]
                    was = None if before is None else before[0]
                    self._board.publish(
                        "node", {"name": name, "role": roles.get(name), "state": state, "was": was, "restarts": restarts}
                    )
        self._known = now
        named = {seen.pattern_id: seen.name for seen in self._patterns().values()}
        if self._named is not None:
            for pattern, name in named.items():
                if self._named.get(pattern) != name:
                    self._board.publish("pattern", {"id": pattern, "name": name, "was": self._named.get(pattern)})
        self._named = named

    def wrote(self, entry: Entry) -> None:
        """The controller wrote something down; a proposal's moves are told."""
        if not isinstance(entry, Added | Moved):
            return
        proposal = entry.case.proposal
        data = {
            "id": proposal.proposal_id,
            "kind": str(proposal.kind),
            "subject": proposal.subject,
            "status": str(proposal.status),
            "was": str(entry.was.status) if isinstance(entry, Moved) else None,
            "who": entry.who,
            "why": entry.why if isinstance(entry, Moved) else proposal.draft.reason,
        }
        self._board.publish("proposal", data)

    def looked(self, look: Look) -> None:
        """The network looked at itself."""
        window = look.situation.window
        score = look.efficiency.score
        data = {
            "window": window.number,
            "requests": window.requests,
            "efficiency": None if score is None else round(score, 1),
            "proposed": len(look.proposed.drafts),
            "waiting": len(look.proposed.waiting),
            "flooded": look.situation.flooded,
        }
        self._board.publish("look", data)


def announced(board: EventBoard, event: Event) -> None:
    """A node or the daemon told all nodes something. A breakthrough, which the daemon alone finds, is a kind of its own."""
    data = event.data
    if data.get("topic") == BREAKTHROUGH and data.get("task_id") == REGISTRY_TASK:
        board.publish("breakthrough", {name: data.get(name) for name in ("version", "author", "gains")})
    else:
        said = {"message": "announce", "topic": str(data.get("topic", "")), "task": data.get("task_id")}
        board.publish("peer", said)
