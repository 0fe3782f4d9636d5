"""From records to rows: pure, bounded, and nothing in it that opens a door.

Called by batch.py in the writer's thread, off the event loop. Every value goes through clipping.py. Imports no database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.calls import CallRecord, cost_usd_of, usage_of
from agents.quality.constraints import to_json as constraints_json
from agents.records import AgentError, Cancelled, Event, Json
from agents.strategy_specs import StrategySpec
from agents.verdicts import Verdict
from runtime.accounts import Amount
from runtime.ledger.clipping import MAX_NOTE, maybe_name, name_of, note_of, real, to_json, whole
from runtime.records import Answer, Request

Row = tuple[Any, ...]

MAX_EVENTS = 400
MAX_CALLS = 1000
"""Calls of one request that are kept row by row; the others are added up by backend."""
MAX_CHECKS = 120
MAX_CHECKS_CHARS = 20_000

# Without bodies only these words of an event are kept; the rest may quote the client or the model.
_MEASURE_KEYS = frozenset(
    {"backend", "model", "node", "node_id", "stage", "name", "strategy", "code", "error", "state", "message", "asking", "asked"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What is kept of a request: bodies or measures only, and how many characters of each text."""

    bodies: bool
    max_chars: int
    strategy: Callable[[StrategySpec], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """The node that had a request and the strategy that it worked by; None: it came to none."""

    node: str | None = None
    strategy: str | None = None


NOWHERE = Took()


def request_id_of(text: str) -> str:
    """The id as it is stored; look-ups use the same form."""
    return name_of(text)


REQUEST_SQL = """
INSERT OR IGNORE INTO requests (request_id, at, source, target_kind, target_name, backend, key_id, streamed, item_count,
    deadline_s, body, reserved_usd_pico, reserved_tokens)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
OUTCOME_SQL = "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
CALL_SQL = "INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
REST_SQL = """
INSERT INTO call_rests
    (request_id, hour, backend, calls, errors, prompt_tokens, completion_tokens, estimated, cost_usd, simulated)
VALUES (?1, CAST(?5 / 3600 AS INTEGER), ?3, 1, ?13 IS NOT NULL, ?8, ?9, ?10, ?11, ?15)
ON CONFLICT DO UPDATE SET calls = calls + 1, errors = errors + excluded.errors,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens, completion_tokens = completion_tokens + excluded.completion_tokens,
    estimated = max(estimated, excluded.estimated), cost_usd = cost_usd + excluded.cost_usd,
    simulated = max(simulated, excluded.simulated)
"""
EVENT_SQL = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)"


def request_row(request: Request, at: float, keeping: Keeping, foreseen: Amount | None = None) -> Row:
    """One row of ``requests``, in REQUEST_SQL's order. ``foreseen`` is what it is charged should the daemon be killed."""
    return (
        name_of(request.request_id),
        real(at),
        name_of(request.source),
        name_of(request.target.kind),
        maybe_name(request.target.name),
        maybe_name(request.backend),
        maybe_name(request.key_id),
        int(request.stream),
        None if request.count is None else whole(request.count),
        None if request.deadline_s is None else real(request.deadline_s),
        _request_body(request, keeping) if keeping.bodies else None,
        None if foreseen is None else whole(foreseen.usd),
        None if foreseen is None else whole(foreseen.tokens),
    )


def _request_body(request: Request, keeping: Keeping) -> str:
    limit = keeping.max_chars
    parts = {"messages": to_json(request.messages, limit=limit, redact=False)}
    if request.params:
        parts["params"] = to_json(request.params, limit=limit, redact=True)
    if request.schema is not None:
        parts["schema"] = to_json(request.schema, limit=limit, redact=False)
    if request.rules:
        parts["rules"] = to_json(request.rules, limit=limit, redact=False)
    if request.constraints:
        parts["constraints"] = to_json(constraints_json(request.constraints), limit=limit, redact=False)
    if request.strategy is not None:
        parts["strategy"] = to_json(_strategy(request.strategy, keeping), limit=limit, redact=False)
    return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def _strategy(strategy: StrategySpec, keeping: Keeping) -> Json:
    try:
        return keeping.strategy(strategy)
    except (TypeError, ValueError):
        return {"kind": type(strategy).__name__}


def outcome_row(
    request_id: str,
    answer: Answer | None,
    error: AgentError | None,
    calls: Sequence[CallRecord],
    at: float,
    latency_s: float,
    overhead_s: float,
    keeping: Keeping,
    took: Took = NOWHERE,
) -> Row:
    """One row of ``outcomes``. Sums are over ``calls``: what failed was paid for as well. ``took`` is the way that a request
    without an answer took."""
    usage = usage_of(calls)
    return (
        name_of(request_id),
        real(at),
        status_of(answer, error),
        error.code if error else None,
        maybe_name(error.param) if error else None,
        note_of(error.message) if error and keeping.bodies else None,
        maybe_name(answer.node) if answer else maybe_name(took.node),
        name_of(answer.strategy) if answer else maybe_name(took.strategy),
        maybe_name(answer.backend) if answer else maybe_name(error.backend if error else None),
        whole(answer.attempts) if answer else 0,
        name_of(answer.draft.finish_reason) if answer else None,
        real(latency_s),
        real(overhead_s),
        whole(usage.prompt_tokens),
        whole(usage.completion_tokens),
        int(usage.estimated),
        real(cost_usd_of(calls)),
        int(any(call.simulated for call in calls) or (answer is not None and answer.simulated)),
        _answer_body(answer, keeping) if answer and keeping.bodies else None,
        *_quality(answer.verdict if answer else None, keeping),
        answer.library.result if answer and answer.library else None,
    )


def _quality(verdict: Verdict | None, keeping: Keeping) -> Row:
    """Score, source and checks. What a check says may quote the answer, so that it goes where the answer goes."""
    if verdict is None:
        return (None, None, None)
    checks: list[Json] = []
    for check in verdict.checks[:MAX_CHECKS]:
        # Without bodies of a name only the kind is kept: the rest is a field of the client's.
        shown: dict[str, Json] = {"name": check.name if keeping.bodies else check.name.split()[0], "score": real(check.score)}
        if check.detail and keeping.bodies:
            shown["detail"] = check.detail
        checks.append(shown)
    text = to_json(checks, limit=min(keeping.max_chars, MAX_CHECKS_CHARS), redact=False) if checks else None
    return (real(verdict.score), name_of(verdict.source), text)


def status_of(answer: Answer | None, error: AgentError | None) -> str:
    """``ok``, ``partial`` (an answer known to be incomplete), ``error``, or ``cancelled`` (also when there is neither)."""
    if error is not None:
        return "cancelled" if isinstance(error, Cancelled) else "error"
    if answer is None:
        return "cancelled"
    return "ok" if answer.draft.complete else "partial"


def _answer_body(answer: Answer, keeping: Keeping) -> str:
    draft = answer.draft
    body: dict[str, Json] = {"text": draft.text}
    if draft.data is not None and not draft.text:
        body["data"] = draft.data
    if draft.issues:
        body["issues"] = draft.issues
    if draft.message and draft.message.get("tool_calls"):
        body["tool_calls"] = draft.message["tool_calls"]
    if draft.choices and len(draft.choices) > 1:
        body["choices"] = draft.choices
    return to_json(body, limit=keeping.max_chars, redact=False)


def call_rows(request_id: str, calls: Sequence[CallRecord], keeping: Keeping) -> list[Row]:
    """A row for each of ``calls``, in order; ``kept_calls`` says which are kept as they are."""
    return [
        (
            name_of(request_id),
            ordinal,
            name_of(call.backend),
            name_of(call.model),
            real(call.started_at),
            real(call.latency_s),
            None if call.first_token_s is None else real(call.first_token_s),
            whole(call.usage.prompt_tokens),
            whole(call.usage.completion_tokens),
            int(call.usage.estimated),
            real(call.cost_usd),
            whole(call.attempt),
            maybe_name(call.error),
            note_of(call.detail) if call.detail and keeping.bodies else None,
            int(call.simulated),
            int(call.streamed),
        )
        for ordinal, call in enumerate(calls)
    ]


def kept_calls(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """``call_rows`` that are kept one by one (CALL_SQL), and those that are added up (REST_SQL)."""
    return [row for row in rows if row[1] < MAX_CALLS], [row[:15] for row in rows if row[1] >= MAX_CALLS]


def event_rows(request_id: str, events: Sequence[Event], keeping: Keeping) -> list[Row]:
    """At most MAX_EVENTS + 1 rows of ``events``: the first and the last ones, with a note of how many are missing between.

    Deltas are left out: the answer holds their text.
    """
    kept = [event for event in events if event.kind != "delta"]
    if len(kept) > MAX_EVENTS:
        half, missing = MAX_EVENTS // 2, len(kept) - MAX_EVENTS
        gap = Event(kind="note", at=kept[half].at, data={"events_left_out": missing})
        kept = [*kept[:half], gap, *kept[-half:]]
    stored_id, limit = name_of(request_id), min(keeping.max_chars, 2 * MAX_NOTE)
    return [
        (stored_id, ordinal, name_of(event.kind), real(event.at), to_json(_event_data(event, keeping), limit=limit, redact=True))
        for ordinal, event in enumerate(kept)
    ]


def _event_data(event: Event, keeping: Keeping) -> Json:
    data: Mapping[str, Json] = event.data
    record = data.get("record")
    if isinstance(record, CallRecord):
        data = {"backend": record.backend, "attempt": record.attempt, "error": record.error}
    if keeping.bodies:
        return data
    return {
        name: value
        for name, value in data.items()
        if isinstance(value, (bool, int, float)) or (name in _MEASURE_KEYS and isinstance(value, str))
    }
