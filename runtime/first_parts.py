"""Parts of the daemon that are built from the configuration alone: the ledger, the embedder. Called by daemon.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.strategies.compose import parse_strategy, to_json
from registry.embedding import Embedder, SentenceEmbedder
from runtime.config import Settings
from runtime.ledger.store import Ledger


async def open_ledger(settings: Settings, data: Path, wall: Callable[[], float]) -> Ledger:
    """The ledger in the folder ``data``; ``wall`` gives Unix seconds. Raises LedgerError."""
    return await Ledger.open(
        data / "ledger.sqlite",
        flush_ms=settings.data.flush_ms,
        retention_days=settings.data.retention_days,
        max_bytes=settings.data.max_ledger_bytes,
        store_bodies=settings.data.store_bodies,
        max_stored_chars=settings.data.max_stored_chars,
        clock=wall,
        encode=to_json,
        decode=lambda value: parse_strategy(value, named={}),
    )


def embedder_of(settings: Settings) -> Embedder | None:
    """The built-in model, not loaded yet; None where it is switched off."""
    chosen = settings.embedding
    return SentenceEmbedder(chosen.model, chosen.path, chosen.max_batch) if chosen.enabled else None
