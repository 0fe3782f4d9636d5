"""Every Prometheus metric of the daemon, in one place.

Nothing else knows prometheus_client. Counters and histograms are moved by small methods; what has a present state (queues,
breakers, nodes, the ledger) is asked for at scrape by present.py. Labels are bounded: never an id of a request, a node or a user;
one whose values come from outside is folded into ``other`` beyond a fixed number. Must not import dispatch, the daemon or any
surface.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.calls import CallRecord
from agents.verdicts import Verdict
from runtime.accounts import Scope, Unit
from runtime.config.status import ReloadOutcome
from runtime.labels import OTHER, Bounded
from runtime.library.looked import LibraryResult
from runtime.present import Present
from sandbox.records import Problem

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_OVERHEAD_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 1.0, 5.0)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_RUN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_RUN_OUTCOMES = frozenset({"ok", *map(str, Problem)})
_SCORE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
# No second series beside every counter. The switch is the library's, so it is for the process.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _RequestSeries:
    """The series of one combination of labels, looked up once: ``labels()`` costs more than counting."""

    __slots__ = ("count", "latency", "overhead", "simulated")

    def __init__(self, count: Counter, latency: Histogram, overhead: Histogram, simulated: Counter) -> None:
        self.count, self.latency, self.overhead, self.simulated = count, latency, overhead, simulated


class _Scrape(Collector):
    """What is so now, in Prometheus' form."""

    def __init__(self, present: Present) -> None:
        self._present = present

    def collect(self) -> Iterator[Metric]:
        for series in self._present.series():
            make = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
            family = make(series.name, series.text, labels=series.labels)
            for labels, value in series.rows:
                family.add_metric(labels, value)
            yield family


def _installed_version() -> str:
    try:
        return importlib.metadata.version("morphogen")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


class Metrics:
    """One daemon's metrics, in a registry of their own, so that two daemons in one test do not meet."""

    def __init__(self, *, version: str | None = None, process: bool = True) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.present = Present()
        """Who is asked at every scrape; the daemon lays them in."""
        self._series: dict[tuple[str, str, str, str], _RequestSeries] = {}
        self._strategies, self._statuses, self._backends, self._errors = (Bounded() for _ in range(4))
        self._request_metrics()
        self._call_metrics()
        self._node_metrics()
        self._sandbox_metrics()
        self._library_metrics()
        self._config_metrics()
        build = Gauge(
            "morphogen_build_info", "1, labelled with what runs.", ["version", "python_version"], registry=self.registry
        )
        build.labels(version or _installed_version(), platform.python_version()).set(1)
        self.registry.register(_Scrape(self.present))
        if process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)

    def _request_metrics(self) -> None:
        self._requests = self._counter(
            "morphogen_requests_total", "Requests finished.", "source", "target_kind", "strategy", "status"
        )
        self._latency = self._histogram(
            "morphogen_request_duration_seconds", "From arrival to the whole answer.", _LATENCY_S, "source", "status"
        )
        self._overhead = self._histogram(
            "morphogen_request_overhead_seconds", "Time in the daemon minus time in backends.", _OVERHEAD_S, "source"
        )
        self._simulated = self._counter(
            "morphogen_simulated_requests_total", "Requests that a simulated backend had a part in.", "source"
        )
        self._quality = self._histogram(
            "morphogen_answer_quality_score", "How good answers are, 0 to 1, by who says so.", _SCORE, "quality_source"
        )
        self._cache = self._counter("morphogen_mock_cache_lookups_total", "Look-ups in the mock API's cache.", "result")
        self._lag = self._histogram("morphogen_event_loop_lag_seconds", "How late the event loop wakes its sleepers.", _LAG_S)
        self._rounds = self._histogram("morphogen_control_round_seconds", "Length of the control loop's rounds.", _RUN_S)

    def _call_metrics(self) -> None:
        self._calls = self._counter("morphogen_backend_calls_total", "Calls to a backend.", "backend", "error")
        self._call_s = self._histogram("morphogen_backend_call_duration_seconds", "Length of a call.", _LATENCY_S, "backend")
        self._first_s = self._histogram(
            "morphogen_backend_first_token_seconds", "Until the first piece of a streamed answer.", _LATENCY_S, "backend"
        )
        self._tokens = self._counter(
            "morphogen_tokens_total", "Tokens, as the backend reported or we estimated them.", "backend", "token_type"
        )
        self._estimated = self._counter("morphogen_estimated_usage_calls_total", "Calls whose tokens are an estimate.", "backend")
        self._cost = self._counter("morphogen_cost_usd_total", "Cost by the configured prices, in USD.", "backend")
        self._retries = self._counter("morphogen_retries_total", "Calls that were a further attempt at a backend.", "backend")
        self._fallbacks = self._counter("morphogen_fallbacks_total", "Times that another backend stood in.", "backend")

        self._refused = self._counter("morphogen_budget_refused_total", "Calls that a budget did not allow.", "budget", "unit")

    def _node_metrics(self) -> None:
        self._nodes_lost = self._counter("morphogen_nodes_lost_total", "Nodes that died while they held work.")
        self._redispatches = self._counter("morphogen_redispatches_total", "Tasks handed over again after their node died.")

        self._job_crashes = self._counter(
            "morphogen_job_crashes_total", "Asynchronous requests at which the daemon itself failed."
        )
        self._replays = self._counter("morphogen_idempotent_replays_total", "POSTs answered again by their Idempotency-Key.")

    def _sandbox_metrics(self) -> None:
        self._runs = self._counter(
            "morphogen_sandbox_runs_total", "Runs of code that models wrote, by how they ended.", "outcome"
        )
        self._run_s = self._histogram("morphogen_sandbox_run_duration_seconds", "Length of a run, as its caller saw it.", _RUN_S)
        for outcome in _RUN_OUTCOMES:
            self._runs.labels(outcome)

    def _library_metrics(self) -> None:
        self._lookups = self._counter(
            "morphogen_library_lookups_total", "Look-ups in the library; an adapted program is a miss as well.", "result"
        )
        self._lookup_s = self._histogram(
            "morphogen_library_lookup_duration_seconds", "Length of a look-up, stored code that ran included.", _OVERHEAD_S
        )
        self._saved = self._counter("morphogen_library_saved_usd_total", "What answers that were given again had cost, in USD.")
        self._unlearned = self._counter("morphogen_library_dropped_total", "Outcomes that came too fast to be learned from.")

    def _config_metrics(self) -> None:
        self._reloads = self._counter("morphogen_config_reloads_total", "Times that the configuration was read again.", "result")
        self._config_valid = Gauge(
            "morphogen_config_valid", "1 while what is in the configuration file can be used.", registry=self.registry
        )
        self._config_success = Gauge(
            "morphogen_config_last_reload_success_timestamp_seconds",
            "When the configuration was last read and found valid, the start included.",
            registry=self.registry,
        )
        self._config_valid.set(1)
        self._config_success.set_to_current_time()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    # ── what happened ───────────────────────────────────────────────────────────────────────────────────────────────────

    def request_finished(
        self,
        *,
        source: str,
        target_kind: str,
        strategy: str,
        status: str,
        latency_s: float,
        overhead_s: float,
        simulated: bool = False,
        verdict: Verdict | None = None,
    ) -> None:
        """One request came to its end. ``status`` is ``ok``, ``partial`` or an error code; a score of nobody is not counted."""
        key = (source, target_kind, strategy, status)
        series = self._series.get(key)
        if series is None:
            series = self._request_series(key)
        series.count.inc()
        series.latency.observe(latency_s)
        # Two clocks may disagree by a hair; a histogram's sum must not fall.
        series.overhead.observe(overhead_s if overhead_s > 0.0 else 0.0)
        if simulated:
            series.simulated.inc()
        if verdict is not None and verdict.source != "none":
            self._quality.labels(verdict.source).observe(verdict.score)

    def _request_series(self, key: tuple[str, str, str, str]) -> _RequestSeries:
        source, target_kind, strategy, status = key
        strategy, status = self._strategies(strategy), self._statuses(status)
        series = _RequestSeries(
            self._requests.labels(source, target_kind, strategy, status),
            self._latency.labels(source, status),
            self._overhead.labels(source),
            self._simulated.labels(source),
        )
        # Folded combinations are looked up each time, so that this table is as bounded as the labels are.
        if OTHER not in (strategy, status):
            self._series[key] = series
        return series

    def call_finished(self, record: CallRecord) -> None:
        """One HTTP call to a backend ended; ``attempt`` above 1 counts as a retry."""
        backend = self._backends(record.backend)
        self._calls.labels(backend, self._errors(record.error) if record.error else "none").inc()
        self._call_s.labels(backend).observe(max(0.0, record.latency_s))
        if record.first_token_s is not None:
            self._first_s.labels(backend).observe(max(0.0, record.first_token_s))
        if record.usage.prompt_tokens > 0:
            self._tokens.labels(backend, "input").inc(record.usage.prompt_tokens)
        if record.usage.completion_tokens > 0:
            self._tokens.labels(backend, "output").inc(record.usage.completion_tokens)
        if record.usage.estimated:
            self._estimated.labels(backend).inc()
        if record.cost_usd > 0:
            self._cost.labels(backend).inc(record.cost_usd)
        if record.attempt > 1:
            self._retries.labels(backend).inc()

    def calls_finished(self, calls: Iterable[CallRecord]) -> None:
        """All calls of one piece of work, in order: where one failed and the next went to another backend, that one stood in."""
        failed: str | None = None
        for call in calls:
            self.call_finished(call)
            if failed is not None and call.backend != failed:
                self.fell_back(failed)
            failed = call.backend if call.error else None

    def fell_back(self, backend: str) -> None:
        """Another backend stood in for ``backend``."""
        self._fallbacks.labels(self._backends(backend)).inc()

    def budget_refused(self, scope: Scope, unit: Unit) -> None:
        """A budget (the request's, its key's, the day's) did not allow a call."""
        self._refused.labels(scope, unit).inc()

    def code_ran(self, outcome: str, wall_s: float) -> None:
        """A run in the sandbox ended: ``ok``, or a ``sandbox.records.Problem``. Nodes tell theirs as ``run`` events."""
        self._runs.labels(outcome if outcome in _RUN_OUTCOMES else OTHER).inc()
        self._run_s.observe(max(0.0, wall_s))

    def node_lost(self) -> None:
        self._nodes_lost.inc()

    def redispatched(self) -> None:
        self._redispatches.inc()

    def job_crashed(self) -> None:
        self._job_crashes.inc()

    def replayed(self) -> None:
        self._replays.inc()

    def cache_lookup(self, *, hit: bool) -> None:
        self._cache.labels("hit" if hit else "miss").inc()

    def library_looked_up(self, result: LibraryResult, latency_s: float) -> None:
        """The library was asked for a request; stored code that ran for it included."""
        self._lookups.labels(result).inc()
        self._lookup_s.observe(latency_s)

    def library_adapted(self) -> None:
        """A look-up that missed gave a program that was changed for the request."""
        self._lookups.labels("adapted").inc()

    def library_saved(self, usd: float) -> None:
        """What the answer that was given again had cost."""
        self._saved.inc(max(0.0, usd))

    def library_dropped(self) -> None:
        self._unlearned.inc()

    def config_reloaded(self, outcome: ReloadOutcome, *, at: float) -> None:
        """The configuration was read again, ``at`` in epoch seconds."""
        self._reloads.labels(outcome).inc()
        self._config_valid.set(float(outcome != "invalid"))
        if outcome != "invalid":
            self._config_success.set(at)

    def loop_lagged(self, lag_s: float) -> None:
        """How much later than asked the event loop woke a sleeper."""
        self._lag.observe(lag_s)

    def control_round(self, length_s: float) -> None:
        """How long the control loop looked."""
        self._rounds.observe(length_s)

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
