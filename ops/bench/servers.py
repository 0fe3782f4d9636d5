"""The servers that the overhead is measured with: a fake upstream that takes 20 ms, and a bare pass-through to compare with.

Run as ``python -m ops.bench.servers upstream|bare --port N [--upstream URL] [--delay-ms 20]``.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

ANSWER = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 0,
    "model": "bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "pong"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def upstream(delay_ms: float) -> Any:
    """Plain ASGI: answers every POST with the same completion after ``delay_ms``."""
    body = JSONResponse(ANSWER).body

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(delay_ms / 1000)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def bare(url: str) -> FastAPI:
    """What one would write in ten lines: FastAPI in front, httpx behind."""
    app = FastAPI()
    client = httpx.AsyncClient(base_url=url, timeout=30.0, limits=httpx.Limits(max_connections=1000), trust_env=False)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        reply = await client.post("/chat/completions", json=await request.json())
        return JSONResponse(reply.json(), status_code=reply.status_code)

    return app


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("kind", choices=["upstream", "bare"])
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--upstream", default="")
    arguments.add_argument("--delay-ms", type=float, default=20.0)
    chosen = arguments.parse_args()
    app = upstream(chosen.delay_ms) if chosen.kind == "upstream" else bare(chosen.upstream)
    uvicorn.run(app, host="127.0.0.1", port=chosen.port, log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
