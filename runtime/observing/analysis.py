"""The network's analysis of itself as JSON: how efficient it is, what is wrong and proposed, what is fine, what changes brought.

Called by the surfaces through front.py. Pure: ``cases`` are proposals as the controller shows them
(runtime/controlling/views.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.records import Json
from runtime.observing.observer import Look
from runtime.topology.introspect import Introspected
from runtime.topology.outlook import Outlook
from runtime.topology.propose import key_of
from runtime.topology.records import Draft, Prediction

MAX_ROWS: Final = 100
MAX_FINE: Final = 5
FINE_SHARE: Final = 0.02
FINE_QUALITY: Final = 0.85
OPEN: Final = frozenset({"proposed", "snoozed", "approved", "applying", "verifying", "rolling_back", "stuck"})
ENDED: Final = frozenset({"kept", "rolled_back", "rejected"})


def analysis(
    look: Look,
    *,
    history: Sequence[Look] = (),
    model: Introspected | None = None,
    trouble: str = "",
    cases: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Json]:
    """One look as a report. ``history``: the looks before it, the oldest first."""
    situation, window = look.situation, look.situation.window
    taken = {f"{case.get('kind')}:{case.get('subject')}" for case in cases}
    tables = {"nodes": window.nodes, "patterns": window.patterns, "arms": window.arms, "locales": window.locales}
    return {
        "at": look.at,
        "window": {"number": window.number, "requests": window.requests, "since": window.since, "until": window.until},
        "efficiency": {
            "score": look.efficiency.score,
            "parts": dict(look.efficiency.parts),
            "asks_for_changes": look.efficiency.asks_for_changes,
            "before": [{"at": each.at, "score": each.efficiency.score} for each in history][-20:],
        },
        "open": [dict(case) for case in cases if case.get("status") in OPEN],
        "wanted": [
            *(draft_view(draft) for draft in look.proposed.drafts if key_of(draft) not in taken),
            *({"key": key, "windows": had, "of": needs} for key, had, needs in look.proposed.waiting),
        ],
        "fine": fine(look),
        "changes": [dict(case) for case in cases if case.get("status") in ENDED],
        "model": model_view(model, trouble),
        "measures": {
            name: [{"name": row.name, **_called(look, row.name), **row.measures()} for row in table.rows(MAX_ROWS)]
            for name, table in tables.items()
        },
        "flooded": situation.flooded,
        "took_s": look.took_s,
        "simulated": situation.simulated,
    }


def fine(look: Look) -> list[dict[str, Json]]:
    """Busy patterns that are answered well and that nothing measured could answer better: they are to stay as they are."""
    situation = look.situation
    outlook, found = Outlook(situation), []
    for row in situation.window.patterns.rows(MAX_ROWS):
        good = row.judged > 0 and row.quality >= FINE_QUALITY and row.share >= FINE_SHARE
        if good and outlook.promise(row.name) is None:
            found.append({"pattern": row.name, **_called(look, row.name), **row.measures()})
    return found[:MAX_FINE]


def _called(look: Look, name: str) -> dict[str, Json]:
    seen = look.situation.patterns.get(name)
    return {} if seen is None else {"called": seen.name}


def draft_view(draft: Draft) -> dict[str, Json]:
    """A draft that the controller has not taken up (yet)."""
    return {
        "key": key_of(draft),
        "kind": str(draft.kind),
        "reason": draft.reason,
        "origin": draft.origin,
        "predictions": [prediction_view(each) for each in draft.predictions],
        "share": draft.share,
    }


def prediction_view(each: Prediction) -> dict[str, Json]:
    return {"metric": each.metric, "baseline": each.baseline, "expected": each.expected, "units": each.units}


def model_view(model: Introspected | None, trouble: str) -> dict[str, Json] | None:
    """What a model said of the network, each recommendation with what came of it."""
    if model is None:
        return {"trouble": trouble} if trouble else None
    heard = [
        {
            "action": each.action,
            "subject": each.subject,
            "reason": each.reason,
            "expected": each.expected,
            "result": each.result,
            "why": each.why,
        }
        for each in model.heard
    ]
    said: dict[str, Json] = {"summary": model.summary, "score": model.score, "recommendations": heard}
    return said | {"simulated": model.simulated} | ({"trouble": trouble} if trouble else {})
