"""What the control loop reads of the ledger: outcomes as columns, checks inside strategies, answers of two nodes; and what the
rules remember, which it writes as well.

Called by runtime/observing/observer.py, in pieces, so that neither the reader nor the event loop is held for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiosqlite

from runtime.ledger.batch import WritingConnection, look_away
from runtime.ledger.records import LedgerUnavailable
from runtime.ledger.samples import PatternsOf
from runtime.ledger.store import Ledger
from runtime.topology.claims import Claims, Group
from runtime.topology.outcomes import MAX_OUTCOMES, NOT_HEARD, OWN_FAULTS, Outcomes, outcomes_of
from runtime.topology.situation import Check

PIECE: Final = 2_000
MAX_ANSWERS: Final = 40
_MEMORY: Final = "observe.memory"
_NOT_HEARD: Final = ", ".join(f"'{code}'" for code in sorted(NOT_HEARD))
# What a person said counts before what the router heard of judges and checks, and that before the checks alone.
_SCORE: Final = """coalesce((SELECT avg(f.score) FROM feedback f WHERE f.request_id = o.request_id),
        (SELECT avg(d.score) FROM decisions d WHERE d.request_id = o.request_id),
        CASE WHEN o.quality_source <> 'none' THEN o.quality_score END)"""
# The daemon's own questions are no traffic.
_OUTCOMES: Final = f"""
SELECT o.rowid AS key, o.request_id, o.at, o.status, o.error_code, o.node, o.strategy, o.backend, o.latency_s, o.cost_usd,
o.simulated, {_SCORE} AS score
FROM outcomes o
WHERE o.rowid > ? AND o.status <> 'cancelled' AND coalesce(o.error_code, '') NOT IN ({_NOT_HEARD})
    AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.request_id = o.request_id AND r.source NOT IN ('openai', 'mock', 'native'))
ORDER BY o.rowid LIMIT ?
"""
_FIRST: Final = """
SELECT coalesce((SELECT min(rowid) FROM (SELECT rowid, at FROM outcomes ORDER BY rowid DESC LIMIT :most) WHERE at >= :since),
    (SELECT max(rowid) + 1 FROM outcomes), 1) AS first
"""
# The first check of a strategy says whether it is worth having: later ones follow from it. What it took is the time since the
# first call of the request ended; without stored bodies nothing says what was found.
_CHECKS: Final = """
SELECT o.node, CASE json_extract(e.data, '$.name') WHEN 'validate' THEN 'validation' ELSE 'self_healing' END AS kind,
    count(*) AS runs, sum(json_array_length(e.data, '$.issues') > 0) AS found,
    avg(max(0.0, e.at - coalesce((SELECT min(c.started_at + c.latency_s) FROM calls c WHERE c.request_id = e.request_id), e.at)))
        AS seconds
FROM outcomes o JOIN events e ON e.request_id = o.request_id
WHERE o.rowid > ? AND o.node IS NOT NULL AND e.kind = 'stage' AND json_extract(e.data, '$.attempt') = 0
    AND json_extract(e.data, '$.name') IN ('validate', 'detect') AND json_type(e.data, '$.issues') = 'array'
GROUP BY 1, 2 LIMIT 1000
"""
# Of each part of a strategy, whether the answer was another one by it, as the strategy said at its end.
_PARTS: Final = """
SELECT o.node, part.key AS kind, count(*) AS runs, sum(part.value) AS found, 0.0 AS seconds
FROM outcomes o JOIN events e ON e.request_id = o.request_id, json_each(e.data, '$.useful') part
WHERE o.rowid > ? AND o.node IS NOT NULL AND o.status = 'ok' AND e.kind = 'stage' AND part.type IN ('true', 'false')
GROUP BY 1, 2 LIMIT 1000
"""
MAX_CLAIMS: Final = 20_000
_CLAIMS: Final = f"""
SELECT node, held, count(*) AS count, sum(answered) AS answered, count(score) AS judged, total(score) AS scores,
    total(score * score) AS squares, coalesce(avg(cost_usd), 0.0) AS cost_usd, coalesce(avg(latency_s), 0.0) AS latency_s
FROM (SELECT c.node, c.held, o.status IN ('ok', 'partial') AS answered, o.cost_usd, o.latency_s, {_SCORE} AS score
    FROM (SELECT * FROM claims WHERE at >= ? ORDER BY at DESC LIMIT {MAX_CLAIMS}) c JOIN outcomes o USING (request_id)
    WHERE o.status <> 'cancelled' AND coalesce(o.error_code, '') NOT IN ({_NOT_HEARD}))
GROUP BY 1, 2
"""
_ANSWERS: Final = """
SELECT request_id, json_extract(body, '$.text') AS text FROM outcomes
WHERE node = ? AND rowid > ? AND status = 'ok' AND body IS NOT NULL ORDER BY rowid DESC LIMIT ?
"""


class ObservingLedger:
    """``patterns_of`` says which pattern a request was found to be of; ``locale_of`` gives the locale of a node by name."""

    def __init__(self, ledger: Ledger, *, patterns_of: PatternsOf = lambda ids: {}) -> None:
        self._ledger, self.patterns_of = ledger, patterns_of

    async def first(self, *, since: float, most: int = MAX_OUTCOMES) -> int:
        """The key before the outcomes since Unix time ``since``, of which at most about ``most`` are looked at."""
        rows = await self._rows(_FIRST, {"since": since, "most": most})
        return max(0, int(rows[0]["first"]) - 1)

    async def after(self, key: int, *, locale_of: Mapping[str, str], limit: int = PIECE) -> tuple[list[int], Outcomes]:
        """The next outcomes after ``key`` in the order of writing: their keys and their columns."""
        rows = await self._rows(_OUTCOMES, (key, max(1, min(limit, PIECE))))
        patterns = self.patterns_of([row["request_id"] for row in rows])
        outcomes = outcomes_of(
            at=[row["at"] for row in rows],
            ok=[row["status"] in ("ok", "partial") for row in rows],
            fault=[row["error_code"] in OWN_FAULTS for row in rows],
            score=[row["score"] for row in rows],
            latency_s=[row["latency_s"] for row in rows],
            cost_usd=[row["cost_usd"] for row in rows],
            simulated=[bool(row["simulated"]) for row in rows],
            labels={
                "node": [row["node"] for row in rows],
                "pattern": [patterns.get(row["request_id"]) for row in rows],
                "strategy": [row["strategy"] for row in rows],
                "backend": [row["backend"] for row in rows],
                "locale": [locale_of.get(row["node"] or "") for row in rows],
            },
        )
        return [row["key"] for row in rows], outcomes

    async def checks(self, after: int) -> list[Check]:
        """Checks and other parts inside strategies, of the outcomes after key ``after``."""
        return [
            Check(
                node=row["node"],
                kind=row["kind"],
                runs=int(row["runs"]),
                found=int(row["found"] or 0),
                seconds=float(row["seconds"] or 0.0),
            )
            for row in (*await self._rows(_CHECKS, (after,)), *await self._rows(_PARTS, (after,)))
        ]

    def claim(self, request_id: str, node: str, *, at: float, held: bool) -> None:
        """Note that the specialist ``node`` could take a request, and whether it was held out. Nobody waits for it."""

        def write(connection: WritingConnection) -> None:
            connection.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", (request_id, at, node, held))

        self._ledger.act(write).add_done_callback(look_away)

    async def claims(self, since: float) -> dict[str, Claims]:
        """What became of the newest claims since Unix time ``since``, by the specialist, where there are any of both sorts."""
        found: dict[str, dict[int, Group]] = {}
        for row in await self._rows(_CLAIMS, (since,)):
            node, held = row.pop("node"), row.pop("held")
            found.setdefault(node, {})[held] = Group(**row)
        return {node: Claims(taken=both[0], held=both[1]) for node, both in found.items() if len(both) == 2}

    async def answers(self, node: str, after: int) -> list[tuple[str, str]]:
        """(pattern, answer) of the newest answers of a node after key ``after``; none where bodies are not kept."""
        rows = await self._rows(_ANSWERS, (node, after, MAX_ANSWERS))
        patterns = self.patterns_of([row["request_id"] for row in rows])
        return [(patterns.get(row["request_id"], ""), row["text"]) for row in rows if isinstance(row["text"], str)]

    async def memory(self) -> str:
        """What the rules remembered last; empty where they never did."""
        rows = await self._rows("SELECT value FROM meta WHERE name = ?", (_MEMORY,))
        return str(rows[0]["value"]) if rows else ""

    async def remember(self, text: str) -> None:
        """Keep it in place of what was there. Raises LedgerError."""

        def keep(connection: WritingConnection) -> None:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_MEMORY, text))

        await self._ledger.act(keep, weight=len(text))

    async def _rows(self, sql: str, given: Any) -> list[dict[str, Any]]:
        try:
            return [dict(row) for row in await self._ledger.reader.execute_fetchall(sql, given)]
        except (aiosqlite.Error, ValueError) as error:  # ValueError: the connection is closed
            raise LedgerUnavailable(f"the ledger cannot be read: {error}") from error
