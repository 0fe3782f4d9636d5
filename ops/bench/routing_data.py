"""Recorded outcomes for the replay of routing: who answered what how well at which price.

Called by ops/bench/routing.py. Reads a folder laid out like the recorded data.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ops.bench.embedded import embedded
from ops.bench.report import NoData, progress
from registry.embedding import Vectors
from registry.records import EmbeddingUnavailable
from runtime.routing.features import SHAPE, TEXT_DIMENSIONS, Point, point

Matrix = npt.NDArray[np.float64]

SETS = ("llmrouterbench240", "bfcl", "routerbench", "llmrouter", "zeroeval", "routerdc", "routellm")
MOST_ROWS = 4000
QUICK_ROWS = 1000
POOL = 10
READ_CHARS = 1000
"""So much of a prompt is embedded: the model reads no more than some hundred tokens, and the rest costs minutes."""
COVERED = 0.97
ROUTELLM_USD_PER_1M = {"gpt-4-1106-preview": 24.7, "mistralai/Mixtral-8x7B-Instruct-v0.1": 0.24}
CHARS_A_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """``score (n, m)`` from 0 to 1, ``cost (n, m)`` in USD or None, ``latency (n, m)`` in s (nan: not recorded) or None.

    A score that was not recorded is 0 (few are: see COVERED). ``point (n, d)``, ``embedding (n, 384)`` or None.
    ``pattern`` stands in for a text where none was recorded.
    """

    name: str
    models: tuple[str, ...]
    task: tuple[str, ...]
    score: Matrix
    cost: Matrix | None
    latency: Matrix | None
    point: Point
    embedding: Vectors | None
    pattern: tuple[str, ...] | None = None

    @property
    def n(self) -> int:
        return len(self.score)

    def taken(self, rows: npt.NDArray[np.intp]) -> Set:
        """These rows, in this order."""
        return replace(
            self,
            task=tuple(self.task[row] for row in rows),
            score=self.score[rows],
            cost=None if self.cost is None else self.cost[rows],
            latency=None if self.latency is None else self.latency[rows],
            point=self.point[rows],
            embedding=None if self.embedding is None else self.embedding[rows],
            pattern=None if self.pattern is None else tuple(self.pattern[row] for row in rows),
        )

    def only(self, models: Sequence[int], name: str) -> Set:
        """These models alone."""
        chosen = list(models)
        return replace(
            self,
            name=name,
            models=tuple(self.models[index] for index in chosen),
            score=self.score[:, chosen],
            cost=None if self.cost is None else self.cost[:, chosen],
            latency=None if self.latency is None else self.latency[:, chosen],
        )


def read(folder: Path | None, name: str, *, quick: bool) -> Set:
    """One set. Raises NoData with what is missing."""
    if folder is None:
        raise NoData("it needs --data DIR")
    path = folder / name / "outcomes.jsonl.gz"
    if not path.is_file():
        raise NoData(f"{path} is missing")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        # Files are in an order of hashes: a prefix is a fair sample.
        rows = [json.loads(line) for line in lines][: QUICK_ROWS if quick else MOST_ROWS]
    covered = Counter(model for row in rows for model in row["score"])
    least = 0.75 if name == "llmrouterbench240" else COVERED
    models = tuple(sorted(model for model, count in covered.items() if count >= least * len(rows)))
    texts = [row.get("prompt") or "" for row in rows]
    has_text = any(texts)
    embedding = _embedded(texts) if has_text else None
    vectors: Sequence[Any] = [None] * len(rows) if embedding is None else list(embedding)
    points = np.zeros((len(rows), SHAPE + TEXT_DIMENSIONS), dtype=np.float32)
    if has_text:
        points = np.stack([point(text, vector) for text, vector in zip(texts, vectors, strict=True)])
    return Set(
        name=name,
        models=models,
        task=tuple(row["task"] for row in rows),
        score=np.array([[float(row["score"].get(model, 0.0)) for model in models] for row in rows]),
        cost=_costs(folder, name, rows, models, texts),
        latency=_table(rows, "latency_s", models),
        point=points,
        embedding=embedding,
        pattern=None if has_text else tuple(row["task"] for row in rows),
    )


def _embedded(texts: Sequence[str]) -> Vectors | None:
    """None without a model: shape alone is used then."""
    try:
        return embedded([text[:READ_CHARS] for text in texts])
    except EmbeddingUnavailable as error:
        progress(f"without embeddings: {error}")
        return None


def _table(rows: Sequence[dict[str, Any]], column: str, models: Sequence[str]) -> Matrix | None:
    found = np.array([[(row.get(column) or {}).get(model, np.nan) for model in models] for row in rows], dtype=np.float64)
    return None if np.isnan(found).all() else found


def _costs(folder: Path, name: str, rows: Sequence[dict[str, Any]], models: Sequence[str], texts: Sequence[str]) -> Matrix | None:
    """What was recorded, else the list price of the prompt's tokens (the answer's were not recorded)."""
    recorded = _table(rows, "cost_usd", models)
    if recorded is not None:
        return recorded
    prices: dict[str, float] = {}
    if name == "routellm":
        prices = ROUTELLM_USD_PER_1M
    elif name == "llmrouter" and (folder / name / "models.json").is_file():
        listed = json.loads((folder / name / "models.json").read_text(encoding="utf-8"))
        prices = {model: float(each["usd_per_1m_in"]) for model, each in listed.items()}
    if not all(model in prices for model in models):
        return None
    tokens = np.array([len(text) / CHARS_A_TOKEN + 1 for text in texts])
    found: Matrix = tokens[:, None] * np.array([prices[model] for model in models]) / 1e6
    return found


def pool_of_ten(whole: Set) -> Set:
    """Ten models with a recorded cost: a ladder of evenly spaced ranks by mean cost, from the cheapest to the dearest."""
    if whole.cost is None:
        raise NoData(f"{whole.name} records no cost")
    mean_usd = whole.cost.mean(axis=0)
    ladder = [index for index in np.argsort(mean_usd, kind="stable").tolist() if not np.isnan(mean_usd[index])]
    ranks = np.unique(np.round(np.linspace(0, len(ladder) - 1, min(POOL, len(ladder)))).astype(int))
    return whole.only([ladder[rank] for rank in ranks], f"{whole.name}_10")
