"""The real model, from the package that carries it, without network."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from sentence_transformers import SentenceTransformer

from registry.embedding import SentenceEmbedder, find_weights
from registry.records import EmbeddingUnavailable

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder() -> AsyncIterator[SentenceEmbedder]:
    one = SentenceEmbedder("all-MiniLM-L6-v2", None, 8)
    await one.load()
    yield one
    await one.aclose()


async def test_vectors_have_unit_length_and_meaning(embedder: SentenceEmbedder) -> None:
    texts = ["a cat sleeps on the sofa", "a kitten naps on the couch", "quarterly tax returns are due"]
    vectors = await embedder.embed(texts)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alike = vectors @ vectors.T
    assert alike[0, 1] > 0.5 > 0.3 > alike[0, 2]


async def test_batching_does_not_change_a_vector(embedder: SentenceEmbedder) -> None:
    texts = [f"text number {n} " + "and so on " * (n % 7) for n in range(20)]
    together = await embedder.embed(texts)
    at_once = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    assert np.allclose(together, np.concatenate(at_once), atol=1e-5)


async def test_tokens_are_counted_and_bounded(embedder: SentenceEmbedder) -> None:
    assert await embedder.count_tokens(["hello"]) == 3
    assert await embedder.count_tokens([]) == 0
    assert await embedder.count_tokens(["word " * 5000, "hello"]) == 256 + 3


async def test_odd_texts_get_vectors(embedder: SentenceEmbedder) -> None:
    vectors = await embedder.embed(["", "\x00\ud800", "日本語 🙂", "x" * 100_000])
    assert np.isfinite(vectors).all()


async def test_broken_weights_are_an_error_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(find_weights("all-MiniLM-L6-v2", None), folder)
    (folder / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!")
    one = SentenceEmbedder("mine", folder)
    with pytest.raises(EmbeddingUnavailable, match="cannot be loaded"):
        await one.load()
    assert not one.ready
    await one.aclose()


async def test_one_worker_thread_does_the_work(embedder: SentenceEmbedder) -> None:
    await asyncio.gather(*(embedder.embed(["a", "b"]) for _ in range(10)))
    assert sum(thread.name.startswith("embedding") for thread in threading.enumerate()) <= 2


async def test_vectors_are_those_of_the_library_in_full_precision(embedder: SentenceEmbedder) -> None:
    texts = ["how do I sort a list?", "Generate 500 users", "why " * 300, "", "日本語"]
    plain = SentenceTransformer(str(find_weights("all-MiniLM-L6-v2", None)), device="cpu", local_files_only=True)
    expected = plain.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    found = await embedder.embed(texts)
    assert (found * expected).sum(axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-3)
