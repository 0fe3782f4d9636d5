"""Texts of recorded data as vectors, worked out once: kept in the folder for temporary files, under a hash of the texts.

Called by reuse_data.py and routing_data.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ops.bench.report import progress
from registry.embedding import SentenceEmbedder, Vectors

_AT_ONCE = 1024


def embedded(texts: Sequence[str]) -> Vectors:
    """``(n, d) float32`` of unit length, in the order of ``texts``. Raises EmbeddingUnavailable without a model."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()[:24]
    kept = Path(tempfile.gettempdir()) / f"morphogen-bench-{digest}.npy"
    if kept.is_file():
        found: Vectors = np.load(kept)
        return found
    vectors = asyncio.run(_embed(texts))
    # Under another name until it is whole: a run that is cut off here must not leave half a file to the next one.
    part = kept.with_suffix(f".{os.getpid()}.npy")
    np.save(part, vectors)
    part.replace(kept)
    return vectors


async def _embed(texts: Sequence[str]) -> Vectors:
    # In order of length, so that a batch is padded little.
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    embedder = SentenceEmbedder()
    parts: list[Vectors] = []
    try:
        for start in range(0, len(order), _AT_ONCE):
            progress(f"embedding texts {start:,} of {len(order):,}")
            parts.append(await embedder.embed([texts[at] for at in order[start : start + _AT_ONCE]]))
    finally:
        await embedder.aclose()
    together = np.concatenate(parts)
    vectors = np.empty_like(together)
    vectors[order] = together
    return vectors
