"""What a client is shown of an answer and of a job: one form for synchronous, streamed and later replies.

Called by tools.py (the reply that is kept) and by the native surface. Pure.
"""

from __future__ import annotations

from dataclasses import asdict

from agents.records import AgentError, Draft, Escalated, Json
from agents.verdicts import Verdict
from runtime.escalations import NEEDS_PERSON, pointer
from runtime.jobs.records import Job
from runtime.library.looked import Looked
from runtime.records import Answer

MAX_ISSUES = 50


def answer_body(draft: Draft) -> dict[str, Json]:
    """``{"text"}`` or ``{"data"}``, with what else the model said (tool calls, further choices)."""
    body: dict[str, Json] = {"data": draft.data} if draft.data is not None else {"text": draft.text}
    if draft.message and draft.message.get("tool_calls"):
        body["tool_calls"] = draft.message["tool_calls"]
    if draft.choices and len(draft.choices) > 1:
        body["choices"] = draft.choices
    return body


def verdict_body(verdict: Verdict | None) -> Json:
    """A verdict as JSON."""
    return None if verdict is None else asdict(verdict)


def library_view(looked: Looked | None) -> dict[str, Json] | None:
    """What a look-up in the library came to; None where it was not asked."""
    if looked is None:
        return None
    return {"result": looked.result, "tier": looked.tier, "steps": looked.steps, "similarity": looked.similarity}


def sync_body(answer: Answer) -> dict[str, Json]:
    """The body of a request that was answered on its own connection."""
    usage = answer.usage
    sums = _sums(usage.prompt_tokens, usage.completion_tokens, usage.estimated, answer.cost_usd, answer.simulated)
    return {**_head(answer.request_id, "done" if answer.draft.complete else "partial"), **_answered(answer), **sums}


def job_body(job: Job, *, answer: Answer | None, error: AgentError | None, frame: Json = None) -> dict[str, Json]:
    """The body of a job that is over, in the state that ``job`` has. Its sums hold all of its attempts.

    The items of a batch are not in it: they are read page by page from ``items``, or as lines from ``result``.
    """
    body = _head(job.request_id, job.state)
    if answer is not None:
        body |= _answered(answer)
    if isinstance(error, Escalated):
        body |= escalated_body(job.request_id, error)
    elif error is not None:
        body |= {"answer": None, "complete": False, "issues": [error.message]}
        body["error"] = {"code": error.code, "message": error.message, "param": error.param, "partial": error.partial}
    if job.total is not None:
        body |= {"answer": None, **progress_body(job)}
        if frame is not None:
            body["frame"] = frame
    sums = _sums(job.prompt_tokens, job.completion_tokens, job.estimated, job.cost_usd, job.simulated)
    return {**body, **sums, "latency_s": job.updated_at - job.at}


def escalated_body(request_id: str, error: Escalated) -> dict[str, Json]:
    """The body of a request that waits for a person."""
    return {
        **_head(request_id, NEEDS_PERSON),
        "answer": None,
        "complete": False,
        "issues": [error.message],
        "escalation": pointer(request_id),
        "error": {"code": error.code, "message": error.message, "param": error.param},
    }


def progress_body(job: Job) -> dict[str, Json]:
    """How far a job is, and where the items of a batch are read."""
    if job.total is None:
        return {"progress": {"done": int(job.state in ("done", "partial")), "total": 1}}
    where = f"/v1/requests/{job.request_id}"
    progress = {"done": job.done, "total": job.total}
    return {"progress": progress, "missing": job.total - job.done, "items": f"{where}/items", "result": f"{where}/result"}


def _head(request_id: str, status: str) -> dict[str, Json]:
    return {"id": request_id, "status": status, "trace": f"/v1/requests/{request_id}"}


def _answered(answer: Answer) -> dict[str, Json]:
    draft = answer.draft
    return {
        "answer": answer_body(draft),
        "complete": draft.complete,
        "issues": list(draft.issues[:MAX_ISSUES]),
        "finish_reason": draft.finish_reason,
        "verdict": verdict_body(answer.verdict),
        "node": answer.node,
        "strategy": answer.strategy,
        "backend": answer.backend,
        "attempts": answer.attempts,
        "latency_s": answer.latency_s,
        "library": library_view(answer.library),
    }


def _sums(prompt: int, completion: int, estimated: bool, cost_usd: float, simulated: bool) -> dict[str, Json]:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "estimated": estimated,
    }
    return {"usage": usage, "cost_usd": cost_usd, "simulated": simulated}
