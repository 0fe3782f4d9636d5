"""The simulated server: OpenAI's protocol in front of answers.py, at the pace of a profile, with faults on demand.

Run by __main__.py as a child of the daemon, and by tests in process. Every reply says that it is simulated.
"""

from __future__ import annotations

import base64
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator
from random import Random
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.llm.simulated import delivery
from agents.llm.simulated.calls import CREATED, FINGERPRINT, Call, ChatBody, prepare, tokens
from agents.llm.simulated.delivery import MARK, error
from agents.llm.simulated.embeddings import MAX_TEXTS, embed
from agents.llm.simulated.faults import MAX_TIMES, Fault, Faults
from agents.llm.simulated.profiles import PROFILES, Profile

MAX_BODY_BYTES = 32 * 2**20
MAX_REMEMBERED = 10_000


class EmbeddingsBody(BaseModel):
    """What is read of an embeddings request."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str = "generator"
    input: str | Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)]
    encoding_format: str | None = None


class FaultsBody(BaseModel):
    """An order of faults for the next calls."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = None
    fault: str | int | None
    times: Annotated[int, Field(ge=1, le=MAX_TIMES)] = 1
    retry_after_s: Annotated[float, Field(ge=0, le=3600, strict=False)] = 1.0
    after_chunks: Annotated[int, Field(ge=1, le=10_000)] = 3
    delay_s: Annotated[float, Field(ge=0, le=60, strict=False)] = 0.5

    def ordered(self) -> Fault | None:
        """The fault that is ordered; None takes orders back."""
        if self.fault is None:
            return None
        return Fault(name=str(self.fault), retry_after_s=self.retry_after_s, after_chunks=self.after_chunks, delay_s=self.delay_s)


class _Pool:
    """What the server remembers: its orders of faults, how often each question came, and its counts."""

    def __init__(self, seed: int, speed: float) -> None:
        self.seed, self.speed = seed, max(0.0, speed)
        self.faults = Faults()
        self.calls: dict[str, int] = dict.fromkeys(PROFILES, 0)
        self.in_flight: dict[str, int] = dict.fromkeys(PROFILES, 0)
        self.most_in_flight: dict[str, int] = dict.fromkeys(PROFILES, 0)
        self._asked: OrderedDict[int, int] = OrderedDict()

    def enter(self, name: str) -> None:
        self.calls[name] += 1
        self.in_flight[name] += 1
        self.most_in_flight[name] = max(self.most_in_flight[name], self.in_flight[name])

    def leave(self, name: str) -> None:
        self.in_flight[name] -= 1

    def fails(self, call: Call, profile: Profile) -> bool:
        """Whether this call fails by itself. It depends on how often the question came, so that trying again helps."""
        nth = self._asked.pop(call.seed, 0) + 1
        self._asked[call.seed] = nth
        if len(self._asked) > MAX_REMEMBERED:
            self._asked.popitem(last=False)
        return Random(call.seed + nth).random() < profile.failure_rate


def create_app(*, seed: int, speed: float) -> FastAPI:
    """The server. ``speed`` multiplies latencies; 0 answers at once. The same seed answers the same."""
    app = FastAPI(title="Simulated LLM pool", docs_url=None, redoc_url=None, openapi_url=None)
    pool = _Pool(seed, speed)

    @app.exception_handler(ValidationError)
    async def invalid(_: Request, problem: ValidationError) -> Response:
        first = problem.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or None
        return error(400, f"{place or 'the body'}: {first['msg']}", param=place)

    @app.exception_handler(ValueError)
    async def refused(_: Request, problem: ValueError) -> Response:
        return error(400, str(problem)[:500])

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok", "kind": FINGERPRINT}, headers=MARK)

    @app.get("/v1/models")
    async def models() -> Response:
        data = [{"id": name, "object": "model", "created": CREATED, "owned_by": FINGERPRINT} for name in PROFILES]
        return JSONResponse({"object": "list", "data": data}, headers=MARK)

    @app.get("/sim/stats")
    async def stats() -> Response:
        return JSONResponse(
            {"calls": pool.calls, "in_flight": pool.in_flight, "most_in_flight": pool.most_in_flight}, headers=MARK
        )

    @app.get("/sim/faults")
    async def waiting() -> Response:
        return JSONResponse({"faults": pool.faults.pending()}, headers=MARK)

    @app.post("/sim/faults")
    async def order(request: Request) -> Response:
        body = FaultsBody.model_validate(await _json(request))
        pool.faults.order(body.model, body.ordered(), body.times)
        return JSONResponse({"faults": pool.faults.pending()}, headers=MARK)

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        return _embedded(EmbeddingsBody.model_validate(await _json(request)))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await _chat(pool, ChatBody.model_validate(await _json(request)), request)

    return app


async def _json(request: Request) -> Any:
    """The body as JSON. Raises ValueError when it is too large or no JSON object."""
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_BODY_BYTES:
            raise ValueError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as problem:
        raise ValueError(f"the body is not JSON: {problem}") from None
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    return value


async def _chat(pool: _Pool, body: ChatBody, request: Request) -> Response:
    name, fault = pool.faults.take(body.model, request.headers, {"metadata": body.metadata})
    profile = PROFILES.get(name)
    if profile is None:
        return error(404, f"The model '{name[:80]}' does not exist (simulated)", param="model", code="model_not_found")
    pool.enter(name)
    handed_over = False
    try:
        call = prepare(body, profile, fault, pool.seed)
        reply = await delivery.refused(call, request)
        if reply is not None:
            return reply
        if fault is None and pool.fails(call, profile):
            return error(500, "The server had an error while processing your request (simulated)")
        await delivery.pause(request, call.first_token_s * pool.speed)
        if not body.stream:
            return await delivery.whole(call, request, pool.speed)
        usage = bool((body.stream_options or {}).get("include_usage"))
        reply = delivery.streamed(call, pool.speed, with_usage=usage)
        if isinstance(reply, StreamingResponse):
            reply.body_iterator = _counted(pool, name, reply.body_iterator)
            handed_over = True
        return reply
    except delivery.SimulatedAbort:
        return error(499, "the client hung up")
    finally:
        if not handed_over:
            pool.leave(name)


async def _counted(pool: _Pool, name: str, pieces: Any) -> AsyncIterator[bytes]:
    """A stream that counts as a call in flight until its end, whatever that is."""
    try:
        async for piece in pieces:
            yield piece
    finally:
        pool.leave(name)


def _embedded(body: EmbeddingsBody) -> Response:
    texts = [body.input] if isinstance(body.input, str) else body.input
    vectors = [embed(text) for text in texts]
    packed = body.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
        for index, vector in enumerate(vectors)
    ]
    count = sum(tokens(text) for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    whole = {"object": "list", "data": data, "model": body.model, "usage": usage, "system_fingerprint": FINGERPRINT}
    return Response(orjson.dumps(whole), media_type="application/json", headers=MARK)


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
