"""Vectors without a model: texts that share words and letters lie near each other. Pure and deterministic; called by app.py."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

SIZE = 256
MAX_TEXTS = 2048
MAX_CHARS = 32_000


def embed(text: str) -> list[float]:
    """A unit vector ``(256,)`` of hashed words and groups of three letters. No meaning beyond what is spelled."""
    vector = [0.0] * SIZE
    for part, weight in _parts(text[:MAX_CHARS].lower()):
        digest = hashlib.blake2b(part.encode(), digest_size=4).digest()
        place = int.from_bytes(digest[:2], "big") % SIZE
        vector[place] += weight if digest[2] & 1 else -weight
    norm = math.sqrt(sum(x * x for x in vector))
    return [x / norm for x in vector] if norm else [1.0] + [0.0] * (SIZE - 1)


def _parts(text: str) -> Iterator[tuple[str, float]]:
    for word in text.split():
        yield word, 1.0
        padded = f" {word} "
        for start in range(min(len(padded) - 2, 40)):
            yield padded[start : start + 3], 0.3
