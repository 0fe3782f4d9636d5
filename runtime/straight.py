"""Straight to a backend: the client named one and wants one plain call, so that there is no node and no hop.

Called by dispatch.py. The pool bounds, retries and books the call; what it took is laid into the open request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from agents.llm.chat import ChatRequest
from agents.llm.pool import Pool
from agents.records import Choice, Draft, Event
from runtime.open_request import OpenRequest, delta_of, in_time

MAX_KEPT_CHARS = 2**20
"""Of a streamed answer, so much is kept for the ledger."""


async def straight(
    run: OpenRequest,
    pool: Pool,
    choice: Choice,
    *,
    assumed_tokens: int | None,
    left_s: Callable[[], float],
    wall: Callable[[], float],
) -> AsyncGenerator[Event | Draft, None]:
    """Deltas where the request streams, the Draft last. Raises what the pool raises, DeadlineExceeded."""
    request = run.request
    ask = ChatRequest(messages=request.messages, params=request.params)
    if not request.stream:
        reply = await pool.chat(
            ask,
            choice,
            deadline_s=run.deadline_s,
            holder=run.work_id,
            on_call=run.calls.append,
            assumed_tokens=assumed_tokens,
        )
        yield Draft(
            text=reply.text, finish_reason=reply.finish_reason, message=reply.message or None, choices=reply.choices or None
        )
        return
    text: list[str] = []
    kept, finish = 0, "stop"
    chunks = pool.stream(
        ask,
        choice,
        deadline_s=run.deadline_s,
        holder=run.work_id,
        on_call=run.calls.append,
        may_restart=False,
        assumed_tokens=assumed_tokens,
    )
    async with aclosing(in_time(chunks, left_s)) as chunks:
        async for chunk in chunks:
            finish = chunk.finish_reason or finish
            if kept < MAX_KEPT_CHARS and chunk.index == 0:
                text.append(chunk.text)
                kept += len(chunk.text)
            if (data := delta_of(chunk)) is not None:
                yield Event(kind="delta", at=wall(), data=data)
    yield Draft(text="".join(text), finish_reason=finish)
