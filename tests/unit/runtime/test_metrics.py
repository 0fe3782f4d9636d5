"""The daemon's metrics: names, labels, bounds, and what each method moves."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.calls import CallRecord, Health, Usage
from agents.llm.chat import BackendSpec
from agents.verdicts import Verdict
from runtime.budget import Purse
from runtime.cluster import ClusterStatus
from runtime.config.settings import BudgetSettings
from runtime.labels import MAX_LABEL_VALUES
from runtime.ledger.records import LedgerLoad
from runtime.loop_lag import LoopLag
from runtime.metrics import Metrics
from runtime.present import COMMITTEE_GAUGES, LIBRARY_GAUGES, PATTERN_COUNTS
from runtime.programs.registry_desk import REGISTRY_GAUGES
from runtime.records import BackendStatus

LABELS = {
    "source",
    "quality_source",
    "target_kind",
    "strategy",
    "status",
    "backend",
    "error",
    "token_type",
    "state",
    "budget",
    "unit",
    "result",
    "outcome",
    "level",
    "version",
    "python_version",
}
NOT_BASE = re.compile(r"_(ms|millis|milliseconds|minutes|hours|kb|mb|percent|us)(_|$)")


def full() -> Metrics:
    """Metrics in which every method was called at least once."""
    metrics = Metrics(version="1", process=False)
    metrics.request_finished(
        source="openai",
        target_kind="auto",
        strategy="single",
        status="ok",
        latency_s=0.2,
        overhead_s=0.001,
        simulated=True,
        verdict=Verdict(score=0.7, source="checks"),
    )
    usage = Usage(prompt_tokens=30, completion_tokens=12, estimated=True)
    metrics.call_finished(
        CallRecord(backend="b", model="m", started_at=0, latency_s=1, first_token_s=0.2, usage=usage, cost_usd=0.5, attempt=2)
    )
    metrics.call_finished(CallRecord(backend="b", model="m", started_at=0, latency_s=1, error="backend_timeout"))
    metrics.fell_back("b")
    metrics.node_lost()
    metrics.budget_refused("key", "usd")
    metrics.present.budget = Purse(BudgetSettings(usd_per_day=5, tokens_per_day=100)).gauges
    metrics.present.registry = lambda: ({"published": 3}, dict.fromkeys(REGISTRY_GAUGES, 1.0))
    metrics.present.code = lambda: ({"kept": 4, "dropped": 1}, {"accept": 2})
    metrics.present.library = lambda: dict.fromkeys(LIBRARY_GAUGES, 1.0)
    metrics.present.patterns = lambda: ({"found": 2, "candidate": 1}, dict.fromkeys(PATTERN_COUNTS, 1.0))
    metrics.present.committees = lambda: (dict.fromkeys(COMMITTEE_GAUGES, 1.0), {"passed": 2}, {"warm": 3}, {"won": 1})
    metrics.library_looked_up("rerun", 0.01)
    metrics.library_adapted()
    metrics.library_saved(0.02)
    metrics.library_dropped()
    metrics.redispatched()
    metrics.cache_lookup(hit=True)
    metrics.job_crashed()
    metrics.replayed()
    metrics.present.jobs = lambda: {"queued": 2, "running": 1}
    metrics.present.escalations = lambda: 1
    metrics.loop_lagged(0.002)
    metrics.code_ran("ok", 0.02)
    metrics.code_ran("timed_out", 5.0)
    metrics.code_ran("a word of a node", 1.0)
    metrics.present.sandbox = lambda: ({"full": 1.0, "refuses": 0.0}, 2)
    metrics.config_reloaded("ok", at=1000.0)
    spec = BackendSpec(name="b")
    metrics.present.backends = lambda: [BackendStatus(spec=spec, health=Health(state="open"), inflight=3, queued=4)]
    metrics.present.cluster = lambda: ClusterStatus(kind="local", live=2, warm=1, restarts=5)
    metrics.present.ledger = lambda: LedgerLoad(queued=7, waiting=1, lag_s=0.5, over_limit=0, lost=2, commits=9, healthy=False)
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_name_and_label_follows_the_rules() -> None:
    families = list(full().registry.collect())
    assert len(families) > 25
    for family in families:
        assert re.fullmatch(r"morphogen(_[a-z0-9]+)+", family.name), family.name
        assert not NOT_BASE.search(family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert family.samples, f"{family.name} is never moved"
        for sample in family.samples:
            assert set(sample.labels) - {"le"} <= LABELS, sample
            if family.type == "counter":
                assert sample.name.endswith("_total"), sample.name
            elif family.type == "histogram":
                assert family.name.endswith(("_seconds", "_score")), family.name
            else:
                assert not sample.name.endswith("_total"), sample.name


def test_the_exposition_can_be_read_and_has_the_process() -> None:
    metrics = Metrics()
    body, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"morphogen_build_info", "process_resident_memory_bytes", "python_info"} <= names
    assert not [name for name in names if name.endswith("_created")]


def test_a_request_is_counted() -> None:
    metrics = full()
    labels = {"source": "openai", "target_kind": "auto", "strategy": "single", "status": "ok"}
    assert value(metrics, "morphogen_requests_total", **labels) == 1
    assert value(metrics, "morphogen_request_duration_seconds_sum", source="openai", status="ok") == pytest.approx(0.2)
    assert value(metrics, "morphogen_request_overhead_seconds_sum", source="openai") == pytest.approx(0.001)
    assert value(metrics, "morphogen_simulated_requests_total", source="openai") == 1


def test_a_call_is_counted_with_its_tokens_and_cost() -> None:
    metrics = full()
    assert value(metrics, "morphogen_backend_calls_total", backend="b", error="none") == 1
    assert value(metrics, "morphogen_backend_calls_total", backend="b", error="backend_timeout") == 1
    assert value(metrics, "morphogen_tokens_total", backend="b", token_type="input") == 30
    assert value(metrics, "morphogen_tokens_total", backend="b", token_type="output") == 12
    assert value(metrics, "morphogen_cost_usd_total", backend="b") == 0.5
    assert value(metrics, "morphogen_retries_total", backend="b") == 1
    assert value(metrics, "morphogen_fallbacks_total", backend="b") == 1
    assert value(metrics, "morphogen_estimated_usage_calls_total", backend="b") == 1


def test_the_present_is_asked_for_at_scrape() -> None:
    metrics = full()
    assert value(metrics, "morphogen_breaker_level", backend="b") == 2
    states = {
        state: value(metrics, "morphogen_breaker_state", backend="b", state=state) for state in ("closed", "half_open", "open")
    }
    assert states == {"closed": 0, "half_open": 0, "open": 1}
    assert value(metrics, "morphogen_backend_inflight_calls", backend="b") == 3
    assert value(metrics, "morphogen_backend_queued_calls", backend="b") == 4
    assert value(metrics, "morphogen_nodes_live") == 2
    assert value(metrics, "morphogen_nodes_warm") == 1
    assert value(metrics, "morphogen_node_restarts_total") == 5
    assert value(metrics, "morphogen_ledger_queued_writes") == 7
    assert value(metrics, "morphogen_ledger_lag_seconds") == 0.5
    assert value(metrics, "morphogen_ledger_lost_writes_total") == 2
    assert value(metrics, "morphogen_ledger_healthy") == 0


def test_runs_of_code_are_counted_by_how_they_ended_and_the_level_is_shown() -> None:
    metrics = full()
    outcomes = {each: value(metrics, "morphogen_sandbox_runs_total", outcome=each) for each in ("ok", "timed_out", "crashed")}
    assert outcomes == {"ok": 1, "timed_out": 1, "crashed": 0}
    assert value(metrics, "morphogen_sandbox_runs_total", outcome="other") == 1
    assert value(metrics, "morphogen_sandbox_run_duration_seconds_sum") == pytest.approx(6.02)
    assert value(metrics, "morphogen_sandbox_level", level="full") == 1
    assert value(metrics, "morphogen_sandbox_level", level="refuses") == 0
    assert value(metrics, "morphogen_sandbox_zygote_restarts_total") == 2


def test_labels_from_outside_are_folded() -> None:
    metrics = Metrics(process=False)
    for n in range(5 * MAX_LABEL_VALUES):
        metrics.request_finished(
            source="openai", target_kind="strategy", strategy=f"s{n}", status="ok", latency_s=0.1, overhead_s=0.0
        )
        metrics.call_finished(CallRecord(backend=f"b{n}", model="m", started_at=0, latency_s=1))
    for name, label in (("morphogen_requests", "strategy"), ("morphogen_backend_calls", "backend")):
        family = next(f for f in metrics.registry.collect() if f.name == name)
        assert len(family.samples) == MAX_LABEL_VALUES + 1
        folded = [s.value for s in family.samples if s.labels[label] == "other"]
        assert folded == [4 * MAX_LABEL_VALUES]


def test_an_answer_is_scored_by_who_says_so_and_not_where_nobody_does() -> None:
    metrics = full()
    metrics.request_finished(
        source="openai",
        target_kind="auto",
        strategy="single",
        status="ok",
        latency_s=0.2,
        overhead_s=0.001,
        verdict=Verdict(score=1.0, source="none"),
    )
    assert value(metrics, "morphogen_answer_quality_score_sum", quality_source="checks") == pytest.approx(0.7)
    assert value(metrics, "morphogen_answer_quality_score_count", quality_source="checks") == 1
    assert value(metrics, "morphogen_answer_quality_score_count", quality_source="none") is None


def test_clocks_that_disagree_do_no_harm() -> None:
    metrics = Metrics(process=False)
    metrics.request_finished(source="mock", target_kind="auto", strategy="single", status="ok", latency_s=0.1, overhead_s=-0.001)
    assert value(metrics, "morphogen_request_overhead_seconds_sum", source="mock") == 0


def test_counting_a_request_costs_little() -> None:
    metrics = Metrics(process=False)

    def round_us() -> float:
        start = time.perf_counter()
        for _ in range(1000):
            metrics.request_finished(
                source="openai", target_kind="auto", strategy="single", status="ok", latency_s=0.1, overhead_s=0.001
            )
        return (time.perf_counter() - start) * 1000

    # Measured at about 3 us; the best of a few rounds, because the machine may be busy.
    assert min(round_us() for _ in range(7)) < 30


async def test_the_lag_is_what_a_sleeper_overslept() -> None:
    now, naps = 0.0, [0.25, 0.30, 0.20]
    seen: list[float] = []

    async def sleep(wanted_s: float) -> None:
        nonlocal now
        if not naps:
            raise asyncio.CancelledError
        now += naps.pop(0)

    with pytest.raises(asyncio.CancelledError):
        await LoopLag(seen.append, interval_s=0.25, clock=lambda: now, sleep=sleep).run()
    assert seen == pytest.approx([0.0, 0.05, 0.0])


def test_a_reload_that_was_refused_shows_until_one_succeeds() -> None:
    metrics = Metrics(version="1", process=False)
    assert value(metrics, "morphogen_config_valid") == 1
    metrics.config_reloaded("ok", at=1000.0)
    metrics.config_reloaded("invalid", at=2000.0)
    assert value(metrics, "morphogen_config_valid") == 0
    assert value(metrics, "morphogen_config_last_reload_success_timestamp_seconds") == 1000.0
    metrics.config_reloaded("unchanged", at=3000.0)
    assert value(metrics, "morphogen_config_valid") == 1
    assert value(metrics, "morphogen_config_last_reload_success_timestamp_seconds") == 3000.0
    assert [value(metrics, "morphogen_config_reloads_total", result=word) for word in ("ok", "invalid", "unchanged")] == [1, 1, 1]
