"""OpenAI's surface: chat completions (whole and streamed), models, embeddings.

Mounted by app.py; sees the daemon only through ``Service``. The chat endpoint with an explicit backend is the hottest path of the
daemon: plain Starlette routes, one parse, one dump, no middleware that wraps bodies.
"""

from __future__ import annotations

import base64
import sys
import time
from array import array
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import AgentError, Event, InvalidRequest, Json, StreamBroken
from agents.shaping import ShapeLimits, check_schema, parse_shape, split_controls
from agents.strategy_specs import StrategySpec
from runtime.api.answers import ChunkWriter, answer_headers, completion, only_simulated, rate_limit_headers, sse_error
from runtime.api.auth import principal_of, request_id_of
from runtime.api.body import parse_json, read_body, unless_hung_up
from runtime.api.errors import ApiError, bad_request, from_agent_error
from runtime.api.library_use import library_use
from runtime.api.openai_models import (
    Chat,
    is_integer,
    read_chat,
    read_count,
    read_flag,
    read_inputs,
    read_model,
    read_seconds,
    read_tokens,
    read_usd,
)
from runtime.api.routing_wish import read_wish
from runtime.api.strategies import named_strategy, read_strategy
from runtime.api.streams import EventStream, close_stream
from runtime.api.wire import header_value, json_response, mark
from runtime.records import Answer, Request, Service, Target


class OpenAISurface:
    """The endpoints. ``clock`` gives epoch seconds."""

    def __init__(self, service: Service, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock

    async def chat(self, http: HttpRequest) -> Response:
        """POST /v1/chat/completions."""
        server = self._service.settings.server
        body = parse_json(await read_body(http, max_bytes=server.max_body_bytes), max_depth=server.max_json_depth)
        chat = read_chat(body)
        request = self._request(http, chat)
        if chat.stream:
            return await self._stream(http, chat, request)
        answer = await unless_hung_up(http.receive, self._service.run(request))
        return Response(
            completion(answer, model=chat.model, created=int(self._clock())),
            headers=answer_headers(answer, self._service),
            media_type="application/json",
        )

    async def models(self, http: HttpRequest) -> Response:
        """GET /v1/models: ``auto``, backends and their aliases, nodes, strategies."""
        return json_response({"object": "list", "data": self._models()})

    async def model(self, http: HttpRequest) -> Response:
        """GET /v1/models/{id}."""
        name = http.path_params["model"]
        self._service.resolve(name)
        found = next((model for model in self._models() if model["id"] == name), None)
        return json_response(found or self._model(name, "morphogen", {}))

    async def embeddings(self, http: HttpRequest) -> Response:
        """POST /v1/embeddings."""
        server = self._service.settings.server
        body = parse_json(await read_body(http, max_bytes=server.max_body_bytes), max_depth=server.max_json_depth)
        if not isinstance(body, dict):
            raise bad_request("The body must be a JSON object", param="body")
        name, texts = read_model(body), read_inputs(body.get("input"))
        form, size = body.get("encoding_format") or "float", body.get("dimensions")
        if form not in ("float", "base64"):
            raise bad_request("'encoding_format' must be float or base64", param="encoding_format")
        if size is not None and (not is_integer(size) or size < 1):
            raise bad_request("'dimensions' must be a whole number, 1 or more", param="dimensions")
        work = self._service.embed(texts, name, request_id=request_id_of(http), key_id=principal_of(http).key_id)
        vectors, usage, model = await unless_hung_up(http.receive, work)
        if size is not None and vectors and len(vectors[0]) != size:
            message = f"'{model}' gives vectors of {len(vectors[0])} dimensions; they cannot be shortened"
            raise bad_request(message, param="dimensions")
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if form == "base64" else vector}
            for index, vector in enumerate(vectors)
        ]
        tokens = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}
        simulated = any(status.spec.simulated for status in self._service.backends() if status.spec.name == model)
        headers = {"x-morphogen-request-id": request_id_of(http), "x-morphogen-backend": header_value(model)}
        headers |= mark(simulated=simulated)
        return json_response({"object": "list", "data": data, "model": model, "usage": tokens}, headers=headers)

    def _request(self, http: HttpRequest, chat: Chat) -> Request:
        """Our request of a chat body. Raises ApiError or InvalidRequest naming the field."""
        settings = self._service.settings.requests
        limits = ShapeLimits(max_depth=settings.max_shape_depth, max_fields=settings.max_shape_fields)
        target = self._service.resolve(chat.model)
        schema = chat.schema
        if schema is not None:
            check_schema(schema, limits, param="response_format")
        strategy: StrategySpec | None = None
        count: int | None = None
        deadline_s: float | None = None
        budget_usd: float | None = None
        budget_tokens: int | None = None
        cache: bool | None = None
        routing: dict[str, Json] = {}
        own = chat.morphogen
        if own:
            if "shape" in own:
                if schema is not None:
                    raise bad_request("Give 'morphogen.shape' or 'response_format', not both", param="morphogen.shape")
                schema = _parse_shape(own["shape"], limits)
            if "count" in own:
                count = read_count(own["count"], most=settings.max_count, param="morphogen.count")
                if schema is None:
                    raise bad_request("'morphogen.count' needs a shape or a response_format", param="morphogen.count")
            if "deadline_s" in own:
                deadline_s = read_seconds(own["deadline_s"], most=settings.max_deadline_s, param="morphogen.deadline_s")
            if "budget_usd" in own:
                budget_usd = read_usd(own["budget_usd"], param="morphogen.budget_usd")
            if "budget_tokens" in own:
                budget_tokens = read_tokens(own["budget_tokens"], param="morphogen.budget_tokens")
            if "cache" in own:
                cache = read_flag(own["cache"], param="morphogen.cache")
            if "routing" in own:
                routing = read_wish(own["routing"], param="morphogen.routing")
            if "strategy" in own:
                target, strategy = self._strategy(own["strategy"], target)
        return Request(
            request_id=request_id_of(http),
            source="openai",
            target=target,
            messages=chat.messages,
            params=chat.params,
            schema=schema,
            count=count,
            strategy=strategy,
            stream=chat.stream,
            deadline_s=deadline_s,
            budget_usd=budget_usd,
            budget_tokens=budget_tokens,
            routing=routing,
            key_id=principal_of(http).key_id,
            library=library_use(http, cache),
        )

    def _strategy(self, value: Json, target: Target) -> tuple[Target, StrategySpec | None]:
        """A strategy's name becomes the target; a strategy as JSON goes along with the target that the model named."""
        param = "morphogen.strategy"
        if not isinstance(value, str):
            return target, read_strategy(self._service, value, param=param)
        if target.kind != "auto":
            raise bad_request(
                "A strategy by name goes with model 'auto'; with another model send the strategy as JSON", param=param
            )
        return named_strategy(self._service, value, param=param), None

    async def _stream(self, http: HttpRequest, chat: Chat, request: Request) -> Response:
        """The first event is awaited before the headers, so that what fails early fails with its own status."""
        events = self._service.stream(request)
        try:
            first = await unless_hung_up(http.receive, _next(events))
        except BaseException:
            await close_stream(events)
            raise
        simulated = only_simulated(request.target, self._service)
        headers = {"x-morphogen-request-id": request.request_id, "cache-control": "no-cache", "x-accel-buffering": "no"}
        if isinstance(first, Answer):
            headers |= answer_headers(first, self._service)
        elif request.target.kind == "backend" and request.target.name is not None:
            headers |= rate_limit_headers(request.target.name, self._service)
        headers |= mark(simulated=simulated)
        writer = ChunkWriter(request_id=request.request_id, model=chat.model, created=int(self._clock()), simulated=simulated)
        chunks = _chunks(first, events, writer, chat.include_usage)
        return EventStream(chunks, events, headers, final=ChunkWriter.DONE)

    def _models(self) -> list[dict[str, Json]]:
        models = [self._model("auto", "morphogen", {"kind": "auto"})]
        for status in self._service.backends():
            spec = status.spec
            for name in (spec.name, *spec.aliases):
                about = {"kind": "backend", "backend": spec.name, "model": spec.model, "simulated": spec.simulated}
                models.append(self._model(name, spec.kind, about))
        models += [
            self._model(f"node/{node.spec.name}", "morphogen", {"kind": "node", "role": node.spec.role})
            for node in self._service.nodes()
        ]
        models += [self._model(f"strategy/{name}", "morphogen", {"kind": "strategy"}) for name in self._service.strategies()]
        return models

    def _model(self, name: str, owner: str, about: Mapping[str, Json]) -> dict[str, Json]:
        created = int(self._service.started_at)
        return {"id": name, "object": "model", "created": created, "owned_by": owner, "morphogen": about}


async def _chunks(
    first: Event | Answer, events: AsyncIterator[Event | Answer], writer: ChunkWriter, include_usage: bool
) -> AsyncIterator[bytes]:
    item: Event | Answer = first
    try:
        while not isinstance(item, Answer):
            yield writer.delta(item.data)
            item = await _next(events)
        for chunk in writer.finish(item, include_usage=include_usage):
            yield chunk
    except AgentError as error:
        yield sse_error(from_agent_error(error))
    except ApiError as error:
        yield sse_error(error.fault)


async def _next(events: AsyncIterator[Event | Answer]) -> Event | Answer:
    """The next delta, or the answer. Raises StreamBroken where the stream ends without one or takes back what it said."""
    async for item in events:
        if isinstance(item, Answer) or item.kind == "delta":
            return item
        if item.kind == "restart":
            raise StreamBroken("The answer began anew after a part of it had been sent")
    raise StreamBroken("The stream ended without an answer")


def _parse_shape(value: Json, limits: ShapeLimits) -> dict[str, Json]:
    try:
        shape, _ = split_controls(value)
        return parse_shape(shape, limits=limits)
    except InvalidRequest as error:
        raise bad_request(error.message, param="morphogen.shape") from None


def _base64(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's clients expect it."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
