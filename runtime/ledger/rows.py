"""From records to rows: pure, bounded, and nothing in it that opens a door.

Called by batch.py in the writer's thread, off the event loop. Every text is cut to its limit and marked, every number fits
its column, every string can be stored, and credentials are left out. Imports no database.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from agents.calls import CallRecord, cost_usd_of, usage_of
from agents.quality.constraints import to_json as constraints_json
from agents.records import AgentError, Cancelled, Event, Json
from agents.strategy_specs import StrategySpec
from agents.verdicts import Verdict
from runtime.accounts import Amount
from runtime.records import Answer, Request

Row = tuple[Any, ...]

MAX_EVENTS = 400
MAX_CALLS = 1000
MAX_CHECKS = 120
MAX_CHECKS_CHARS = 20_000
_MAX_DEPTH = 40
_MAX_NAME = 256
_MAX_NOTE = 2048
_LAST = 2**63 - 1

_SECRET_KEYS = frozenset(
    {"authorization", "proxy-authorization", "api_key", "api-key", "apikey", "x-api-key", "cookie", "set-cookie", "headers"}
    | {"extra_headers", "access_token", "password", "secret", "client_secret"}
)
_OUR_KEYS = re.compile(r"\bmg-(client|operator)-[\w-]+")
_CREDENTIALS = re.compile(r"\b([Bb]earer|BEARER|[Bb]asic)\s+[\w.~+/=-]{8,}|\b(sk|pk)-[\w-]{12,}")
_LEFT_OUT = "[left out]"

# Without bodies only these words of an event are kept; the rest may quote the client or the model.
_MEASURE_KEYS = frozenset({"backend", "model", "node", "node_id", "stage", "name", "strategy", "code", "error", "state"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What is kept of a request: bodies or measures only, and how many characters of each text."""

    bodies: bool
    max_chars: int
    strategy: Callable[[StrategySpec], Json]


@dataclass(slots=True)
class _Room:
    left: int
    redact: bool


def to_json(value: Json, *, limit: int, redact: bool) -> str:
    """``value`` as JSON with at most about ``limit`` characters of text; what was cut is marked in place.

    ``redact`` leaves out values under names such as ``authorization`` and anything that looks like a bearer token.
    """
    kept = _clip(value, _Room(limit, redact), 0)
    return scrub(orjson.dumps(kept).decode(), credentials=redact)


def scrub(text: str, *, credentials: bool = True) -> str:
    """``text`` without Morphogen's keys and, with ``credentials``, without bearer tokens and provider keys."""
    if "mg-" in text:
        text = _OUR_KEYS.sub(rf"mg-\1-{_LEFT_OUT}", text)
    if credentials:
        text = _CREDENTIALS.sub(_LEFT_OUT, text)
    return text


def _clip(value: Any, room: _Room, depth: int) -> Json:
    if isinstance(value, str):
        return _cut(value, room)
    if value is None or isinstance(value, bool):
        room.left -= 4
        return value
    if isinstance(value, (int, float)):
        room.left -= 8
        return value if isinstance(value, float) or -_LAST <= value <= _LAST else "[a number beyond 64 bits]"
    if depth >= _MAX_DEPTH:
        return f"[cut: nested deeper than {_MAX_DEPTH}]"
    if isinstance(value, Mapping):
        return _clip_mapping(value, room, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _clip_mapping({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, room, depth)
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if isinstance(value, (list, tuple)):
        items: list[Json] = []
        for item in value:
            if room.left <= 0:
                items.append(f"[cut: {len(value) - len(items)} more items]")
                break
            room.left -= 2
            items.append(_clip(item, room, depth + 1))
        return items
    return _cut(type(value).__name__, room)


def _clip_mapping(value: Mapping[Any, Any], room: _Room, depth: int) -> dict[str, Json]:
    kept: dict[str, Json] = {}
    for key, item in value.items():
        if room.left <= 0:
            kept["[cut]"] = f"{len(value) - len(kept)} more fields"
            break
        name = _storable(str(key)[:_MAX_NAME])
        room.left -= len(name) + 4
        kept[name] = _LEFT_OUT if room.redact and name.lower() in _SECRET_KEYS else _clip(item, room, depth + 1)
    return kept


def _cut(text: str, room: _Room) -> str:
    size, left = len(text), max(0, room.left)
    room.left -= size + 2
    if size <= left:
        return _storable(text)
    return f"{_storable(text[:left])}… [cut: {left} of {size} characters kept]"


def _storable(text: str) -> str:
    """Lone surrogates, which JSON may carry and UTF-8 may not, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _name(text: object) -> str:
    return _storable(str(text)[:_MAX_NAME])


def _maybe(text: object | None) -> str | None:
    return None if text is None else _name(text)


def _note(text: str) -> str:
    return scrub(_cut(text, _Room(_MAX_NOTE, False)))


def _whole(number: int) -> int:
    return max(-_LAST, min(_LAST, int(number)))


def _real(number: float) -> float:
    return float(number) if math.isfinite(number) else 0.0


def request_id_of(text: str) -> str:
    """The id as it is stored; look-ups use the same form."""
    return _name(text)


REQUEST_SQL = """
INSERT OR IGNORE INTO requests (request_id, at, source, target_kind, target_name, backend, key_id, streamed, item_count,
    deadline_s, body, reserved_usd_pico, reserved_tokens)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
OUTCOME_SQL = "INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
CALL_SQL = "INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
EVENT_SQL = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)"


def request_row(request: Request, at: float, keeping: Keeping, foreseen: Amount | None = None) -> Row:
    """One row of ``requests``, in REQUEST_SQL's order. ``foreseen`` is what it is charged should the daemon be killed."""
    return (
        _name(request.request_id),
        _real(at),
        _name(request.source),
        _name(request.target.kind),
        _maybe(request.target.name),
        _maybe(request.backend),
        _maybe(request.key_id),
        int(request.stream),
        None if request.count is None else _whole(request.count),
        None if request.deadline_s is None else _real(request.deadline_s),
        _request_body(request, keeping) if keeping.bodies else None,
        None if foreseen is None else _whole(foreseen.usd),
        None if foreseen is None else _whole(foreseen.tokens),
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
) -> Row:
    """One row of ``outcomes``. Sums are over ``calls``: what failed was paid for as well."""
    usage = usage_of(calls)
    return (
        _name(request_id),
        _real(at),
        status_of(answer, error),
        error.code if error else None,
        _maybe(error.param) if error else None,
        _note(error.message) if error and keeping.bodies else None,
        _maybe(answer.node) if answer else None,
        _name(answer.strategy) if answer else None,
        _maybe(answer.backend) if answer else _maybe(error.backend if error else None),
        _whole(answer.attempts) if answer else 0,
        _name(answer.draft.finish_reason) if answer else None,
        _real(latency_s),
        _real(overhead_s),
        _whole(usage.prompt_tokens),
        _whole(usage.completion_tokens),
        int(usage.estimated),
        _real(cost_usd_of(calls)),
        int(any(call.simulated for call in calls)),
        _answer_body(answer, keeping) if answer and keeping.bodies else None,
        *_quality(answer.verdict if answer else None, keeping),
    )


def _quality(verdict: Verdict | None, keeping: Keeping) -> Row:
    """Score, source and checks. What a check says may quote the answer, so that it goes where the answer goes."""
    if verdict is None:
        return (None, None, None)
    checks: list[Json] = []
    for check in verdict.checks[:MAX_CHECKS]:
        # Without bodies of a name only the kind is kept: the rest is a field of the client's.
        shown: dict[str, Json] = {"name": check.name if keeping.bodies else check.name.split()[0], "score": _real(check.score)}
        if check.detail and keeping.bodies:
            shown["detail"] = check.detail
        checks.append(shown)
    text = to_json(checks, limit=min(keeping.max_chars, MAX_CHECKS_CHARS), redact=False) if checks else None
    return (_real(verdict.score), _name(verdict.source), text)


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
    """At most MAX_CALLS rows of ``calls``, in order."""
    return [
        (
            _name(request_id),
            ordinal,
            _name(call.backend),
            _name(call.model),
            _real(call.started_at),
            _real(call.latency_s),
            None if call.first_token_s is None else _real(call.first_token_s),
            _whole(call.usage.prompt_tokens),
            _whole(call.usage.completion_tokens),
            int(call.usage.estimated),
            _real(call.cost_usd),
            _whole(call.attempt),
            _maybe(call.error),
            _note(call.detail) if call.detail and keeping.bodies else None,
            int(call.simulated),
            int(call.streamed),
        )
        for ordinal, call in enumerate(calls[:MAX_CALLS])
    ]


def event_rows(request_id: str, events: Sequence[Event], keeping: Keeping) -> list[Row]:
    """At most MAX_EVENTS + 1 rows of ``events``: the first and the last ones, with a note of how many are missing between.

    Deltas are left out: the answer holds their text.
    """
    kept = [event for event in events if event.kind != "delta"]
    if len(kept) > MAX_EVENTS:
        half, missing = MAX_EVENTS // 2, len(kept) - MAX_EVENTS
        gap = Event(kind="note", at=kept[half].at, data={"events_left_out": missing})
        kept = [*kept[:half], gap, *kept[-half:]]
    stored_id, limit = _name(request_id), min(keeping.max_chars, 2 * _MAX_NOTE)
    return [
        (stored_id, ordinal, _name(event.kind), _real(event.at), to_json(_event_data(event, keeping), limit=limit, redact=True))
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
