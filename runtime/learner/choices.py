"""What a request leaves open now, from what is configured and live: the same list again while nothing of that has changed.

Called by desk.py. A request whose options were found before costs a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from agents.calls import Health
from agents.llm.chat import BackendSpec
from agents.records import Json
from runtime.cluster import NodeStatus
from runtime.committees.rules import committee_of, wants_committee
from runtime.config.committee import CommitteeSettings
from runtime.config.routing import RoutingSettings
from runtime.learner.arms import Option, options
from runtime.records import Request


class Choices:
    """Remembers the last list."""

    def __init__(
        self,
        *,
        backends: Callable[[], Sequence[BackendSpec]],
        health: Callable[[], Mapping[str, Health]],
        nodes: Callable[[], Sequence[NodeStatus]],
    ) -> None:
        self._backends, self._health, self._nodes = backends, health, nodes
        self._seen: tuple[object, ...] = ()
        self._open: list[Option] = []

    def of(
        self, request: Request, settings: RoutingSettings, strategies: Mapping[str, Json], committees: CommitteeSettings
    ) -> list[Option]:
        """What ``request`` leaves open."""
        nodes, backends, health = self._nodes(), self._backends(), self._health()
        committee = committee_of(committees) if wants_committee(request, committees, backends) else None
        resting = [name for name, each in health.items() if each.state == "open"]
        shape = [(node.spec, node.state) for node in nodes]
        asked = (request.target, request.backend, request.strategy, committee)
        seen = (asked, shape, backends, resting, settings, strategies)
        if seen != self._seen:
            found = options(
                request,
                nodes=nodes,
                backends=backends,
                health=health,
                strategies=strategies,
                also=settings.strategies,
                most=settings.max_arms,
                committee=committee,
            )
            self._seen, self._open = seen, found
        return self._open
