"""Probes and measures: /healthz, /readyz, /metrics.

Mounted by app.py. Never waits for a backend, a node or the ledger: a probe must answer while all of them are in trouble.
"""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from runtime.api.wire import json_response
from runtime.records import Service


class HealthSurface:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def alive(self, http: HttpRequest) -> Response:
        """GET /healthz: the event loop turns."""
        return json_response({"status": "ok"})

    async def ready(self, http: HttpRequest) -> Response:
        """GET /readyz: 200 when every part is ``ok``, else 503 with what each part is waiting for.

        ``sandbox`` is said beside the parts: a daemon that refuses to run code answers everything else.
        """
        parts = dict(self._service.readiness())
        ready = all(state == "ok" for state in parts.values())
        body = {"status": "ready" if ready else "starting", "parts": parts, "sandbox": dict(self._service.sandbox())}
        headers = {} if ready else {"retry-after": "1"}
        return json_response(body, status=200 if ready else 503, headers=headers)

    async def metrics(self, http: HttpRequest) -> Response:
        """GET /metrics: Prometheus exposition."""
        body, content_type = self._service.metrics_text()
        return Response(body, headers={"content-type": content_type})
