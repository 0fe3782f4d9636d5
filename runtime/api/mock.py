"""The mock API, compatible with LLMockApi: any method on /api/mock/{path}, answered in the shape that the caller asked for.

Mounted by app.py; sees the daemon only through ``Service``. What is asked is read by mock_shape.py; mock_cache.py keeps variants.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.llm.prompts import render
from agents.records import InvalidRequest, Json, RequestId
from runtime.api.answers import answer_headers
from runtime.api.auth import new_request_id, principal_of, request_id_of
from runtime.api.body import read_body, unless_hung_up
from runtime.api.errors import bad_request
from runtime.api.mock_body import read_fields
from runtime.api.mock_cache import VariantCache
from runtime.api.mock_shape import Plan, read_plan
from runtime.api.wire import dumps, header_value
from runtime.records import Answer, Request, Service, Target

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_CONTROL_QUERIES = frozenset({"shape", "count", "backend"})
_MAX_PATH_CHARS = 500
_MAX_QUERY_CHARS = 2000
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class MockAnswer:
    """A body and the headers that tell how it came about."""

    body: bytes
    headers: dict[str, str]

    @property
    def size_bytes(self) -> int:
        return len(self.body) + 512


class MockSurface:
    """The endpoint. ``variation`` gives a short text that differs from ask to ask."""

    def __init__(self, service: Service, *, variation: Callable[[], str] = lambda: secrets.token_hex(4)) -> None:
        self._service = service
        self._variation = variation
        self.cache: VariantCache[MockAnswer] = VariantCache()

    async def aclose(self) -> None:
        await self.cache.aclose()

    async def handle(self, http: HttpRequest) -> Response:
        """Any method on /api/mock/{path}."""
        if http.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": ", ".join(METHODS)})
        path = http.path_params.get("path", "")
        server = self._service.settings.server
        raw = await read_body(http, max_bytes=server.max_body_bytes)
        body = read_fields(raw, http.headers.get("content-type", ""), max_depth=server.max_json_depth)
        plan = read_plan(
            path,
            body=body,
            query_shape=http.query_params.get("shape"),
            header_shape=http.headers.get("x-response-shape"),
            query_count=http.query_params.get("count"),
            requests=self._service.settings.requests,
            max_json_depth=server.max_json_depth,
        )
        target, backend = self._choose(http)
        if http.method == "HEAD":  # the headers of a GET, for which no model needs to be asked
            return Response(headers={"x-cache-hit": "false"}, media_type="application/json")
        ask = _Ask(http=http, path=path, plan=plan, target=target, backend=backend, key_id=principal_of(http).key_id)
        if not plan.cache:
            answer = await unless_hung_up(http.receive, self._make(ask, request_id_of(http)))
            return _response(answer, hit=False)
        # Fillers outlive this HTTP request: each of their asks gets an id of its own.
        first = iter([request_id_of(http)])
        work = self.cache.get(ask.key(), plan.cache, lambda: self._make(ask, next(first, None) or new_request_id()))
        answer, hit = await unless_hung_up(http.receive, work)
        self._service.cache_looked_up(hit=hit)
        return _response(answer, hit=hit)

    def _choose(self, http: HttpRequest) -> tuple[Target, str | None]:
        """The backend that the client prefers, from the header before the query. Raises NotFound's words as a 404."""
        named = (http.headers.get("x-llm-backend") or "").strip()
        name, param = (named, "X-LLM-Backend") if named else (http.query_params.get("backend", "").strip(), "backend")
        if not name:
            return Target(), None
        if len(name) > 256:
            raise bad_request(f"'{param}' is not a backend's name", param=param)
        try:
            target = self._service.resolve(name)
        except InvalidRequest as error:
            raise type(error)(error.message, param=param) from None
        return (Target(), target.name) if target.kind == "backend" else (target, None)

    async def _make(self, ask: _Ask, request_id: RequestId) -> MockAnswer:
        answer = await self._service.run(
            Request(
                request_id=request_id,
                source="mock",
                target=ask.target,
                messages=ask.messages(self._variation()),
                schema=ask.plan.schema,
                count=ask.plan.count,
                rules=ask.plan.rules,
                backend=ask.backend,
                key_id=ask.key_id,
            )
        )
        headers = answer_headers(answer, self._service)
        headers["x-backend-used"] = header_value(answer.backend)
        if answer.draft.issues:
            headers["x-morphogen-issues"] = str(len(answer.draft.issues))
        if not answer.draft.complete:
            headers["x-morphogen-incomplete"] = "true"
        return MockAnswer(body=_body(answer), headers=headers)


class _Ask:
    """One mock call as it can be asked again: what fillers keep of an HTTP request."""

    __slots__ = ("_data", "_method", "_path", "_query", "backend", "key_id", "plan", "target")

    def __init__(
        self, *, http: HttpRequest, path: str, plan: Plan, target: Target, backend: str | None, key_id: str | None
    ) -> None:
        self.plan, self.target, self.backend, self.key_id = plan, target, backend, key_id
        self._method = http.method
        self._path = _line(path, _MAX_PATH_CHARS)
        query = [f"{name}={value}" for name, value in http.query_params.multi_items() if name not in _CONTROL_QUERIES]
        self._query = _line("&".join(query), _MAX_QUERY_CHARS)
        self._data = dumps(plan.data).decode() if plan.data not in (None, {}) else "(none)"

    def key(self) -> bytes:
        """What makes two calls the same: method, path and query, form, backend, count, and the data to work over."""
        parts = [self._method, self._path, self._query, self.target.name, self.backend, self.plan.count, self._data]
        schema = orjson.dumps(self.plan.schema, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(dumps(parts) + schema, digest_size=16).digest()

    def messages(self, variation: str) -> tuple[dict[str, Json], ...]:
        words = re.sub(r"[^\w]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", self._path)).strip().lower()
        user = render(
            "mock_request",
            method=self._method,
            path=f"/{self._path}",
            query=self._query or "(none)",
            words=words or "(none)",
            data=self._data,
            variation=variation,
        )
        return {"role": "system", "content": render("mock")}, {"role": "user", "content": user}


def _line(text: str, most: int) -> str:
    """``text`` on one line, without control characters, bounded: it is shown to a model and stored in the trace."""
    return _UNPRINTABLE.sub("?", text)[:most]


def _body(answer: Answer) -> bytes:
    """The JSON of the shape and nothing else. An answer without data (null is data too) is read from its text."""
    if answer.draft.data is not None:
        return dumps(answer.draft.data)
    try:
        return dumps(orjson.loads(answer.draft.text))
    except orjson.JSONDecodeError:
        return dumps(answer.draft.text)


def _response(answer: MockAnswer, *, hit: bool) -> Response:
    headers = dict(answer.headers)
    if hit:  # it was paid for when it was primed
        headers["x-morphogen-cost-usd"] = "0"
    headers["x-cache-hit"] = "true" if hit else "false"
    return Response(answer.body, headers=headers, media_type="application/json")
