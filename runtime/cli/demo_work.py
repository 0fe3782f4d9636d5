"""What the demo asks: requests of several kinds, each with a check of what came back.

Called by demo.py. Every figure that the demo shows is taken from a reply; a request that fails its check fails the demo.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import quote

from runtime.cli.ask import CHAT, Heard, Question
from runtime.cli.client import Client
from runtime.cli.errors import CliError

Json = Any
UNPLUGGED = "unplugged"
"""A configured backend at whose address nothing listens: the fault that the network has to heal."""
CROWD = 24
_CROWD_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One request that the demo made. ``problem`` is empty when the reply was what it should be."""

    act: str
    what: str
    found: str = ""
    problem: str = ""
    request_id: str = ""
    backend: str = ""
    simulated: bool = False
    latency_s: float = 0.0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One kind of request. ``ask`` gives what was found; it raises CliError or Unexpected."""

    what: str
    ask: Callable[[Client], Found]
    times: int = 1


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


@dataclass(slots=True)
class Record:
    """All that was done so far; shared by the threads that ask and the one that shows."""

    done: list[Done] = field(default_factory=list)
    now: str = ""
    _lock: Lock = field(default_factory=Lock)

    def add(self, done: Done) -> None:
        with self._lock:
            self.done.append(done)

    def all(self) -> list[Done]:
        with self._lock:
            return list(self.done)


def perform(act: str, steps: Sequence[Step], connect: Callable[[], Client], record: Record) -> None:
    """Do ``steps`` in order, each ``times`` times at once; what goes wrong is recorded and does not stop the others."""

    def one(step: Step) -> None:
        began = time.monotonic()
        try:
            with connect() as daemon:
                found = step.ask(daemon)
        except (CliError, Unexpected, KeyError, TypeError, ValueError) as error:
            problem = str(error) or type(error).__name__
            record.add(Done(act=act, what=step.what, problem=problem, latency_s=time.monotonic() - began))
            return
        record.add(
            Done(
                act=act,
                what=step.what,
                found=found.said,
                request_id=found.request_id,
                backend=found.backend,
                simulated=found.simulated,
                latency_s=time.monotonic() - began,
                cost_usd=found.cost_usd,
            )
        )

    for step in steps:
        record.now = step.what
        with ThreadPoolExecutor(max_workers=_CROWD_THREADS) as pool:
            for future in [pool.submit(one, step) for _ in range(step.times)]:
                future.result()
    record.now = ""


def real_steps() -> list[Step]:
    """The first act: short, for a small model on a small machine."""
    person = {"name": "string", "age": 0, "city": "string"}
    return [
        Step(
            what="a short question", ask=lambda daemon: chat(daemon, "In one sentence: what does a lighthouse do?", max_tokens=48)
        ),
        Step(
            what="a streamed answer", ask=lambda daemon: streamed(daemon, "Name two things to pack for the beach.", max_tokens=48)
        ),
        Step(
            what="a shaped answer",
            ask=lambda daemon: shaped(daemon, "Invent a person who repairs bicycles.", person, max_tokens=96),
        ),
    ]


def pool_steps() -> list[Step]:
    """The second act: every surface and strategy, a crowd, and a fault."""
    menu = {"dish": "string", "price": 0.0, "vegetarian": True, "course": "starter|main|dessert"}
    trip = {"destination": "string", "days": 0, "summary": "string", "stops": [{"place": "string", "note": "string"}]}
    return [
        Step(what="auto: a question", ask=lambda daemon: chat(daemon, "Explain tides to a child in two sentences.")),
        Step(what="auto: a streamed answer", ask=lambda daemon: streamed(daemon, "Describe a harbour at dawn.")),
        Step(what="a backend by name", ask=lambda daemon: chat(daemon, "Summarise why bread rises.", model="enricher")),
        Step(
            what="pipeline of three stages",
            ask=lambda daemon: shaped(daemon, "Plan a trip by train.", trip, model="strategy/pipeline"),
        ),
        Step(
            what="parallel, merged",
            ask=lambda daemon: shaped(daemon, "Plan a walk along a river.", trip, model="strategy/parallel"),
        ),
        Step(
            what="validation loop",
            ask=lambda daemon: shaped(daemon, "A dish for a cold evening.", menu, model="strategy/validation"),
        ),
        Step(
            what="a list of 45, split and joined",
            ask=lambda daemon: shaped(daemon, "The menu of a large inn.", {"dishes": [menu]}, count=45),
        ),
        Step(
            what="mock API: GET with a shape",
            ask=lambda daemon: mock(daemon, "harbour/boats/7", {"id": 0, "name": "string", "launched": "ISO-8601"}),
        ),
        Step(
            what="mock API: POST to a backend",
            ask=lambda daemon: mock(daemon, "orders", {"orders": [menu]}, count=4, backend="validator"),
        ),
        Step(what="mock API: a cached shape, twice", ask=cached),
        Step(what=f"{CROWD} questions at once", ask=lambda daemon: chat(daemon, "A name for a boat?"), times=CROWD),
        Step(what="a broken backend, healed", ask=healed, times=3),
    ]


def chat(daemon: Client, prompt: str, *, model: str = "auto", **params: Json) -> Found:
    """One whole answer of text."""
    reply = daemon.post(CHAT, {**Question(prompt=prompt, model=model).body(stream=False), **params})
    text = reply["choices"][0]["message"]["content"] or ""
    if not text.strip():
        raise Unexpected("the answer is empty")
    return _found(reply["morphogen"], said=f"{len(text.split())} words")


def streamed(daemon: Client, prompt: str, **params: Json) -> Found:
    """One streamed answer; it must come in several pieces and report its tokens."""
    heard = Heard()
    began = time.monotonic()
    first_s: float | None = None
    for chunk in daemon.events(CHAT, {**Question(prompt=prompt).body(stream=True), **params}):
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
    """A shape with ``$cache`` is primed by the first ask and served from the cache by the second."""
    shape = {"$cache": 2, "berth": 0, "boat": "string"}
    daemon.send("POST", "/api/mock/berths", body={"shape": shape})
    again = daemon.send("POST", "/api/mock/berths", body={"shape": shape})
    if again.headers.get("x-cache-hit", "").lower() != "true":
        raise Unexpected("the second ask was not served from the cache")
    return _from_headers(again.headers, said="the second from the cache")


def healed(daemon: Client) -> Found:
    """The mock API prefers a backend that is down; another has to answer, and the trace has to show both."""
    shape = {"tide": "high|low", "height_m": 0.0}
    response = daemon.send("POST", "/api/mock/tides", body={"shape": shape}, headers={"X-LLM-Backend": UNPLUGGED})
    _checked(response.json(), shape, None)
    used = response.headers.get("x-backend-used", "")
    if not used or used == UNPLUGGED:
        raise Unexpected(f"answered by {used or 'nobody'}")
    return _from_headers(response.headers, said=f"{UNPLUGGED} is down, {used} stood in")


def _found(about: Json, *, said: str) -> Found:
    return Found(
        said=said,
        request_id=about["id"],
        backend=about["backend"],
        simulated=about["simulated"],
        cost_usd=about["cost_usd"],
    )


def _from_headers(headers: Any, *, said: str) -> Found:
    return Found(
        said=said,
        request_id=headers.get("x-morphogen-request-id", ""),
        backend=headers.get("x-backend-used", ""),
        simulated=headers.get("x-morphogen-simulated") == "true",
        cost_usd=float(headers.get("x-morphogen-cost-usd", 0)),
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
