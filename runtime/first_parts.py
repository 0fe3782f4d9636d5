"""Parts of the daemon that are built first: the ledger, the embedder, the nodes' cluster. Called by daemon.py."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agents.node import NodeKit, build_node
from agents.records import NodeId, TaskId
from agents.strategies.compose import parse_strategy, to_json
from registry.embedding import Embedder, SentenceEmbedder
from runtime.again import Again
from runtime.clock import Clock
from runtime.cluster import Cluster
from runtime.config.settings import Settings
from runtime.hub import DaemonHub
from runtime.ledger.store import Ledger
from runtime.local_cluster import LocalCluster

log = logging.getLogger("morphogen")


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


def cluster_of(settings: Settings, kit: NodeKit, hub: DaemonHub, again: Again, clock: Clock) -> Cluster:
    """Where nodes live. Not started. One data folder's actors have one daemon's names, whoever runs it."""
    daemon_id = hashlib.sha256(str(settings.data.dir.expanduser().resolve()).encode()).hexdigest()[:12]

    def on_node_lost(node: NodeId, tasks: tuple[TaskId, ...]) -> None:
        log.warning("node %s died with %d tasks", node, len(tasks))
        for task in tasks:
            hub.cashier.release_all(task)

    if settings.cluster.kind == "local":
        build = partial(build_node, wall=clock.wall)
        return LocalCluster(kit=kit, hub=hub, settings=settings.cluster, build=build, on_node_lost=on_node_lost, wall=clock.wall)
    # Half a second and much memory, which "local" is there to save.
    from runtime.ray_cluster.cluster import RayCluster

    return RayCluster(
        kit=kit,
        hub=hub,
        settings=settings.cluster,
        ray=settings.ray,
        daemon_id=daemon_id,
        on_node_lost=on_node_lost,
        on_gone=again.gone.set,
        patience_s=again.patience_s,
    )
