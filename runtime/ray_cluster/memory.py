"""Measures live nodes and says which have outgrown their cap. Run by cluster.py beside everything else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from agents.records import AgentError
from runtime.ray_cluster.hosts import Host
from runtime.ray_cluster.table import Entry

_log = logging.getLogger(__name__)


async def watch_memory(
    entries: Callable[[], Sequence[Entry]],
    replace: Callable[[Entry, Host], None],
    *,
    poll_s: float,
    max_bytes: float,
    min_age_s: float,
) -> None:
    """Ask every live node what it holds, every ``poll_s``; one that holds more than ``max_bytes`` and is not younger than
    ``min_age_s`` is given to ``replace``. Until cancelled."""
    while True:
        await asyncio.sleep(poll_s)
        for entry in entries():
            host = entry.host
            if entry.state != "live" or host is None:
                continue
            try:
                entry.rss_bytes = (await host.status(timeout_s=poll_s)).rss_bytes
            except AgentError as error:
                _log.warning("%s does not say how it is: %s", host.name, error)
                continue
            young = time.monotonic() - entry.host_since < min_age_s
            if not young and (entry.rss_bytes or 0) > max_bytes:
                _log.warning("%s holds %d bytes and is replaced", host.name, entry.rss_bytes or 0)
                replace(entry, host)
