"""What a client sees when something is wrong: one table from error codes to HTTP, in OpenAI's shape or as problem+json.

Called by app.py (exception handlers), auth.py and the surfaces. Must not import dispatch, the ledger or a cluster.

``ApiError`` is the root (and only class) of what the surfaces raise themselves; everything from below is an ``AgentError``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from starlette.responses import Response

from agents.calls import cost_usd_of
from agents.records import AgentError, Escalated, Json
from runtime.api.wire import dumps, header_value, mark, usd

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "rate_limit_error",
    "insufficient_quota",
    "server_error",
]

MANAGEMENT = (
    *("/v1/requests", "/v1/nodes", "/v1/backends", "/v1/status", "/v1/keys", "/v1/config", "/v1/budget", "/v1/registry"),
    *("/v1/library", "/v1/patterns", "/v1/escalations", "/v1/routes", "/v1/report", "/v1/topology", "/v1/proposals"),
    "/v1/events",
)
"""Paths whose errors are RFC 9457 problem documents; every other path answers in OpenAI's shape."""

_BY_CODE: Mapping[str, tuple[int, ErrorType]] = {
    "invalid_request": (400, "invalid_request_error"),
    "not_found": (404, "invalid_request_error"),
    "expression_failed": (400, "invalid_request_error"),
    "refused": (503, "server_error"),
    "overloaded": (429, "rate_limit_error"),
    "rate_limited": (429, "rate_limit_error"),
    "breaker_open": (503, "server_error"),
    "draining": (503, "server_error"),
    "backend_error": (502, "server_error"),
    "backend_unreachable": (502, "server_error"),
    "backend_timeout": (504, "server_error"),
    "backend_failed": (502, "server_error"),
    "backend_rejected": (502, "server_error"),
    "backend_garbled": (502, "server_error"),
    "stream_broken": (502, "server_error"),
    "structured_failed": (502, "server_error"),
    "incomplete": (502, "server_error"),
    # Not 503: clients repeat that by themselves, and a person is asked once.
    "escalated": (422, "server_error"),
    "deadline_exceeded": (504, "server_error"),
    "budget_exceeded": (429, "insufficient_quota"),
    "cancelled": (499, "server_error"),
    "node_lost": (503, "server_error"),
    "internal_error": (500, "server_error"),
}

_CLIENTS_FAULT_AT_BACKEND = frozenset({400, 413, 422})
"""A backend's refusals that are about the request; its 401 or 404 is about our configuration, so the client sees 502."""

_MAX_MESSAGE_CHARS = 2000
_DEFAULT_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One error as HTTP shows it. ``spent_usd`` is None where nothing was asked of a backend; ``partial`` is the work so far."""

    status: int
    type: ErrorType
    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    spent_usd: float | None = None
    partial: Json = None
    escalation_id: str | None = None
    """The question to a person that it led to."""
    simulated: bool = False
    """A simulated backend had a part in it: its words, and what is partial, are made up."""


class ApiError(Exception):
    """A request that a surface turns away itself (too large, no key, no such path, a field that is wrong)."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault

    def __reduce__(self) -> tuple[type[ApiError], tuple[Fault]]:
        return ApiError, (self.fault,)


def bad_request(message: str, *, param: str | None = None, code: str = "invalid_request") -> ApiError:
    """A 400 that names the field at fault."""
    return ApiError(Fault(status=400, type="invalid_request_error", code=code, message=message, param=param))


def from_agent_error(error: AgentError) -> Fault:
    """The HTTP view of an error from below. Unknown codes are 500, so that a new error is never taken for a success."""
    status, kind = _BY_CODE.get(error.code, (500, "server_error"))
    if error.code == "backend_rejected" and error.status in _CLIENTS_FAULT_AT_BACKEND:
        status, kind = 400, "invalid_request_error"
    retry_after_s = error.retry_after_s
    if retry_after_s is None and status == 429 and kind == "rate_limit_error":
        retry_after_s = _DEFAULT_RETRY_S
    return Fault(
        status=status,
        type=kind,
        code="model_not_found" if error.code == "not_found" and error.param == "model" else error.code,
        message=error.message,
        param=error.param,
        retry_after_s=retry_after_s,
        spent_usd=cost_usd_of(error.calls) if error.calls else None,
        # What failed every check goes to the person who is asked, not to a client that might take it for an answer.
        partial=None if isinstance(error, Escalated) else error.partial,
        escalation_id=(error.escalation_id or None) if isinstance(error, Escalated) else None,
        simulated=any(call.simulated for call in error.calls),
    )


def from_http_status(status: int, *, method: str, path: str) -> Fault:
    """The faults that routing itself finds: an unknown path, a method that a path does not have."""
    if status == 404:
        return Fault(status=404, type="invalid_request_error", code="unknown_url", message=f"Unknown URL: {method} {path}")
    if status == 405:
        message = f"{method} is not allowed on {path}"
        return Fault(status=405, type="invalid_request_error", code="method_not_allowed", message=message)
    kind: ErrorType = "invalid_request_error" if status < 500 else "server_error"
    phrase = _phrase(status)
    return Fault(status=status, type=kind, code=phrase.lower().replace(" ", "_"), message=phrase)


def error_body(fault: Fault) -> dict[str, Json]:
    """OpenAI's error object."""
    return {
        "error": {
            "message": _clip(fault.message),
            "type": fault.type,
            "param": fault.param,
            "code": fault.code,
            **({"escalation_id": fault.escalation_id} if fault.escalation_id else {}),
            **({"simulated": True} if fault.simulated else {}),
        }
    }


def problem_body(fault: Fault) -> dict[str, Json]:
    """The same as an RFC 9457 problem document."""
    body: dict[str, Json] = {
        "type": f"urn:morphogen:error:{fault.code}",
        "title": _phrase(fault.status),
        "status": fault.status,
        "detail": _clip(fault.message),
        "code": fault.code,
    }
    if fault.param is not None:
        body["param"] = fault.param
    if fault.partial is not None:
        body["partial"] = fault.partial
    if fault.escalation_id is not None:
        body["escalation_id"] = fault.escalation_id
    if fault.simulated:
        body["simulated"] = True
    return body


def is_management(path: str) -> bool:
    """Whether errors of ``path`` are problem documents."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in MANAGEMENT)


def error_media_type(path: str) -> str:
    """In which form an error of ``path`` is written."""
    return "application/problem+json" if is_management(path) else "application/json"


def fault_response(fault: Fault, *, path: str, request_id: str | None = None) -> Response:
    """The response of a fault: problem+json on management paths, OpenAI's shape everywhere else."""
    headers = fault_headers(fault)
    if request_id is not None:
        headers["x-request-id"] = request_id
        headers["x-morphogen-request-id"] = request_id
    body = problem_body(fault) if is_management(path) else error_body(fault)
    return Response(dumps(body), status_code=fault.status, headers=headers, media_type=error_media_type(path))


def fault_headers(fault: Fault) -> dict[str, str]:
    """``Retry-After`` in whole seconds (rounded up) and in ms, what was spent, the challenge of a 401, a simulated part."""
    headers = mark(simulated=fault.simulated)
    if fault.retry_after_s is not None and math.isfinite(fault.retry_after_s):
        wait_s = max(0.0, fault.retry_after_s)
        headers["retry-after"] = str(max(1, math.ceil(wait_s)))
        headers["retry-after-ms"] = str(math.ceil(wait_s * 1000))
    if fault.type == "insufficient_quota" and fault.retry_after_s is None:
        headers["x-should-retry"] = "false"
    if fault.status == 401:
        headers["www-authenticate"] = "Bearer"
    if fault.escalation_id is not None:
        headers["x-morphogen-escalation-id"] = header_value(fault.escalation_id)
        headers["x-should-retry"] = "false"
    if fault.spent_usd is not None:
        headers["x-morphogen-cost-usd"] = usd(fault.spent_usd)
    return headers


def _phrase(status: int) -> str:
    return next((known.phrase for known in HTTPStatus if known == status), "Error")


def _clip(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE_CHARS else message[:_MAX_MESSAGE_CHARS] + "…"
