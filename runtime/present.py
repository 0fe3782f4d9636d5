"""What is so now, as series of numbers: asked for at every scrape, and turned into Prometheus' form by metrics.py.

The daemon lays in what can be asked (``Present``); one that nobody answers yet gives its series without rows, so that names and
labels are always there to be checked and documented. Pure but for the asking; must not import prometheus_client or the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from runtime.cluster import ClusterStatus
from runtime.ledger.records import LedgerLoad
from runtime.programs.registry_desk import REGISTRY_GAUGES
from runtime.records import BackendStatus

_BUDGET: Final = {
    "spent_usd": "Spent today (UTC), in USD.",
    "reserved_usd": "Held for calls under way, in USD.",
    "remaining_usd": "Left of the day's budget in USD; absent without one.",
    "remaining_tokens": "Left of the day's budget in tokens; absent without one.",
}
LIBRARY_GAUGES: Final = {
    "open": "1 while the library is open.",
    "solutions": "Solutions that are kept.",
    "solutions_with_code": "Of them those whose code can run again.",
    "solutions_suspended": "Of them those that were found wrong and answer nothing now.",
    "phrasings": "Requests that they answer.",
}
COMMITTEE_GAUGES: Final = {
    "nodes_sitting": "Nodes that sit in a committee now.",
    "nodes_waiting": "Nodes of committees that wait for another one.",
    "designs": "Designs of committees that are kept for requests like theirs.",
}
PATTERN_COUNTS: Final = {
    "requests_seen": "Requests that were looked at for patterns, over restarts.",
    "requests_clustered": "Of them those that were found to be of one.",
    "looks": "Looks at the whole window.",
    "requests_dropped": "Requests that were left without a pattern because too many waited for their words to be embedded.",
}
_LEDGER: Final = {
    "queued_writes": "Writes that are not durable yet.",
    "waiting_requests": "Requests that wait for room in the ledger's queue.",
    "lag_seconds": "Age of the oldest write that is not durable yet.",
    "healthy": "1 while the ledger can be written.",
}
_BREAKER_LEVEL: Final = {"closed": 0, "half_open": 1, "open": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One metric: ``rows`` are its values by the values of ``labels``, in their order. A counter's ``_total`` is added later."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    rows: tuple[tuple[tuple[str, ...], float], ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"


@dataclass(slots=True)
class Present:
    """Who is asked. Each answers at once, from memory."""

    backends: Callable[[], Iterable[BackendStatus]] | None = None
    cluster: Callable[[], ClusterStatus] | None = None
    ledger: Callable[[], LedgerLoad] | None = None
    jobs: Callable[[], Mapping[str, int]] | None = None
    escalations: Callable[[], int] | None = None
    budget: Callable[[], Mapping[str, float]] | None = None
    routing: Callable[[], Iterable[Series]] | None = None
    registry: Callable[[], tuple[Mapping[str, int], Mapping[str, float]]] | None = None
    code: Callable[[], tuple[Mapping[str, int], Mapping[str, int]]] | None = None
    sandbox: Callable[[], tuple[Mapping[str, float], int]] | None = None
    library: Callable[[], Mapping[str, float]] | None = None
    committees: Callable[[], tuple[Mapping[str, float], Mapping[str, int], Mapping[str, int], Mapping[str, int]]] | None = None
    topology: Callable[[], Iterable[Series]] | None = None
    patterns: Callable[[], tuple[Mapping[str, int], Mapping[str, float]]] | None = None
    observing: Callable[[], Iterable[Series]] | None = None
    measures: Callable[[], Iterable[Series]] | None = None

    def series(self) -> Iterator[Series]:
        """All of them, as they stand."""
        yield from of_backends(tuple(self.backends()) if self.backends else ())
        yield from of_cluster(self.cluster() if self.cluster else None)
        yield from of_ledger(self.ledger() if self.ledger else None)
        yield by_state("morphogen_jobs", "Asynchronous requests that are not over.", self.jobs() if self.jobs else {})
        waiting = self.escalations() if self.escalations else None
        yield one("morphogen_escalations_open", "Questions that wait for a person.", waiting)
        states, kept = self.registry() if self.registry else ({}, {})
        yield by_state("morphogen_registry_versions", "Versions in the registry.", states)
        yield from by_name("morphogen_registry", REGISTRY_GAUGES, kept)
        yield from of_code(*(self.code() if self.code else ({}, {})))
        yield from of_sandbox(*(self.sandbox() if self.sandbox else ({}, None)))
        yield from by_name("morphogen_library", LIBRARY_GAUGES, self.library() if self.library else {})
        yield from of_committees(*(self.committees() if self.committees else ({}, {}, {}, {})))
        kinds, told = self.patterns() if self.patterns else ({}, {})
        yield by_state("morphogen_patterns", "Recurring kinds of requests.", kinds)
        yield from by_name("morphogen_pattern", PATTERN_COUNTS, told, "counter")
        yield from self.routing() if self.routing else ()
        yield from self.topology() if self.topology else ()
        yield from self.observing() if self.observing else ()
        yield from self.measures() if self.measures else ()
        yield from by_name("morphogen_budget", _BUDGET, self.budget() if self.budget else {})


def one(name: str, text: str, value: float | None, kind: Literal["gauge", "counter"] = "gauge") -> Series:
    """A metric without labels; without a row where ``value`` is None."""
    return Series(name=name, text=text, rows=() if value is None else (((), value),), kind=kind)


def by_state(name: str, text: str, counts: Mapping[str, int]) -> Series:
    """A metric with the one label ``state``."""
    return Series(name=name, text=text, labels=("state",), rows=tuple(((state,), count) for state, count in counts.items()))


def by_name(
    prefix: str, texts: Mapping[str, str], values: Mapping[str, float], kind: Literal["gauge", "counter"] = "gauge"
) -> Iterator[Series]:
    """A metric for each of ``texts``, ``prefix_name``; those without a value have no row."""
    for name, text in texts.items():
        yield one(f"{prefix}_{name}", text, values.get(name), kind)


def of_backends(statuses: Iterable[BackendStatus]) -> Iterator[Series]:
    """Breakers and calls of each backend; how many there are is the configuration's."""
    every = [(status.spec.name, status) for status in statuses]
    yield Series(
        name="morphogen_breaker_level",
        text="A backend's circuit breaker: 0 closed, 1 half-open, 2 open.",
        labels=("backend",),
        rows=tuple(((name,), _BREAKER_LEVEL[status.health.state]) for name, status in every),
    )
    yield Series(
        name="morphogen_breaker_state",
        text="1 for the state that a backend's breaker is in.",
        labels=("backend", "state"),
        rows=tuple(((name, word), float(word == status.health.state)) for name, status in every for word in _BREAKER_LEVEL),
    )
    yield Series(
        name="morphogen_backend_inflight_calls",
        text="Calls in flight.",
        labels=("backend",),
        rows=tuple(((name,), status.inflight) for name, status in every),
    )
    yield Series(
        name="morphogen_backend_queued_calls",
        text="Calls that wait for a permit.",
        labels=("backend",),
        rows=tuple(((name,), status.queued) for name, status in every),
    )


def of_cluster(status: ClusterStatus | None) -> Iterator[Series]:
    """Live and warm nodes, restarts."""
    live, warm, restarts = (None, None, None) if status is None else (status.live, status.warm, status.restarts)
    yield one("morphogen_nodes_live", "Nodes that hold an actor and take work.", live)
    yield one("morphogen_nodes_warm", "Blank actors kept ready.", warm)
    yield one("morphogen_node_restarts", "Actors that were restarted after they died.", restarts, "counter")


def of_code(programs: Mapping[str, int], reviews: Mapping[str, int]) -> Iterator[Series]:
    """What became of programs that nodes wrote, and what reviews decided."""
    text = "Programs that worked: kept in the registry, refused by it, or dropped because too many waited."
    rows = tuple(((name,), float(programs.get(name, 0))) for name in ("kept", "refused", "dropped")) if programs else ()
    yield Series(name="morphogen_programs", text=text, labels=("outcome",), rows=rows, kind="counter")
    decided = tuple(((name,), float(reviews.get(name, 0))) for name in ("accept", "revise", "reject")) if programs else ()
    yield Series(name="morphogen_reviews", text="Decisions on drafts.", labels=("outcome",), rows=decided, kind="counter")


def of_committees(
    gauges: Mapping[str, float], ended: Mapping[str, int], seats: Mapping[str, int], compared: Mapping[str, int]
) -> Iterator[Series]:
    """Nodes of committees, how they ended, who took their seats, and how often they were better than the best other way."""
    ends = tuple(((name,), float(ended.get(name, 0))) for name in ("passed", "not_passed", "cut_off")) if gauges else ()
    text = "Committees that were dissolved: their answer passed the gate, did not, or they were cut off."
    yield Series(name="morphogen_committees", text=text, labels=("outcome",), rows=ends, kind="counter")
    yield from by_name("morphogen_committee", COMMITTEE_GAUGES, gauges)
    taken = tuple(((name,), float(seats.get(name, 0))) for name in ("specialist", "kept", "warm", "role")) if gauges else ()
    text = "Seats of committees, by who took them: a specialist, a node that waited, one of the warm pool, a role."
    yield Series(name="morphogen_committee_seats", text=text, labels=("source",), rows=taken, kind="counter")
    names = ("won", "lost", "tied", "none", "dropped", "no_money")
    rows = tuple(((name,), float(compared.get(name, 0))) for name in names) if gauges else ()
    text = "Committees compared with the best other way at the same tokens, by how the committee did."
    yield Series(name="morphogen_committee_comparisons", text=text, labels=("outcome",), rows=rows, kind="counter")


def of_sandbox(levels: Mapping[str, float], deaths: int | None) -> Iterator[Series]:
    """The level that code of models runs at, and the zygotes that died."""
    yield Series(
        name="morphogen_sandbox_level",
        text="1 for the level that the sandbox is at: full and reduced run code.",
        labels=("level",),
        rows=tuple(((level,), value) for level, value in levels.items()),
    )
    text = "Times that the process which the daemon's runs are forked from had died and was started again."
    yield one("morphogen_sandbox_zygote_restarts", text, deaths, "counter")


def of_ledger(load: LedgerLoad | None) -> Iterator[Series]:
    """What waits to be durable, and what was written or lost."""
    values: dict[str, float] = {}
    if load is not None:
        values = {
            "queued_writes": load.queued,
            "waiting_requests": load.waiting,
            "lag_seconds": load.lag_s,
            "healthy": float(load.healthy),
        }
    yield from by_name("morphogen_ledger", _LEDGER, values)
    commits, lost = (None, None) if load is None else (load.commits, load.lost)
    yield one("morphogen_ledger_commits", "Group commits.", commits, "counter")
    yield one("morphogen_ledger_lost_writes", "Writes that found no room or could not be stored.", lost, "counter")
