"""The configuration of the running daemon: how it stands, and reading it again. Operator calls; secrets are masked.

Mounted by app.py; sees the daemon only through ``Service``.
"""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from agents.records import Json
from runtime.api.auth import require_operator
from runtime.api.errors import ApiError, Fault
from runtime.api.wire import json_response
from runtime.config.file import show
from runtime.config.status import ConfigFault
from runtime.records import Service


class ConfigSurface:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def config(self, http: HttpRequest) -> Response:
        """GET /v1/config: the file, what came of reading it last, and the settings that hold."""
        require_operator(http)
        status = self._service.config()
        body: dict[str, Json] = {
            "path": status.path,
            "digest": status.digest,
            "loaded_at": status.loaded_at,
            "reloads": status.reloads,
            "valid": status.last_error is None,
            "last_error": asdict(status.last_error) if status.last_error else None,
            "needs_restart": list(status.needs_restart),
            "settings": show(self._service.settings),
        }
        return json_response(body)

    async def reload(self, http: HttpRequest) -> Response:
        """POST /v1/config/reload: 200 with what changed; 422 where the file is invalid, and nothing has changed then."""
        require_operator(http)
        result = await self._service.reload_config()
        if result.error is not None:
            raise ApiError(_fault(result.error))
        body: dict[str, Json] = {
            "result": result.outcome,
            "summary": result.summary,
            "changed": list(result.changed),
            "needs_restart": list(result.needs_restart),
        }
        return json_response(body)


def _fault(error: ConfigFault) -> Fault:
    place = f"{error.file}:{error.line}: " if error.file and error.line else f"{error.file}: " if error.file else ""
    setting = f"{error.setting}: " if error.setting else ""
    return Fault(
        status=422,
        type="invalid_request_error",
        code="config_invalid",
        message="; ".join((f"{place}{setting}{error.message}", *error.more)),
        param=error.setting or None,
    )
