"""The operator's view of the network's shape, and his decisions on its changes.

Mounted by app.py; sees the daemon only through ``Service``. All of it needs the operator key: reasons and prompts may tell what
clients asked for. A refusal says what stands in the way: 400 a field, 404 no such thing, 409 not now (or a cap, which it names).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import Json, Role
from runtime.api.auth import principal_of, require_operator
from runtime.api.body import read_model
from runtime.api.errors import ApiError, Fault, bad_request
from runtime.api.query import choice, whole_number
from runtime.api.routes import Endpoint, RouteSpec, in_path, in_query
from runtime.api.wire import dumps
from runtime.controlling.by_hand import FIELDS
from runtime.ledger.records import LedgerError
from runtime.records import Service
from runtime.topology.records import NotNow, OverCap, Status, TopologyError, UnknownProposal

_ERRORS: Final = (400, 401, 403, 404, 409, 413, 429, 500, 503)
_MAX_BODY_BYTES: Final = 262_144
_MAX_ID_CHARS: Final = 128
_MAX_LIMIT: Final = 500
_MAX_REVISION: Final = 2**53
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
_Ref = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_Setting = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}=.{1,64}$")]
_Text = Annotated[str, StringConstraints(max_length=20_000)]
M = TypeVar("M", bound=BaseModel)
_Reason = Annotated[str, StringConstraints(max_length=2000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True)


class Child(_Body):
    """A node that a split makes, as a spawn would."""

    name: _Name
    """Its name."""
    speciality: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    """What it is good at."""
    prompt: _Text | None = None
    """Its system prompt."""
    backends: Annotated[list[_Ref], Field(max_length=32)] | None = None
    """The backends that it prefers, in order."""
    strategy: Any = None
    """Its strategy, as in a request."""
    patterns: Annotated[list[_Ref], Field(max_length=64)] | None = None
    """Ids of the patterns that it is for."""


class NewProposal(_Body):
    """The body of POST /v1/proposals. Which fields a kind needs and may have is checked with the shape as it is."""

    kind: Annotated[str, StringConstraints(pattern=f"^({'|'.join(FIELDS)})$")]
    """What is to change."""
    reason: _Reason = ""
    """For the record."""
    node: _Ref | None = None
    """split, prune, park, wake, recover, rewire: the node, by id or name."""
    children: Annotated[list[Child], Field(min_length=1, max_length=8)] | None = None
    """split: the nodes that it gets below it."""
    into: _Ref | None = None
    """merge: the node that stays."""
    gone: Annotated[list[_Ref], Field(min_length=1, max_length=8)] | None = None
    """merge: the nodes that it takes over."""
    name: _Name | None = None
    """spawn: the new node's name. pool: nodes, or committee:<pattern>."""
    role: Role | None = None
    """spawn: what it is; a specialist where nothing is said."""
    speciality: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    """spawn, recover, rewire: what it is good at."""
    prompt: _Text | None = None
    """spawn, recover, rewire: its system prompt."""
    locale: _Name | None = None
    """spawn: its neighbourhood."""
    backends: Annotated[list[_Ref], Field(max_length=32)] | None = None
    """spawn, recover, rewire: the backends that it prefers, in order."""
    strategy: Any = None
    """spawn, recover, rewire: its strategy, as in a request."""
    parent: _Ref | None = None
    """spawn: the node that it descends from."""
    patterns: Annotated[list[_Ref], Field(max_length=64)] | None = None
    """spawn: ids of the patterns that it is for."""
    size: Annotated[int, Field(ge=0, le=64)] | None = None
    """pool: how many are kept ready; none given: as many as configured."""
    version: _Ref | None = None
    """adopt_router: the version in the registry; none given: no generated router."""
    settings: Annotated[list[_Setting], Field(max_length=8)] | None = None
    """tune: settings of routing as name=value, which hold instead of the configuration's; none given: the configuration alone."""


class Approval(_Body):
    """The body of POST /v1/proposals/{id}/approve."""

    hash: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    """Of the proposal as you saw it."""
    comment: _Reason = ""
    """For the record."""


class Word(_Body):
    """The body of an operator's other words on a proposal."""

    reason: _Reason = ""
    """For the record, and for the rules."""


class Snooze(_Body):
    """The body of POST /v1/proposals/{id}/snooze."""

    for_s: Annotated[float, Field(gt=0, le=90 * 86_400.0, allow_inf_nan=False)]
    """It comes back after so many seconds."""


class Back(_Body):
    """The body of POST /v1/topology/rollback."""

    revision: Annotated[int, Field(ge=0, le=_MAX_REVISION)]
    """The shape to go back to."""
    reason: _Reason = ""
    """For the record."""


class TopologySurface:
    """The endpoints under /v1/topology and /v1/proposals."""

    def __init__(self, service: Service) -> None:
        self._service = service

    # ── the shape ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def shape(self, http: HttpRequest) -> Response:
        """GET /v1/topology?revision=: the desired shape, now or then."""
        given = http.query_params.get("revision")
        revision = whole_number(http, "revision", low=0, high=_MAX_REVISION, default=0) if given is not None else None
        return await self._answer(http, lambda: self._service.topology.shape(revision))

    async def history(self, http: HttpRequest) -> Response:
        """GET /v1/topology/history?limit=&before=: revisions, the newest first; ``before`` is the last one of the page before."""
        limit = whole_number(http, "limit", low=1, high=_MAX_LIMIT, default=50)
        before = whole_number(http, "before", low=0, high=_MAX_REVISION, default=_MAX_REVISION)
        found = self._service.topology.history
        return await self._answer(http, lambda: _listed(found(limit=limit, before=before)))

    async def diff(self, http: HttpRequest) -> Response:
        """GET /v1/topology/diff?from=&to=: what changed between two revisions."""
        require_operator(http)
        if "from" not in http.query_params or "to" not in http.query_params:
            raise bad_request("Give 'from' and 'to'", param="from")
        one, other = (whole_number(http, name, low=0, high=_MAX_REVISION, default=0) for name in ("from", "to"))
        return await self._answer(http, lambda: self._service.topology.diff(one, other))

    async def explain(self, http: HttpRequest) -> Response:
        """GET /v1/topology/nodes/{node}: why it is there, by id or name."""
        return await self._answer(http, lambda: self._service.topology.explain(_path(http, "node")))

    async def rollback(self, http: HttpRequest) -> Response:
        """POST /v1/topology/rollback: a change like any other, approved by whoever asks for it."""
        given, who = await self._read(http, Back)
        return await self._answer(http, lambda: self._service.topology.restore(given.revision, given.reason, who=who), status=202)

    # ── proposals ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def proposals(self, http: HttpRequest) -> Response:
        """GET /v1/proposals?status=&limit=&before=: the newest first; ``before`` is ``created_at`` of the last one."""
        status = choice(http, "status", tuple(map(str, Status)))
        limit = whole_number(http, "limit", low=1, high=_MAX_LIMIT, default=50)
        before = _moment(http, "before")
        found = self._service.topology.proposals
        return await self._answer(http, lambda: _listed(found(status=status, limit=limit, before=before)))

    async def proposal(self, http: HttpRequest) -> Response:
        """GET /v1/proposals/{id}: one, with its evidence and its history."""
        return await self._answer(http, lambda: self._service.topology.proposal(_path(http, "proposal_id")))

    async def propose(self, http: HttpRequest) -> Response:
        """POST /v1/proposals: an operator's wish; it goes the way of every proposal."""
        given, who = await self._read(http, NewProposal)
        wanted = given.model_dump(exclude={"reason"})
        return await self._answer(http, lambda: self._service.topology.propose(wanted, given.reason, who=who), status=201)

    async def approve(self, http: HttpRequest) -> Response:
        """POST /v1/proposals/{id}/approve: it is carried out, once."""
        given, who = await self._read(http, Approval)
        name = _path(http, "proposal_id")
        return await self._answer(
            http, lambda: self._service.topology.approve(name, given.hash, given.comment, who=who), status=202
        )

    async def reject(self, http: HttpRequest) -> Response:
        """POST /v1/proposals/{id}/reject: and the rules do not propose it again for a while."""
        given, who = await self._read(http, Word)
        if not given.reason.strip():
            raise bad_request("Say why: the rules hold back what was rejected, and the record keeps the reason", param="reason")
        return await self._answer(http, lambda: self._service.topology.reject(_path(http, "proposal_id"), given.reason, who=who))

    async def snooze(self, http: HttpRequest) -> Response:
        """POST /v1/proposals/{id}/snooze: not now."""
        given, who = await self._read(http, Snooze)
        return await self._answer(http, lambda: self._service.topology.snooze(_path(http, "proposal_id"), given.for_s, who=who))

    async def undo(self, http: HttpRequest) -> Response:
        """POST /v1/proposals/{id}/undo: take back a change on probation, or try that again where it is stuck."""
        given, who = await self._read(http, Word)
        name = _path(http, "proposal_id")
        return await self._answer(http, lambda: self._service.topology.undo(name, given.reason, who=who), status=202)

    async def settle(self, http: HttpRequest) -> Response:
        """POST /v1/proposals/{id}/settle: an operator's word that a stuck change is dealt with."""
        given, who = await self._read(http, Word)
        if not given.reason.strip():
            raise bad_request("Say how it was dealt with", param="reason")
        return await self._answer(http, lambda: self._service.topology.settle(_path(http, "proposal_id"), given.reason, who=who))

    # ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, http: HttpRequest, model: type[M]) -> tuple[M, str]:
        """The body, and who says so."""
        require_operator(http)
        return await read_model(http, model, self._service.settings.server, most=_MAX_BODY_BYTES), _who(http)

    async def _answer(self, http: HttpRequest, work: Callable[[], Awaitable[Json]], *, status: int = 200) -> Response:
        require_operator(http)
        try:
            return Response(dumps(await work()), status_code=status, media_type="application/json")
        except TopologyError as error:
            raise ApiError(_fault(error)) from error
        except LedgerError as error:
            fault = Fault(status=503, type="server_error", code="ledger_unavailable", message=str(error), retry_after_s=5.0)
            raise ApiError(fault) from error


def _fault(error: TopologyError) -> Fault:
    if isinstance(error, UnknownProposal):
        return Fault(status=404, type="invalid_request_error", code="not_found", message=error.message, param=error.param)
    if isinstance(error, OverCap):
        message = f"{error.message} ({error.cap})"
        return Fault(status=409, type="invalid_request_error", code="over_cap", message=message, param=error.param)
    if isinstance(error, NotNow):
        return Fault(status=409, type="invalid_request_error", code="not_now", message=error.message, param=error.param)
    return Fault(status=400, type="invalid_request_error", code="invalid_request", message=error.message, param=error.param)


def _who(http: HttpRequest) -> str:
    return f"operator {principal_of(http).key_id}"


def _path(http: HttpRequest, name: str) -> str:
    return str(http.path_params[name])[:_MAX_ID_CHARS]


def _moment(http: HttpRequest, name: str) -> float | None:
    text = http.query_params.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e12:
        raise bad_request(f"{name!r} is Unix time in seconds", param=name)
    return value


async def _listed(rows: Awaitable[list[dict[str, Json]]]) -> Json:
    return {"data": await rows}


def topology_routes(surface: TopologySurface) -> Sequence[RouteSpec]:
    """Everything under /v1/topology and /v1/proposals."""
    number = {"type": "integer", "minimum": 0}
    page = in_query("limit", {"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT, "default": 50})
    one = "/v1/proposals/{proposal_id}"
    path = (in_path("proposal_id"),)
    accepted = {202: {"type": "object"}}
    status = in_query("status", {"type": "string", "enum": list(map(str, Status))})
    rows: list[tuple[str, str, Endpoint, str, dict[str, Any]]] = [
        ("GET", "/v1/topology", surface.shape, "The desired shape, now or then", {"parameters": (in_query("revision", number),)}),
        (
            "GET",
            "/v1/topology/history",
            surface.history,
            "Every revision: what, why, who and when",
            {"parameters": (page, in_query("before", number))},
        ),
        (
            "GET",
            "/v1/topology/diff",
            surface.diff,
            "What changed between two revisions",
            {"parameters": (in_query("from", number), in_query("to", number))},
        ),
        ("GET", "/v1/topology/nodes/{node}", surface.explain, "Why a node is there", {"parameters": (in_path("node"),)}),
        (
            "POST",
            "/v1/topology/rollback",
            surface.rollback,
            "Back to an earlier shape",
            {"body": Back.model_json_schema(), "ok": accepted},
        ),
        (
            "GET",
            "/v1/proposals",
            surface.proposals,
            "Proposed changes",
            {"parameters": (status, page, in_query("before", {"type": "number"}))},
        ),
        (
            "POST",
            "/v1/proposals",
            surface.propose,
            "Propose a change by hand",
            {"body": NewProposal.model_json_schema(), "ok": {201: {"type": "object"}}},
        ),
        ("GET", one, surface.proposal, "One proposal, with its evidence and history", {"parameters": path}),
        *(
            ("POST", f"{one}/{verb}", endpoint, text, {"parameters": path, "body": body.model_json_schema(), "ok": ok})
            for verb, endpoint, text, body, ok in (
                ("approve", surface.approve, "Carry it out", Approval, accepted),
                ("reject", surface.reject, "Never mind", Word, {200: {"type": "object"}}),
                ("snooze", surface.snooze, "Not now", Snooze, {200: {"type": "object"}}),
                ("undo", surface.undo, "Take it back", Word, accepted),
                ("settle", surface.settle, "A stuck change is dealt with", Word, {200: {"type": "object"}}),
            )
        ),
    ]
    return [
        RouteSpec(path=path, methods=(method,), endpoint=endpoint, summary=summary, tag="operator", errors=_ERRORS, **more)
        for method, path, endpoint, summary, more in rows
    ]
