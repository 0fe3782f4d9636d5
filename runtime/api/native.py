"""The native surface: requests with all that Morphogen can do, answered at once, streamed, or later.

Mounted by app.py; sees the daemon only through ``Service``. What is done with a request once it has an id is in native_reads.py.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.calls import cost_usd_of
from agents.quality.constraints import parse_constraints
from agents.records import AgentError, Escalated, Event, InvalidRequest, Json
from agents.shaping import ShapeLimits, check_schema, parse_shape, split_controls
from agents.strategy_specs import StrategySpec
from agents.verdicts import Constraint
from runtime.api.answers import answer_headers, only_simulated
from runtime.api.auth import principal_of, request_id_of
from runtime.api.body import read_model, unless_hung_up
from runtime.api.errors import bad_request, fault_headers, from_agent_error, problem_body
from runtime.api.idempotency import claim_of
from runtime.api.library_use import library_use
from runtime.api.native_models import NativeRequest
from runtime.api.openai_models import read_count, read_messages, read_params, read_seconds
from runtime.api.strategies import named_strategy, read_strategy
from runtime.api.streams import EventStream, close_stream, sse
from runtime.api.wire import dumps, json_response, mark
from runtime.jobs.views import escalated_body, sync_body
from runtime.records import Answer, Request, Service, Target

OUTCOME = b"event: outcome"
"""How the last event of a stream that went well begins."""


class NativeSurface:
    """POST /v1/requests. ``clock`` gives epoch seconds."""

    def __init__(self, service: Service, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock

    async def create(self, http: HttpRequest) -> Response:
        """POST /v1/requests."""
        wanted = await read_model(http, NativeRequest, self._service.settings.server)
        request = self.request_of(http, wanted)
        if wanted.mode == "async":
            return await self._later(http, request)
        if wanted.mode == "stream":
            return await self._stream(http, request)
        try:
            answer = await unless_hung_up(http.receive, self._service.run(request))
        except Escalated as error:
            return _needs_person(request, error)
        return json_response(sync_body(answer), headers=answer_headers(answer, self._service))

    async def _later(self, http: HttpRequest, request: Request) -> Response:
        """202, once it is written; in one transaction with the reply that its idempotency key gives again."""
        claim = claim_of(http)
        headers = {
            "content-type": "application/json",
            "location": f"/v1/requests/{request.request_id}",
            "x-morphogen-request-id": request.request_id,
        }
        body = dumps(accepted_body(request.request_id))
        reply = None
        if claim is not None:
            now = self._clock()
            reply = claim.reply(request_id=request.request_id, status=202, headers=headers, body=body, at=now)
        await self._service.jobs.submit(
            request, deadline_s=request.deadline_s, caller=claim.caller if claim else None, reply=reply
        )
        if claim is not None:
            claim.settled = True
        return Response(body, status_code=202, headers=headers)

    # ── reading a request ───────────────────────────────────────────────────────────────────────────────────────────────

    def request_of(self, http: HttpRequest, wanted: NativeRequest) -> Request:
        """Our request of a body. Raises ApiError or InvalidRequest naming the field."""
        settings = self._service.settings
        limits = settings.requests
        later = wanted.mode == "async"
        most_s = settings.jobs.max_deadline_s if later else limits.max_deadline_s
        target, strategy = self._strategy(wanted, self._service.resolve(wanted.model))
        if later and target.name in self._service.settings.strategies and target.kind == "strategy":
            # As it stands now: what is accepted is finished, also where a reload changes or takes the name.
            strategy = read_strategy(self._service, target.name, param="strategy")
        schema = self._schema(wanted)
        if wanted.count is not None:
            read_count(wanted.count, most=limits.max_count, param="count")
            if schema is None:
                raise bad_request("'count' needs a shape or a schema", param="count")
        deadline_s = wanted.deadline_s
        return Request(
            request_id=request_id_of(http),
            source="native",
            target=target,
            messages=_messages(wanted),
            params=read_params(wanted.backend_params()),
            schema=schema,
            count=wanted.count,
            rules=tuple(wanted.rules),
            constraints=_constraints(wanted),
            quality=wanted.quality,
            importance=wanted.importance,
            # Defaults as well: a job's parts share the budget of the whole.
            budget_usd=settings.budget.usd_per_request if wanted.budget_usd is None else wanted.budget_usd,
            budget_tokens=settings.budget.tokens_per_request if wanted.budget_tokens is None else wanted.budget_tokens,
            strategy=strategy,
            backend=self._backend(wanted.backend),
            stream=wanted.mode == "stream" and schema is None,
            deadline_s=None if deadline_s is None else read_seconds(deadline_s, most=most_s, param="deadline_s"),
            key_id=principal_of(http).key_id,
            accept_partial=True,
            tell=wanted.mode != "sync",
            library=library_use(http, wanted.cache),
            routing=wanted.routing.given() if wanted.routing is not None else {},
        )

    def _strategy(self, wanted: NativeRequest, target: Target) -> tuple[Target, StrategySpec | None]:
        """A strategy's name becomes the target where there is no other; a strategy as JSON goes along with the target."""
        value = wanted.strategy
        if value is None:
            return target, None
        if isinstance(value, str) and target.kind == "auto":
            return named_strategy(self._service, value, param="strategy"), None
        return target, read_strategy(self._service, value, param="strategy")

    def _backend(self, name: str | None) -> str | None:
        if name is None:
            return None
        try:
            target = self._service.resolve(name)
        except InvalidRequest as error:
            raise type(error)(error.message, param="backend") from None
        if target.kind != "backend":
            raise bad_request("'backend' must name a backend; nodes and strategies go into 'model'", param="backend")
        return target.name

    def _schema(self, wanted: NativeRequest) -> dict[str, Json] | None:
        settings = self._service.settings.requests
        limits = ShapeLimits(max_depth=settings.max_shape_depth, max_fields=settings.max_shape_fields)
        if wanted.json_schema is not None:
            if wanted.shape is not None:
                raise bad_request("Give 'shape' or 'schema', not both", param="shape")
            check_schema(wanted.json_schema, limits, param="schema")
            return wanted.json_schema
        if wanted.shape is None:
            return None
        shape, _ = split_controls(wanted.shape, max_cache=settings.max_cache_variants)
        return parse_shape(shape, limits=limits)

    # ── streaming ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _stream(self, http: HttpRequest, request: Request) -> Response:
        """The first event is awaited before the headers, so that what fails early fails with its own status."""
        events = self._service.stream(request)
        try:
            first = await unless_hung_up(http.receive, anext(aiter(events)))
        except BaseException:
            await close_stream(events)
            raise
        headers = {"x-morphogen-request-id": request.request_id, "cache-control": "no-cache", "x-accel-buffering": "no"}
        simulated = first.simulated if isinstance(first, Answer) else only_simulated(request.target, self._service)
        headers |= mark(simulated=simulated)
        told = _told(request, first, events, simulated=simulated)
        return EventStream(told, events, headers, final=OUTCOME)


def accepted_body(request_id: str) -> dict[str, Json]:
    """What a client gets for a request that is accepted and not yet answered."""
    where = f"/v1/requests/{request_id}"
    return {"id": request_id, "status": "queued", "trace": where, "stream": f"{where}/stream"}


def _needs_person(request: Request, error: Escalated) -> Response:
    """202: no machine's answer is good enough, and a person will be asked; the answer will be where the request is."""
    where = f"/v1/requests/{request.request_id}"
    fault = from_agent_error(error)
    spent = {"usage": None, "cost_usd": cost_usd_of(error.calls), "simulated": fault.simulated}
    body = {**escalated_body(request.request_id, error), **spent}
    headers = {"location": where, "x-morphogen-request-id": request.request_id, **fault_headers(fault)}
    return json_response(body, status=202, headers=headers)


async def _told(
    request: Request, first: Event | Answer, events: AsyncIterator[Event | Answer], *, simulated: bool
) -> AsyncIterator[bytes]:
    """Events as they come; the answer, or what went wrong, last."""
    accepted: dict[str, Json] = {
        "id": request.request_id,
        "status": "running",
        "trace": f"/v1/requests/{request.request_id}",
    }
    yield sse("accepted", accepted | {"simulated": True} if simulated else accepted)
    item = first
    try:
        while not isinstance(item, Answer):
            yield sse(item.kind, item.data)
            item = await anext(events)
        yield sse("outcome", sync_body(item))
    except AgentError as error:
        fault = from_agent_error(error)
        yield sse("error", {**problem_body(fault), "id": request.request_id})
    except StopAsyncIteration:
        yield sse("error", {"id": request.request_id, "code": "internal_error", "detail": "it ended without an answer"})


def _messages(wanted: NativeRequest) -> tuple[dict[str, Json], ...]:
    if (wanted.prompt is None) == (wanted.messages is None):
        raise bad_request("Give 'prompt' or 'messages', and not both", param="prompt")
    if wanted.messages is not None:
        if wanted.system is not None:
            raise bad_request("'system' goes with 'prompt'; put it into 'messages'", param="system")
        return tuple(dict(message) for message in read_messages(wanted.messages))
    system = [{"role": "system", "content": wanted.system}] if wanted.system else []
    return (*system, {"role": "user", "content": wanted.prompt})


def _constraints(wanted: NativeRequest) -> tuple[Constraint, ...]:
    return () if wanted.constraints is None else parse_constraints(wanted.constraints)
