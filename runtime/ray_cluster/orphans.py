"""What an earlier daemon of the same id left in the cluster: found by name, and killed.

Used by cluster.py at start. Actors of other daemons, which have other ids, are left alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from runtime.ray_cluster.connect import RayConnection, actor_class
from runtime.ray_cluster.hosts import SPARE_CALLS
from runtime.ray_cluster.mailbox import MAX_WAITING, Mailbox

_log = logging.getLogger(__name__)

NAMES_FREE_S = 5.0
"""How long a killed actor may keep its name."""


async def clean_mailbox(connection: RayConnection, *, namespace: str, daemon_id: str) -> tuple[Any, int]:
    """The daemon's mailbox, ready, where nothing of an earlier daemon of this id is left; and a number that no name ends in."""
    prefixes = (f"node:{daemon_id}:", f"mailbox:{daemon_id}:")
    first = await kill_orphans(connection, namespace=namespace, prefixes=prefixes)
    actor = actor_class(Mailbox, num_cpus=0, max_restarts=-1, max_concurrency=MAX_WAITING + SPARE_CALLS)
    name = f"mailbox:{daemon_id}:{first}"
    mailbox: Any = await connection.run(lambda: actor.options(name=name, namespace=namespace).remote())
    await mailbox.ready.remote()
    return mailbox, first


async def kill_orphans(connection: RayConnection, *, namespace: str, prefixes: tuple[str, ...]) -> int:
    """Kill the actors whose names begin with one of ``prefixes``. Returns a number that no name of theirs ends in."""
    first = 1
    until = time.monotonic() + NAMES_FREE_S
    while True:
        named = await connection.run(partial(ray.util.list_named_actors, all_namespaces=True))
        orphans = [row["name"] for row in named if row["namespace"] == namespace and row["name"].startswith(prefixes)]
        if not orphans or time.monotonic() > until:
            return first
        for name in orphans:
            number = name.rpartition(":")[2]
            first = max(first, int(number) + 1 if number.isdigit() else 1)
            await connection.run(partial(_kill, name, namespace))
        _log.info("killed %d actors of an earlier daemon", len(orphans))
        await asyncio.sleep(0.1)


def _kill(name: str, namespace: str) -> None:
    try:
        ray.kill(ray.get_actor(name, namespace=namespace), no_restart=True)
    except (ValueError, RayError):
        _log.debug("%s was gone already", name)
