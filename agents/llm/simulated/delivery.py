"""How an answer leaves the simulated server: whole or streamed, at its model's pace, or failing as backends fail.

Called by app.py. Everything that is sent says that it is simulated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import orjson
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from agents.llm.simulated.calls import Call, Said, tokens
from agents.llm.simulated.faults import HANG_S
from agents.records import Json

MARK = {"x-morphogen-simulated": "true"}
CHUNK_CHARS = 24
DRIP_PIECES = 20
_LOOK_S = 0.5
"""How often a long wait looks whether somebody is still there."""


class SimulatedAbort(Exception):
    """Ends a reply without its end, as a crashed backend does. The server's log is told to leave it out."""


def error(
    status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: float | None = None
) -> Response:
    """An error in OpenAI's form."""
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    headers = {**MARK, **({"retry-after": f"{retry_after_s:g}"} if retry_after_s is not None else {})}
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


async def pause(request: Request, seconds: float) -> None:
    """Wait, but not for a client that has hung up: raises SimulatedAbort then."""
    while seconds > _LOOK_S:
        await asyncio.sleep(_LOOK_S)
        seconds -= _LOOK_S
        if await request.is_disconnected():
            raise SimulatedAbort
    await asyncio.sleep(max(0.0, seconds))


async def refused(call: Call, request: Request) -> Response | None:
    """The faults that come instead of an answer."""
    fault = call.fault
    if fault is None:
        return None
    if fault.name == "hang":
        await pause(request, HANG_S)
    if fault.name == "429":
        return error(429, "Rate limit reached (simulated)", code="rate_limit_exceeded", retry_after_s=fault.retry_after_s)
    if fault.name in ("500", "hang"):
        return error(500, "The server had an error while processing your request (simulated)")
    if fault.name == "html":
        page = "<!doctype html><html><body><h1>502 Bad Gateway</h1><p>simulated</p></body></html>"
        return Response(page, media_type="text/html", headers=MARK)
    return None


async def whole(call: Call, request: Request, speed: float) -> Response:
    """The answer as one JSON body, after the time that it takes."""
    await pause(request, call.usage["completion_tokens"] / call.tokens_per_s * speed)
    choices = [_choice(index, one) for index, one in enumerate(call.said)]
    body = orjson.dumps({**call.head("chat.completion"), "choices": choices, "usage": call.usage})
    fault = call.fault.name if call.fault else ""
    if fault == "error_in_stream":
        return error(500, "The server had an error (simulated)")
    if fault == "wrong_length":
        headers = {**MARK, "content-length": str(len(body) + 100)}
        return StreamingResponse(_broken_off(body), media_type="application/json", headers=headers)
    if fault == "broken_stream":
        return StreamingResponse(_broken_off(body[: len(body) // 2]), media_type="application/json", headers=MARK)
    if call.fault is not None and fault == "drip":
        return StreamingResponse(_dripping(body, call.fault.delay_s), media_type="application/json", headers=MARK)
    if not call.structured:
        body = _spoiled(body, fault)
    return Response(body, media_type="application/json", headers=MARK)


def _spoiled(body: bytes, fault: str) -> bytes:
    """Faults of the protocol, where the answer itself holds no JSON that could be spoiled."""
    if fault == "truncated_json":
        return body[: len(body) // 2]
    if fault == "invalid_json":
        return body.replace(b'":', b'" =')
    return b'{"result": [1, 2]}' if fault == "wrong_schema" else body


def _choice(index: int, said: Said) -> dict[str, Json]:
    message: dict[str, Json] = {"role": "assistant", "content": said.text, "refusal": None}
    if said.tool_calls:
        message |= {"content": None, "tool_calls": list(said.tool_calls)}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": said.finish_reason}


async def _broken_off(body: bytes) -> AsyncIterator[bytes]:
    yield body
    await asyncio.sleep(0)
    raise SimulatedAbort


async def _dripping(body: bytes, delay_s: float) -> AsyncIterator[bytes]:
    size = max(1, len(body) // DRIP_PIECES)
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(delay_s)


def streamed(call: Call, speed: float, *, with_usage: bool) -> Response:
    """The answer as server-sent events."""
    return StreamingResponse(_events(call, speed, with_usage), media_type="text/event-stream", headers=MARK)


async def _events(call: Call, speed: float, with_usage: bool) -> AsyncIterator[bytes]:
    head = call.head("chat.completion.chunk")
    fault = call.fault.name if call.fault else ""
    sent = 0
    for index, said in enumerate(call.said):
        yield _event(head, index, _opening(said))
        for start in range(0, len(said.text), CHUNK_CHARS):
            piece = said.text[start : start + CHUNK_CHARS]
            yield _event(head, index, {"content": piece})
            sent += 1
            if call.fault is not None and sent >= call.fault.after_chunks:
                async for last in _midway(fault, call.structured):
                    yield last
                if fault == "error_in_stream" or (fault == "truncated_json" and not call.structured):
                    return
            slow = call.fault.delay_s if call.fault is not None and fault == "drip" else 0.0
            await asyncio.sleep(slow or tokens(piece) / call.tokens_per_s * speed)
        if fault in ("broken_stream", "wrong_length"):
            raise SimulatedAbort  # a short answer breaks as well
        if fault == "error_in_stream":
            async for last in _midway(fault, call.structured):
                yield last
            return
        yield _event(head, index, {}, said.finish_reason)
    if with_usage:
        yield b"data: " + orjson.dumps({**head, "choices": [], "usage": call.usage}) + b"\n\n"
    yield b"data: [DONE]\n\n"


async def _midway(fault: str, structured: bool) -> AsyncIterator[bytes]:
    """What goes wrong once some of a stream is out."""
    if fault in ("broken_stream", "wrong_length"):
        await asyncio.sleep(0.01)  # what was sent shall arrive first
        raise SimulatedAbort
    if fault == "error_in_stream":
        problem = {
            "error": {"message": "The server had an error (simulated)", "type": "server_error", "param": None, "code": None}
        }
        yield b"data: " + orjson.dumps(problem) + b"\n\n"
    if fault in ("truncated_json", "invalid_json", "wrong_schema") and not structured:
        yield (
            b'data: {"id": "chatcmpl-sim", "choices": [{"delta"\n\n'
            if fault != "wrong_schema"
            else b'data: {"result": [1, 2]}\n\n'
        )


def _opening(said: Said) -> dict[str, Json]:
    if said.tool_calls:
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"index": n, **call} for n, call in enumerate(said.tool_calls)],
        }
    return {"role": "assistant", "content": ""}


def _event(head: Mapping[str, Json], index: int, delta: Mapping[str, Json], finish_reason: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"
