"""What the demo asks in each act, and the record of what came of it. How each is asked stands in demo_asks.py.

Called by demo.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from runtime.cli.client import Client
from runtime.cli.demo_asks import Found, Unexpected, cached, chat, failing, healed, mended, mock, shaped, streamed
from runtime.cli.demo_code import waits
from runtime.cli.errors import CliError

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
    writes_code: bool = False


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
        Step(what="numbers by a program", ask=lambda daemon: waits(daemon, mean=34, std=8), writes_code=True),
        Step(what="the same, other numbers", ask=lambda daemon: waits(daemon, mean=51, std=12), writes_code=True),
        Step(what="the same, and a column", ask=lambda daemon: waits(daemon, mean=27, std=6, with_cars=True), writes_code=True),
        Step(what=f"{CROWD} questions at once", ask=lambda daemon: chat(daemon, "A name for a boat?"), times=CROWD),
        Step(what="a backend that is down", ask=healed, times=3),
        Step(what="a stream that breaks off", ask=mended),
        Step(what="a backend that fails", ask=failing),
    ]
