"""The operator's queue of questions: list, show, answer, close.

Mounted by app.py; sees the daemon only through ``Service``. All of it needs the operator key, because it shows what clients said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.quality.constraints import to_json
from agents.records import Json, NotFound
from runtime.api.auth import require_operator
from runtime.api.body import read_model
from runtime.api.errors import ApiError, Fault, bad_request
from runtime.api.query import choice, whole_number
from runtime.api.routes import Endpoint, RouteSpec, in_path, in_query
from runtime.api.wire import json_response, mark
from runtime.escalations import STATES, Escalation, problems_with
from runtime.jobs import wire
from runtime.records import Service

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
_MAX_ID_CHARS: Final = 160
_SHOWN_WORDS: Final = 300
_ERRORS = (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)


class NewAnswer(BaseModel):
    """The body of POST /v1/escalations/{id}/answer."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    data: Any = None
    """The answer, where the request asks for data."""
    text: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The answer, where it asks for words."""
    comment: Annotated[str, StringConstraints(max_length=2000)] = ""
    """For the record."""
    force: bool = False
    """Take it although it does not keep to the request's form or constraints."""


class NewEnd(BaseModel):
    """The body of POST /v1/escalations/{id}/close."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    comment: Annotated[str, Field(max_length=2000)] = ""
    """Why it is not answered."""


class EscalationSurface:
    """The endpoints under /v1/escalations."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, http: HttpRequest) -> Response:
        """GET /v1/escalations?state=&limit=: the newest first."""
        require_operator(http)
        wanted = choice(http, "state", STATES)
        limit = whole_number(http, "limit", low=1, high=MAX_LIMIT, default=DEFAULT_LIMIT)
        found = await self._service.escalations.list(state=wanted, limit=limit)
        return json_response({"data": [_view(one) for one in found]})

    async def show(self, http: HttpRequest) -> Response:
        """GET /v1/escalations/{id}: the whole request, what the machines made of it, and why that is not enough."""
        one = await self._found(http)
        trace = await self._service.trace(one.request_id)
        outcome = trace["outcome"] if trace else None
        simulated = bool(outcome and outcome["simulated"])
        # As a client would write them, so that the question can be asked again.
        constraints = to_json(wire.decode(one.request).constraints)
        asked = {**orjson.loads(one.request), "constraints": constraints}
        body = {**_view(one), "request": asked, "partial": one.partial, "answer": one.answer}
        return json_response({**body, "simulated": simulated}, headers=mark(simulated=simulated))

    async def answer(self, http: HttpRequest) -> Response:
        """POST /v1/escalations/{id}/answer ``{"data" | "text", "comment", "force"}``: it becomes the request's answer."""
        require_operator(http)
        given = await read_model(http, NewAnswer, self._service.settings.server)
        one = await self._found(http)
        if (given.data is None) == (given.text is None):
            raise bad_request("Give 'data' or 'text', and not both", param="data")
        request = wire.decode(one.request)
        check = partial(
            problems_with,
            given.data,
            given.text,
            schema=request.schema,
            count=request.count,
            constraints=request.constraints,
        )
        problems = () if given.force else await asyncio.to_thread(check)
        if problems:
            message = f"It does not keep to the request (force takes it all the same): {'; '.join(problems)}"
            raise bad_request(message, param="data" if given.text is None else "text")
        answer: Json = {"data": given.data} if given.text is None else {"text": given.text}
        if not await self._service.escalations.answer(one.escalation_id, answer, given.comment):
            raise _not_open(one)
        return await self._again(one)

    async def close(self, http: HttpRequest) -> Response:
        """POST /v1/escalations/{id}/close ``{"comment"}``: no answer will come; the request stays without one."""
        require_operator(http)
        given = await read_model(http, NewEnd, self._service.settings.server)
        one = await self._found(http)
        if not await self._service.escalations.close(one.escalation_id, given.comment):
            raise _not_open(one)
        return await self._again(one)

    async def _again(self, one: Escalation) -> Response:
        return json_response(_view(await self._service.escalations.find(one.escalation_id) or one))

    async def _found(self, http: HttpRequest) -> Escalation:
        require_operator(http)
        name = http.path_params["escalation_id"]
        found = await self._service.escalations.find(name) if len(name) <= _MAX_ID_CHARS else None
        if found is None:
            raise NotFound(f"There is no escalation {name[:_MAX_ID_CHARS]!r}", param="id")
        return found


def escalation_routes(surface: EscalationSurface) -> Sequence[RouteSpec]:
    """Everything under /v1/escalations."""
    one = "/v1/escalations/{escalation_id}"
    path = (in_path("escalation_id"),)
    listed = (
        in_query("state", {"type": "string", "enum": list(STATES)}),
        in_query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
    )
    rows: list[tuple[str, str, Endpoint, str, dict[str, Any]]] = [
        ("GET", "/v1/escalations", surface.list, "Questions to a person", {"parameters": listed}),
        ("GET", one, surface.show, "One question, with the request and what was made of it", {"parameters": path}),
        (
            "POST",
            f"{one}/answer",
            surface.answer,
            "Answer the request in the machines' place",
            {"parameters": path, "body": NewAnswer.model_json_schema()},
        ),
        (
            "POST",
            f"{one}/close",
            surface.close,
            "End the question without an answer",
            {"parameters": path, "body": NewEnd.model_json_schema()},
        ),
    ]
    return [
        RouteSpec(path=path, methods=(method,), endpoint=endpoint, summary=summary, tag="operator", errors=_ERRORS, **more)
        for method, path, endpoint, summary, more in rows
    ]


def _view(one: Escalation) -> dict[str, Json]:
    request = orjson.loads(one.request)
    words = [message.get("content") for message in request.get("messages", ()) if message.get("role") == "user"]
    asked = str(words[-1]) if words else ""
    return {
        "id": one.escalation_id,
        "request_id": one.request_id,
        "state": one.state,
        "at": one.at,
        "reason": one.reason,
        "asked": asked if len(asked) <= _SHOWN_WORDS else asked[: _SHOWN_WORDS - 1] + "…",
        "comment": one.comment,
        "ended_at": one.ended_at,
        "trace": f"/v1/requests/{one.request_id}",
    }


def _not_open(one: Escalation) -> ApiError:
    message = f"This escalation is not open any more (it is {one.state})"
    return ApiError(Fault(status=409, type="invalid_request_error", code="not_open", message=message, param="id"))
