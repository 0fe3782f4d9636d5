"""Notices that Ray is gone: its head (GCS), or the raylet through which this driver reaches it.

Run by cluster.py for as long as it is connected. It knocks at their ports, because Ray's own client says nothing for a minute and
ends the process then. Must not import ray.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

POLL_S = 0.5
KNOCK_S = 2.0
"""How long a port may take to answer."""

Place = tuple[str, int]


def place_of(address: str) -> Place | None:
    """``host:port``, also behind ``ray://``; None for what Ray looks up itself (``auto``)."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None


async def answers(place: Place, *, within_s: float = KNOCK_S) -> bool:
    """Whether something listens there."""
    try:
        async with asyncio.timeout(within_s):
            _, writer = await asyncio.open_connection(*place)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def until_gone(places: Sequence[Place], *, after_s: float, poll_s: float = POLL_S) -> Place:
    """Return the place that did not answer for ``after_s`` seconds. Never returns while all of them answer."""
    clock = asyncio.get_running_loop().time
    heard = {place: clock() for place in places}
    while True:
        await asyncio.sleep(poll_s)
        for place in places:
            if await answers(place):
                heard[place] = clock()
            elif clock() - heard[place] >= after_s:
                return place
