"""The library over real HTTP on a daemon of its own: how fast hits are, what a stream gets from it, the article's weeks.

Called by ops/bench/solutions.py (parts ``http``, ``families`` and ``weeks``). The daemon has the simulated pool at speed 0, so
that what is compared is its own work: real backends would make generating dearer and slower, and hits as they are.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.llm.child import free_port
from ops.bench.overhead import process
from ops.bench.report import Goal, at_least, at_most, progress
from ops.bench.reuse_families import Asked, stream

OPEN_WITHIN_S = 240.0
HITS = ("exact", "rerun", "reused")
THOUSAND = 1000
LEARNED_HITS = 0.8
"""Of the last requests of the stream so many should be answered from the library: all but new wordings and audits."""
SAVED = 0.5


@dataclass(slots=True)
class Client:
    """One keep-alive connection, one request at a time."""

    port: int
    key: str
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any, float]:
        """(status, JSON, headers, seconds)."""
        data = None if body is None else json.dumps(body).encode()
        begin = time.perf_counter()
        self.connection.request(method, path, data, {"content-type": "application/json", **headers})
        reply = self.connection.getresponse()
        raw = reply.read()
        return reply.status, json.loads(raw or b"null"), reply.headers, time.perf_counter() - begin

    def ask(self, body: Any) -> tuple[str, Any, float, float]:
        """(what the library said, the reply, USD, seconds)."""
        status, reply, headers, took_s = self.call("POST", "/v1/requests", {"deadline_s": 100, **body})
        said = headers.get("x-morphogen-library") or "not asked"
        return said, reply if status == 200 else {"status": "failed"}, float(headers.get("x-morphogen-cost-usd") or 0), took_s

    def operator(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, reply, _, _ = self.call(method, path, body, authorization=f"Bearer {self.key}")
        return status, reply

    def stored(self) -> int:
        """How many solutions there are; -1 while the library is not open."""
        status, reply = self.operator("GET", "/v1/library")
        return int(reply["solutions"]) if status == 200 else -1

    def until(self, least: int, within_s: float = OPEN_WITHIN_S) -> None:
        """Wait until so many solutions are there. Raises SystemExit when that takes too long."""
        end = time.monotonic() + within_s
        while self.stored() < least:
            if time.monotonic() > end:
                raise SystemExit(f"the library has not come to {least} solutions within {within_s:g} s")
            time.sleep(0.1)


@contextmanager
def daemon(seed: int) -> Iterator[Client]:
    """A daemon with the built-in embedding model, from the moment that its library is open."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        path = folder / "morphogen.toml"
        path.write_text(
            f'[server]\nport = {port}\n[data]\ndir = "{folder / "data"}"\n[cluster]\nkind = "local"\n'
            f"[simulated]\nspeed = 0\nseed = {seed}\n[registry]\nreview = false\n"
        )
        with process([sys.executable, "-m", "runtime.cli", "serve", "--config", str(path)], port, "/readyz"):
            client = Client(port, (folder / "data" / "operator.key").read_text().strip())
            client.until(0)
            client.call("POST", "/v1/embeddings", {"model": "auto", "input": "loaded"})
            yield client


# ── how fast ────────────────────────────────────────────────────────────────────────────────────────────────────────────

QUESTION = {"prompt": "Which metal is liquid at room temperature?"}
BELL = {
    "prompt": "The heights of a school's pupils are normally distributed with a mean of {mean} and a standard deviation of 9.",
    "shape": {"pupils": [{"number": "integer", "height": "number"}]},
    "strategy": "code_augmented",
}


def measure_http(seed: int, *, quick: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Milliseconds of exact and parametric hits, end to end, one after the other."""
    rounds = 60 if quick else 300
    with daemon(seed) as client:
        _, reply, _, _ = client.ask(QUESTION)
        client.call("POST", f"/v1/requests/{reply['id']}/feedback", {"score": 1})
        client.until(1)
        client.ask(_bell(150, 100))
        client.until(2)
        exact = _timed(client, [QUESTION] * rounds, ("exact",))
        rng = np.random.default_rng(seed)
        asked = [_bell(int(rng.integers(120, 180)), int(rng.integers(80, 120))) for _ in range(rounds)]
        rerun = _timed(client, asked, ("rerun",))
        anew = _timed(client, [{**one, "cache": False} for one in asked[: rounds // 5]], ("not asked",))
    measured = {"exact_ms": exact, "parametric_ms": rerun, "generated_ms": anew}
    goals = [
        at_most("exact hit over HTTP, p50", exact.get("p50"), 5.0, "ms"),
        at_most("parametric hit over HTTP, p50", rerun.get("p50"), 40.0, "ms"),
    ]
    return measured, goals


def _bell(mean: int, count: int) -> dict[str, Any]:
    return {**BELL, "prompt": str(BELL["prompt"]).format(mean=mean), "count": count}


def _timed(client: Client, bodies: Sequence[Any], wanted: tuple[str, ...]) -> dict[str, float]:
    """Percentiles of those that came as ``wanted``, and how many did not (audits)."""
    times = []
    for body in bodies:
        said, _, _, took_s = client.ask(body)
        if said in wanted:
            times.append(1000 * took_s)
    if not times:
        return {"n": 0}
    spread = {name: float(np.percentile(times, q)) for name, q in (("p50", 50), ("p90", 90), ("p99", 99))}
    return {"n": len(times), "others": len(bodies) - len(times), **spread}


# ── a stream ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Sums:
    """What came of a part of the stream."""

    asked: int = 0
    said: Counter[str] = field(default_factory=Counter)
    served: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    usd: float = 0.0
    times_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, one: Asked, said: str, reply: Any, usd: float, took_s: float) -> None:
        """One answer, held against the bench's own check."""
        hit = said in HITS
        self.asked, self.served, self.usd = self.asked + 1, self.served + hit, self.usd + usd
        self.said[said] += 1
        self.times_s.append(took_s)
        if reply.get("status") != "done":
            self.failed += 1
            return
        if reason := one.wrong(reply["answer"]["data"]):
            self.wrong["hits" if hit else "generated"] += 1
            self.notes.append(f"{one.family.name} ({said}): {reason}")

    def report(self) -> dict[str, Any]:
        n = max(1, self.asked)
        return {
            "asked": self.asked,
            "hit_rate": self.served / n,
            "said": dict(self.said),
            "wrong_hits": self.wrong["hits"],
            "wrong_generated": self.wrong["generated"],
            "not_answered": self.failed,
            "usd_each": self.usd / n,
            "p50_ms": 1000 * float(np.percentile(self.times_s, 50)) if self.times_s else None,
            "p95_ms": 1000 * float(np.percentile(self.times_s, 95)) if self.times_s else None,
            "wrong": self.notes[:10],
        }


def measure_families(seed: int, *, quick: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Learning on some wordings, then the stream of others; a tenth of it is generated as well, to compare."""
    learn, count, size = (40, 200, 50) if quick else (200, 2000, THOUSAND)
    rng = np.random.default_rng(seed)
    learned, measured, anew = Sums(), [Sums() for _ in range(-(-count // size))], Sums()
    with daemon(seed) as client:
        for one in stream(learn, rng, learning=True):
            learned.take(one, *client.ask(one.body))
        for number, one in enumerate(stream(count, rng, learning=False)):
            if number % size == 0:
                progress(f"families: {number} of {count}")
            measured[number // size].take(one, *client.ask(one.body))
            if number % 10 == 0:
                anew.take(one, *client.ask({**one.body, "cache": False}))
        _, stats = client.operator("GET", "/v1/library")
    last, wrong = measured[-1], sum(part.wrong["hits"] for part in measured)
    served = sum(part.served for part in measured)
    saved = 1 - (sum(part.usd for part in measured) / count) / (anew.usd / max(1, anew.asked)) if anew.usd else None
    found = {
        "learning": learned.report(),
        f"by_{size}": [part.report() for part in measured],
        "always_generating": anew.report(),
        "served": served,
        "wrong_served": wrong,
        "cost_saved": saved,
        "look_ups": stats["look_ups"],
    }
    goals = [
        at_most("families: wrong / served", wrong / served if served else None, 0.01, ""),
        at_least("families: hit rate at the end", last.served / max(1, last.asked), LEARNED_HITS, ""),
        at_least("families: cost saved against always generating", saved, SAVED, ""),
    ]
    return found, goals


# ── the article's weeks ─────────────────────────────────────────────────────────────────────────────────────────────────

_NORMAL = "Generate {n} {who} with a normal {what} distribution, mean {mean} and standard deviation {std}"
_BIMODAL = (
    "Generate {n} {who} with a bimodal {what} distribution, peaks at {low} and {high} and standard deviations of {std} and {std}"
)
WEEKS: tuple[tuple[str, str, str, str, int, dict[str, float]], ...] = (
    ("1", _NORMAL, "users", "age", 1000, {"mean": 40, "std": 9}),
    ("1, again", _NORMAL, "users", "age", 500, {"mean": 35, "std": 9}),
    ("2", _NORMAL, "employees", "age", 500, {"mean": 40, "std": 9}),
    ("4", _NORMAL, "customers", "salary", 2000, {"mean": 60_000, "std": 9_000}),
    ("12", _BIMODAL, "users", "age", 600, {"low": 25, "high": 60, "std": 4}),
    ("24", _BIMODAL, "users", "age", 800, {"low": 30, "high": 70, "std": 4}),
)


def measure_weeks(seed: int, *, quick: bool) -> tuple[dict[str, Any], list[Goal]]:
    """Each request with the tier, the decision, what it took, and whether it came out right."""
    rows = []
    with daemon(seed) as client:
        for week, words, who, column, count, values in WEEKS:
            text = words.format(n=count, who=who, what=column, **values)
            shape = {who: [{"id": "integer", column: "number"}]}
            body = {"prompt": text, "shape": shape, "count": count, "strategy": "code_augmented"}
            before = client.stored()
            said, reply, usd, took_s = client.ask(body)
            _, trace = client.operator("GET", f"/v1/requests/{reply['id']}") if "id" in reply else (0, {"events": []})
            looked: dict[str, Any] = next((event["data"] for event in trace["events"] if event["kind"] == "library"), {})
            if said not in HITS and reply.get("status") == "done":
                client.until(before + 1)
            rows.append(
                {
                    "week": week,
                    "request": text,
                    "similarity": looked.get("similarity"),
                    "tier": looked.get("tier"),
                    "steps": looked.get("steps"),
                    "decision": said,
                    "usd": usd,
                    "ms": round(1000 * took_s),
                    "correct": _wrong(reply, column, values) or "yes",
                }
            )
    right_ones = sum(row["correct"] == "yes" for row in rows)
    return {"replayed": rows}, [at_least("weeks: right answers", right_ones, len(WEEKS), f"of {len(WEEKS)}")]


def _wrong(reply: Any, column: str, values: dict[str, float]) -> str:
    if reply.get("status") != "done":
        return f"it is {reply.get('status')}"
    items = next(iter(reply["answer"]["data"].values()))
    x = np.array([item[column] for item in items], dtype=float)
    if "mean" in values:
        error = values["std"] / np.sqrt(len(x))
        off = abs(x.mean() - values["mean"]) > 4.5 * error or abs(x.std(ddof=1) - values["std"]) > 4.5 * error
        return f"mean {x.mean():.2f}, deviation {x.std(ddof=1):.2f}" if off else ""
    low = np.abs(x - values["low"]) < np.abs(x - values["high"])
    peaks = (float(x[low].mean()), float(x[~low].mean())) if 0.4 < low.mean() < 0.6 else (0.0, 0.0)
    off = abs(peaks[0] - values["low"]) > 1.5 or abs(peaks[1] - values["high"]) > 1.5
    return f"peaks at {peaks[0]:.1f} and {peaks[1]:.1f}" if off else ""
