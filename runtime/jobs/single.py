"""One asynchronous request that is no batch: attempts until it is answered, given up, or out of time and money.

Called by runner.py.
"""

from __future__ import annotations

from dataclasses import replace

from agents.records import AgentError, BudgetExceeded
from runtime.jobs.plan import Again
from runtime.jobs.records import Job
from runtime.jobs.tools import Patience, Tools, attempt
from runtime.records import Request


async def run_single(tools: Tools, job: Job, request: Request) -> None:
    """Work on ``job`` to its outcome. What earlier attempts took counts against its budget."""
    patience = Patience(tools=tools, deadline_at=job.deadline_at)
    usd, tokens = job.cost_usd, job.prompt_tokens + job.completion_tokens
    while True:
        if (over := _over_budget(request, usd, tokens)) is not None:
            await tools.finish(job, request, error=over)
            return
        left = replace(
            request,
            deadline_s=max(0.001, patience.left_s()),
            budget_usd=None if request.budget_usd is None else request.budget_usd - usd,
            budget_tokens=None if request.budget_tokens is None else request.budget_tokens - tokens,
        )
        got = await attempt(tools, left, tell=True)
        if got.answer is not None:
            await tools.finish(job, request, answer=got.answer, spent=got.spent)
            return
        error = got.error or AgentError("the work ended without an answer")
        what = patience.after(error)
        if not isinstance(what, Again):
            await tools.finish(job, request, error=error, spent=got.spent)
            return
        usd, tokens = usd + got.cost_usd, tokens + got.tokens
        tools.ledger.spend(job.request_id, got.spent.calls, got.spent.events)
        tools.ledger.tell(job.request_id, "retry", {"error": error.code, "pause_s": what.pause_s}, at=tools.wall())
        await tools.sleep(what.pause_s)


def _over_budget(request: Request, usd: float, tokens: int) -> BudgetExceeded | None:
    if request.budget_usd is not None and usd > 0 and usd >= request.budget_usd:
        return BudgetExceeded(f"earlier attempts spent {usd:.6g} of {request.budget_usd:g} USD", param="budget_usd")
    if request.budget_tokens is not None and tokens >= request.budget_tokens:
        return BudgetExceeded(f"earlier attempts took {tokens} of {request.budget_tokens} tokens", param="budget_tokens")
    return None
