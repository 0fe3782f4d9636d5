"""How long a look-up takes beside the embedding, and what an embedding costs alone and in a batch.

Called by ops/bench/solutions.py.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ops.bench.report import Goal, at_least, at_most
from registry.embedding import SentenceEmbedder, Vectors, unit_length
from registry.solution_records import Miss, Request, Solved
from registry.solutions import Library

SOLUTIONS = 20_000
DIMENSION = 384
BATCH = 64
_WORDS = ("how", "do", "I", "sort", "merge", "plan", "write", "cook", "in", "python", "a", "list", "of", "users", "cars", "fast")


class _Given:
    """An embedder that costs nothing: a text's number picks a vector that was made before."""

    model, ready = "given", True

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    async def load(self) -> None:
        return

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return self._vectors[[int(text.rsplit(" ", 1)[1]) for text in texts]]

    async def count_tokens(self, texts: Sequence[str]) -> int:
        return len(texts)

    async def aclose(self) -> None:
        return


def measure_speed(seed: int, *, quick: bool) -> tuple[dict[str, Any], list[Goal]]:
    return asyncio.run(_measure(seed, 300 if quick else 2000))


async def _measure(seed: int, look_ups: int) -> tuple[dict[str, Any], list[Goal]]:
    measured: dict[str, Any] = {"solutions": SOLUTIONS}
    near, exact = await _look_ups(seed, look_ups)
    measured["near_look_up_ms"] = _spread(near)
    measured["exact_look_up_ms"] = _spread(exact)
    single, batch = await _embeddings(20 if look_ups < 1000 else 60)
    measured["embedding_single_ms"] = _spread(single)
    measured["embedding_in_batch_ms_each"] = _spread([each / BATCH for each in batch])
    cheaper = statistics.median(single) / (statistics.median(batch) / BATCH)
    goals = [
        at_most(f"look-up over {SOLUTIONS:,} solutions beside the embedding, p99", measured["near_look_up_ms"]["p99"], 5.0, "ms"),
        at_most("one embedding, median", statistics.median(single), 10.0, "ms"),
        at_least(f"{BATCH} in one batch: how much cheaper each", cheaper, 5.0, "x"),
    ]
    return measured, goals


async def _look_ups(seed: int, count: int) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    # Half of what is asked lies near something stored, as in a library in use.
    stored = unit_length(rng.normal(size=(SOLUTIONS, DIMENSION)))
    new = unit_length(rng.normal(size=(count, DIMENSION)) * 0.02 + np.where(np.arange(count)[:, None] % 2, stored[:count], 0.0))
    library = Library(_Given(np.concatenate([stored, new])), rng=random.Random(seed))
    for at in range(SOLUTIONS):
        request = Request(text=_text(rng, at), tenant="bench")
        miss = Miss(reason="", vector=stored[at])
        await library.record(Solved(request=request, miss=miss, answer=f"answer {at}", complete=True, verified=True))
    near = [await _timed(library, Request(text=_text(rng, SOLUTIONS + at), tenant="bench")) for at in range(count)]
    known = [solution.request for solution in library.solutions(limit=count)]
    exact = [await _timed(library, Request(text=text, tenant="bench")) for text in known]
    return near, exact


def _text(rng: np.random.Generator, number: int) -> str:
    return " ".join([*rng.choice(_WORDS, 8).tolist(), str(number)])


async def _timed(library: Library, request: Request) -> float:
    begin = time.perf_counter()
    await library.look_up(request)
    return (time.perf_counter() - begin) * 1000


async def _embeddings(rounds: int) -> tuple[list[float], list[float]]:
    embedder = SentenceEmbedder()
    await embedder.load()
    rng = np.random.default_rng(0)
    texts = [_text(rng, at) for at in range(BATCH)]
    await embedder.embed(texts)
    single: list[float] = []
    batch: list[float] = []
    for at in range(rounds):  # alternating, so that both see the same machine
        for some, times in (([texts[at % BATCH]], single), (texts, batch)):
            begin = time.perf_counter()
            await embedder.embed(some)
            times.append((time.perf_counter() - begin) * 1000)
    await embedder.aclose()
    return single, batch


def _spread(times: Sequence[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(times, 50)), "p99": float(np.percentile(times, 99))}
