"""Forgets what is long over of the shape's past, now and then.

Run by controller.py beside its loop. What may go is the ledger's to know (runtime/ledger/topology_trim.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from runtime.controlling.book import Keep
from runtime.controlling.tools import Tools
from runtime.ledger.records import LedgerError

log = logging.getLogger(__name__)

TIDY_EVERY_S: Final = 3600.0
DAY_S: Final = 86_400.0


async def tidy_on(tools: Tools, clock: Callable[[], float], *, every_s: float = TIDY_EVERY_S) -> None:
    """Until cancelled. Not at once, and not after the time of day was set: a clock that is years ahead for a moment must not make
    all of the past too old."""
    before = tools.wall() - clock()
    while True:
        await asyncio.sleep(every_s)
        ahead = tools.wall() - clock()
        leapt, before = abs(ahead - before) > TIDY_EVERY_S, ahead
        if leapt:
            log.warning("the time of day was set: nothing is forgotten now")
            continue
        try:
            await tidy(tools)
        except LedgerError as error:
            log.error("what is long over is not forgotten: %s", error)


async def tidy(tools: Tools) -> int:
    """Forget revisions, proposals and rejections that are older, or more, than is kept; how many of the first two. Raises
    LedgerError."""
    settings, now = tools.settings, tools.wall()
    since, day = now - settings.keep_days * DAY_S, now // DAY_S * DAY_S
    gone = await tools.book.trim(Keep(revisions=settings.keep_revisions, proposals=settings.keep_proposals, since=since, day=day))
    tools.state.forget(since)
    if gone:
        log.info("%d revisions and proposals that are long over are forgotten", gone)
    return gone
