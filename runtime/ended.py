"""What is told of a request that is over: to the metrics, and to the board of events.

Called by dispatch.py for those that a client waits for, and by jobs/tools.py for asynchronous ones, each once a request.
"""

from __future__ import annotations

from agents.records import AgentError
from runtime.events import EventBoard
from runtime.metrics import Metrics
from runtime.records import Answer, Request


def tell_end(
    request: Request,
    *,
    answer: Answer | None,
    error: AgentError | None,
    metrics: Metrics,
    board: EventBoard | None,
    node: str | None,
    strategy: str,
    latency_s: float,
    overhead_s: float,
    cost_usd: float,
    simulated: bool,
) -> None:
    """Count ``request`` and tell it: measures and names, none of its words."""
    status = error.code if error else "ok" if answer and answer.draft.complete else "partial"
    metrics.request_finished(
        source=request.source,
        target_kind=request.target.kind,
        strategy=strategy,
        status=status,
        latency_s=latency_s,
        overhead_s=overhead_s,
        simulated=simulated,
        verdict=answer.verdict if answer else None,
    )
    if board is None:
        return
    data = {
        "id": request.request_id,
        "status": status,
        "node": node,
        "strategy": strategy if node or answer else None,
        "backend": answer.backend if answer else None,
        "latency_s": latency_s,
        "cost_usd": cost_usd,
        "quality": answer.verdict.score if answer and answer.verdict else None,
        "simulated": simulated,
    }
    board.publish("request", data)
