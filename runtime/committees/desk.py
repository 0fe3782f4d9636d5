"""Nodes for committees: which specialists sit in one, which nodes are taken from the warm pool for it, and when they go back.

Built by daemon.py, asked through the hub. The host's caps hold here: nodes of all committees together, live nodes of the cluster,
and nothing that would have to be started cold: a seat without a node is a role of the node that works. Nodes of committees are in
no ledger: they live for their committee, wait a while for the next one, and end with the daemon.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from agents.committee.records import Convened, Design, Taken
from agents.committee.talk import spread
from agents.llm.chat import BackendSpec
from agents.records import AgentError, NodeId, NodeSpec, Refused
from agents.strategy_specs import Seat, Single
from runtime.cluster import Cluster
from runtime.committees.pool import DesignPool, fits
from runtime.config.committee import CommitteeSettings

log = logging.getLogger(__name__)

DRAIN_S: Final = 1.0
MEMBER_CONCURRENCY: Final = 4
MEMBER_INBOX: Final = 8
LEAST_WAIT_S: Final = 0.01
POOL_PREFIX: Final = "committee:"
MEMBERS_EACH: Final = 4
"""Members that are kept ready for each committee of a pool."""
FILL_AFTER_S: Final = 1.0
"""Other nodes, at the daemon's start too, come before those that only wait."""
MAX_FILL_AFTER_S: Final = 60.0
MAX_OPEN: Final = 1_000
"""Committees at once; a further one has roles alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A node of ours. What it is asked as travels with each question, so that it may sit in any committee; only one that writes
    code prefers other backends."""

    name: str
    speciality: str
    code: bool
    idle_since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A committee that holds nodes of ours."""

    task_id: str
    members: tuple[_Member, ...]


@dataclass(slots=True, kw_only=True)
class CommitteeCounts:
    """What was counted since the start, by bounded words: seats by who took them, committees by how they ended."""

    seats: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)


class CommitteeDesk:
    """``settings`` may be exchanged while committees sit."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        settings: CommitteeSettings,
        backends: Callable[[], Sequence[BackendSpec]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._backends, self._clock = cluster, backends, clock
        self.settings = settings
        self.designs = DesignPool()
        self.counts = CommitteeCounts()
        self._ids = itertools.count(1)
        self._open: dict[str, _Open] = {}
        self._kept: dict[str, _Member] = {}
        self._names: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pools: dict[str, int] = {}
        self._filling: asyncio.Task[None] | None = None

    def renew(self, settings: CommitteeSettings) -> None:
        """Committees from now on go by ``settings``."""
        self.settings = settings
        self.designs.shrink(settings.pooled)

    def design(self, problem: str) -> Design | None:
        """A design that did well at a problem like this one."""
        return self.designs.find(problem) if self.settings.pooled else None

    def gauges(self) -> dict[str, float]:
        """Nodes that sit in a committee, nodes that wait for one, designs that are kept."""
        sitting = sum(len(each.members) for each in self._open.values())
        return {"nodes_sitting": sitting, "nodes_waiting": len(self._kept), "designs": len(self.designs)}

    # ── kept ready ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def keep(self, pool: str, size: int | None) -> None:
        """Keep members for ``size`` committees of the pool ``committee:<pattern>`` ready; None or 0: none. Idempotent, and does
        not wait for them. Raises Refused for another pool. Never more than ``max_nodes``, and of a Ray only what is warm."""
        if not pool.startswith(POOL_PREFIX):
            raise Refused(f"there is no pool {pool[:80]!r}")
        self._pools.pop(pool, None)
        if size:
            self._pools[pool] = size
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill(), name="fill the pool of committees")
        self._look_again()

    def _missing(self) -> int:
        wanted = min(self.settings.max_nodes, MEMBERS_EACH * sum(self._pools.values()))
        return wanted - len(self._names)

    def _spare(self) -> int:
        """Members that wait and that no pool wants."""
        return min(len(self._kept), -self._missing())

    async def _fill(self) -> None:
        """Until there are as many as the pools want; a member that goes later is replaced by the next committee's."""
        pause_s = FILL_AFTER_S
        while self._missing() > 0 and self.settings.max_nodes:
            await asyncio.sleep(pause_s)
            seats = [Seat(speciality="member")] * max(0, min(self._missing(), self._room()))
            found = await self._spawned_all(seats, range(len(seats)), "root")
            self._kept |= {member.name: replace(member, idle_since=self._clock()) for _, member in found}
            pause_s = FILL_AFTER_S if found else min(2 * pause_s, MAX_FILL_AFTER_S)

    # ── forming ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def convene(self, seats: Sequence[Seat], *, task_id: str, hops: int, locale: str) -> Convened:
        """A node for each seat where one is at hand, a role where there is none. Takes what is warm, and waits for nothing."""
        taken: dict[int, Taken] = {}
        own: list[_Member] = []
        committee_id = f"committee-{next(self._ids)}"
        if not hops and self.settings.max_nodes and len(self._open) < MAX_OPEN:
            live = [status.spec for status in self._cluster.nodes() if status.state == "live"]
            self._seat_specialists(seats, live, taken)
            self._seat_kept(seats, {spec.name for spec in live}, taken, own)
            # Known from here on: should nobody wait for it any more, these are given back when the request has ended.
            self._open[committee_id] = _Open(task_id=task_id, members=tuple(own))
            empty = [place for place in range(len(seats)) if place not in taken][: self._room()]
            for place, member in await self._spawned_all(seats, empty, locale):
                taken[place] = Taken(speciality=seats[place].speciality, node=member.name, by="warm")
                own.append(member)
        whole = tuple(taken.get(place) or Taken(speciality=seat.speciality) for place, seat in enumerate(seats))
        self.counts.seats.update(one.by for one in whole)
        self._open[committee_id] = _Open(task_id=task_id, members=tuple(own))
        return Convened(committee_id=committee_id, seats=whole)

    def _seat_specialists(self, seats: Sequence[Seat], live: Sequence[NodeSpec], taken: dict[int, Taken]) -> None:
        """Nodes that know the field anyway. They keep their other work: they are asked, not taken."""
        free = [spec for spec in live if spec.role == "specialist"]
        for place, seat in enumerate(seats):
            found = next((spec for spec in free if fits(seat.speciality, spec.speciality or "")), None)
            if found is not None:
                free.remove(found)
                taken[place] = Taken(speciality=seat.speciality, node=found.name, by="specialist")

    def _seat_kept(self, seats: Sequence[Seat], live: set[str], taken: dict[int, Taken], own: list[_Member]) -> None:
        """Members of earlier committees, for the same speciality where that is possible."""
        for alike in (True, False):
            for place, seat in enumerate(seats):
                if place in taken:
                    continue
                member = next((one for one in self._kept.values() if one.name in live and _suits(one, seat, alike)), None)
                if member is not None:
                    del self._kept[member.name]
                    own.append(member)
                    taken[place] = Taken(speciality=seat.speciality, node=member.name, by="kept")

    def _room(self) -> int:
        """How many nodes may be taken from the warm pool now."""
        room, status = self.settings.max_nodes - len(self._names), self._cluster.status()
        return max(0, room if status.kind == "local" else min(room, status.warm))

    async def _spawned_all(self, seats: Sequence[Seat], places: Sequence[int], locale: str) -> list[tuple[int, _Member]]:
        """At once. When the committee is no longer wanted meanwhile, all of them go back."""
        spawning = [asyncio.ensure_future(self._spawned(seats[place], place, locale)) for place in places]
        try:
            found = await asyncio.gather(*(asyncio.shield(one) for one in spawning))
        except asyncio.CancelledError:
            for one in spawning:
                one.add_done_callback(self._unwanted)
            raise
        return [(place, member) for place, member in zip(places, found, strict=True) if member is not None]

    def _unwanted(self, spawning: asyncio.Future[_Member | None]) -> None:
        if not spawning.cancelled() and spawning.exception() is None and (member := spawning.result()) is not None:
            self._put_away(member)

    async def _spawned(self, seat: Seat, place: int, locale: str) -> _Member | None:
        """A node of the warm pool as this member; None where the cluster refuses."""
        name = next(name for number in itertools.count(1) if (name := f"member-{number}") not in self._names)
        self._names.add(name)
        backends = self._backends()
        able = [spec for spec in backends if not seat.code or "code" in spec.capabilities] or list(backends)
        spec = NodeSpec(
            node_id=NodeId(name),
            name=name,
            role="advisor",
            speciality=seat.speciality,
            locale=locale,
            backends=spread(able, place),
            strategy=Single(),
            max_concurrency=MEMBER_CONCURRENCY,
            inbox_limit=MEMBER_INBOX,
        )
        try:
            await self._cluster.spawn(spec)
        except AgentError as error:
            log.info("a committee has no node for %s: %s", seat.speciality, error)
            self._names.discard(name)
            return None
        return _Member(name=name, speciality=seat.speciality, code=seat.code)

    # ── dissolving ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def dissolve(self, committee_id: str, *, design: Design, problem: str, passed: bool) -> None:
        """The committee has ended: its nodes wait for another one, and its design is kept or forgotten. Idempotent."""
        if (found := self._open.pop(committee_id, None)) is None:
            return
        self.counts.ended["passed" if passed else "not_passed"] += 1
        self.designs.ended(problem, design, passed=passed, most=self.settings.pooled)
        self._give_back(found)

    def work_ended(self, work_id: str) -> None:
        """A request has ended: whatever committee it still has, since its node died or was cut off, is dissolved."""
        for committee_id, found in list(self._open.items()):
            if found.task_id.startswith(f"{work_id}/"):
                del self._open[committee_id]
                self.counts.ended["cut_off"] += 1
                self._give_back(found)

    def _give_back(self, found: _Open) -> None:
        keep_s = self.settings.keep_s
        for member in found.members:
            if keep_s <= 0 or len(self._names) > self.settings.max_nodes:
                self._put_away(member)
                continue
            self._kept[member.name] = replace(member, idle_since=self._clock())
        self._look_again()

    def expire(self) -> None:
        """Put away the nodes that have waited for long enough."""
        self._timer = None
        now = self._clock()
        waited = [member for member in self._kept.values() if now - member.idle_since >= self.settings.keep_s]
        for member in waited[: max(0, self._spare())]:
            del self._kept[member.name]
            self._put_away(member)
        self._look_again()

    def _look_again(self) -> None:
        """When the first of those that wait will have waited for long enough. A timer may ring a moment early: then again."""
        if self._spare() > 0 and self._timer is None:
            first = min(member.idle_since for member in self._kept.values())
            left_s = max(LEAST_WAIT_S, first + self.settings.keep_s - self._clock())
            self._timer = asyncio.get_running_loop().call_later(left_s, self.expire)

    def _put_away(self, member: _Member) -> None:
        task = asyncio.get_running_loop().create_task(self._parked(member.name), name=f"put away {member.name}")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _parked(self, name: str) -> None:
        """The name is free again when the node is gone, and not before."""
        try:
            await self._cluster.park(NodeId(name), drain_s=DRAIN_S)
        except AgentError as error:
            log.warning("%s could not be put away: %s", name, error)
        finally:
            self._names.discard(name)

    async def aclose(self) -> None:
        """Wait for what is being put away; the cluster ends the rest."""
        if self._timer is not None:
            self._timer.cancel()
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        await asyncio.gather(*self._background, return_exceptions=True)


def _suits(member: _Member, seat: Seat, alike: bool) -> bool:
    same = member.speciality.casefold() == seat.speciality.casefold()
    return member.code == seat.code and (same or not alike)
