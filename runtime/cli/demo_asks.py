"""How the demo asks each kind of request, and how it checks what came back.

Called by demo_work.py. Every figure is taken from a reply; a reply that is not what was asked for is ``Unexpected``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from runtime.cli.ask import CHAT, Heard, Question
from runtime.cli.client import Client
from runtime.cli.errors import CliError
from runtime.cli.tables import clip

Json = Any
UNPLUGGED = "unplugged"
"""A configured backend at whose address nothing listens: a fault that the network has to heal."""
_CACHE_TRIES = 8
_CACHE_WAIT_S = 0.25
_LEDGER_TRIES = 30
_LEDGER_WAIT_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a reply said of itself, and in one phrase what it held."""

    said: str
    request_id: str
    backend: str
    simulated: bool
    cost_usd: float


class Unexpected(Exception):
    """A reply came, but it is not what was asked for."""


def chat(daemon: Client, prompt: str, *, model: str = "auto", **params: Json) -> Found:
    """One whole answer of text."""
    reply = daemon.post(CHAT, {**Question(prompt=prompt, model=model).body(stream=False), **params})
    text = reply["choices"][0]["message"]["content"] or ""
    if not text.strip():
        raise Unexpected("the answer is empty")
    return _found(reply["morphogen"], said=f"“{clip(text, 40)}”")


def streamed(daemon: Client, prompt: str, *, model: str = "auto", **params: Json) -> Found:
    """One streamed answer; it must come in several pieces and report its tokens."""
    heard = Heard()
    began = time.monotonic()
    first_s: float | None = None
    for chunk in daemon.events(CHAT, {**Question(prompt=prompt, model=model).body(stream=True), **params}):
        if heard.take(chunk) and first_s is None:
            first_s = time.monotonic() - began
    pieces = sum(1 for piece in heard.text if piece)
    if pieces < 2 or first_s is None:
        raise Unexpected(f"the answer came in {pieces} piece(s)")
    if not heard.usage.get("completion_tokens"):
        raise Unexpected("the stream did not report its tokens")
    return _found(heard.about, said=f"{pieces} pieces, the first after {first_s:.2f} s")


def shaped(daemon: Client, prompt: str, shape: Json, *, model: str = "auto", count: int | None = None, **params: Json) -> Found:
    """One answer in a shape; it must have every field, and ``count`` items where that was asked."""
    question = Question(prompt=prompt, model=model, shape=shape, count=count)
    reply = daemon.post(CHAT, {**question.body(stream=False), **params})
    data = json.loads(reply["choices"][0]["message"]["content"])
    return _found(reply["morphogen"], said=_checked(data, shape, count))


def mock(daemon: Client, path: str, shape: Json, *, count: int | None = None, backend: str = "") -> Found:
    """One answer of the mock API: GET for a shape alone, POST with a count or a backend."""
    if count is None and not backend:
        response = daemon.send("GET", f"/api/mock/{path}?shape={quote(json.dumps(shape))}")
    else:
        body = {"shape": shape, **({"count": count} if count else {})}
        headers = {"X-LLM-Backend": backend} if backend else {}
        response = daemon.send("POST", f"/api/mock/{path}", body=body, headers=headers)
    return _from_headers(response.headers, said=_checked(response.json(), shape, count))


def cached(daemon: Client) -> Found:
    """A shape with ``$cache`` is primed by the first ask; once variants are ready, they are served without asking a model."""
    shape = {"$cache": 2, "berth": 0, "boat": "string"}
    for _ in range(_CACHE_TRIES):
        began = time.monotonic()
        reply = daemon.send("POST", "/api/mock/berths", body={"shape": shape})
        took_ms = (time.monotonic() - began) * 1000
        if reply.headers.get("x-cache-hit", "").lower() == "true":
            return _from_headers(reply.headers, said=f"served from the cache in {took_ms:.0f} ms", free=True)
        time.sleep(_CACHE_WAIT_S)
    raise Unexpected(f"not served from the cache after {_CACHE_TRIES} asks")


def healed(daemon: Client) -> Found:
    """The mock API prefers a backend that is down; another has to answer, and the trace has to show both."""
    shape = {"tide": "high|low", "height_m": 0.0}
    response = daemon.send("POST", "/api/mock/tides", body={"shape": shape}, headers={"X-LLM-Backend": UNPLUGGED})
    _checked(response.json(), shape, None)
    used = response.headers.get("x-backend-used", "")
    if not used or used == UNPLUGGED:
        raise Unexpected(f"answered by {used or 'nobody'}")
    return _from_headers(response.headers, said=f"{UNPLUGGED} is down, {used} stood in")


def failing(daemon: Client) -> Found:
    """A backend fails with 500 for a while, more often than it is asked again; another stands in for it."""
    shape = {"wind_from": "north|east|south|west", "knots": 0}
    with _fault(daemon, "validator", "500", times=6):
        response = daemon.send("POST", "/api/mock/wind", body={"shape": shape}, headers={"X-LLM-Backend": "validator"})
    _checked(response.json(), shape, None)
    used = response.headers.get("x-backend-used", "")
    if used in ("", "validator"):
        raise Unexpected(f"answered by {used or 'nobody'}")
    return _from_headers(response.headers, said=f"validator fails, {used} stood in")


def mended(daemon: Client) -> Found:
    """A backend's stream breaks after its first words; the client gets one whole answer all the same."""
    with _fault(daemon, "enricher", "broken_stream", times=1):
        found = streamed(daemon, "Tell how a net is mended, step by step.", model="enricher")
    trace = fetch_outcome(daemon, found.request_id)
    broken = [call for call in trace["calls"] if call["error"]]
    if not broken:
        raise Unexpected("no call broke, so nothing was mended")
    return replace(found, said=f"broke off once, whole after {len(trace['calls'])} calls")


@contextmanager
def _fault(daemon: Client, backend: str, fault: str, *, times: int) -> Iterator[None]:
    """The simulated ``backend`` misbehaves for its next ``times`` calls, at most until the block ends."""
    row = next(row for row in daemon.get("/v1/backends")["data"] if row["name"] == backend)
    if not row["simulated"]:
        raise Unexpected(f"{backend} is not simulated")
    server = row["base_url"].removesuffix("/v1")
    with Client(server) as simulated:
        simulated.send("POST", "/sim/faults", body={"model": row["model"], "fault": fault, "times": times})
        try:
            yield
        finally:
            simulated.send("POST", "/sim/faults", body={"model": row["model"], "fault": None})


def fetch_outcome(daemon: Client, request_id: str) -> Json:
    """The trace once the ledger has the outcome, which it writes some milliseconds after the reply. Raises Unexpected."""
    for _ in range(_LEDGER_TRIES):
        try:
            trace = daemon.get(f"/v1/requests/{request_id}", operator=True)
        except CliError as error:
            if error.status != 404:
                raise
        else:
            if trace.get("outcome"):
                return trace
        time.sleep(_LEDGER_WAIT_S)
    raise Unexpected(f"the ledger has no outcome of {request_id}")


def _found(about: Json, *, said: str) -> Found:
    return Found(
        said=said,
        request_id=about["id"],
        backend=about["backend"],
        simulated=about["simulated"],
        cost_usd=about["cost_usd"],
    )


def _from_headers(headers: Any, *, said: str, free: bool = False) -> Found:
    """``free``: what the headers tell of was paid for by an earlier request."""
    return Found(
        said=said,
        request_id=headers.get("x-morphogen-request-id", ""),
        backend=headers.get("x-backend-used", ""),
        simulated=headers.get("x-morphogen-simulated") == "true",
        cost_usd=0.0 if free else float(headers.get("x-morphogen-cost-usd", 0)),
    )


def _checked(data: Json, shape: Json, count: int | None) -> str:
    """What ``data`` holds. Raises Unexpected where it has not the fields of ``shape``, or not ``count`` items."""
    missing = missing_fields(data, shape)
    if missing:
        raise Unexpected(f"without {', '.join(missing[:3])}")
    if count is None:
        return f"{len(shape)} fields"
    items = next((value for value in data.values() if isinstance(value, list)), [])
    if len(items) != count:
        raise Unexpected(f"{len(items)} items instead of {count}")
    return f"{count} items"


def missing_fields(data: Json, shape: Json, path: str = "") -> list[str]:
    """Paths of the fields of ``shape`` that ``data`` lacks, or that are of another kind (object, list, value)."""
    here = path or "the answer"
    if isinstance(shape, dict):
        if not isinstance(data, dict):
            return [here]
        wanted = {name: part for name, part in shape.items() if not name.startswith("$")}
        return [
            lost
            for name, part in wanted.items()
            for lost in (
                missing_fields(data[name], part, f"{path}.{name}".lstrip(".")) if name in data else [f"{path}.{name}".lstrip(".")]
            )
        ]
    if isinstance(shape, list):
        if not isinstance(data, list):
            return [here]
        return [lost for place, item in enumerate(data) for lost in missing_fields(item, shape[0], f"{path}[{place}]")]
    return [here] if isinstance(data, dict | list) or data is None else []
