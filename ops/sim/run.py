"""A month from an empty folder to its sums. Called by __main__.py and the integration test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ops.sim.clock import DAY_S, START
from ops.sim.daemon import Network, Setup, network
from ops.sim.month import Month, Played
from ops.sim.script import Script
from ops.sim.sums import changes, restless, weeks
from runtime.ledger.observing import ObservingLedger
from runtime.ledger.spend import SPENT_SQL
from runtime.ledger.store import Ledger
from runtime.topology.outcomes import Outcomes, joined
from runtime.topology.shape import MemberStep

PICO = 1e-12
PAGE = 100


async def run(script: Script, folder: Path, *, days: int, seed: int, speed: float) -> dict[str, Any]:
    """The month as JSON: ``weeks``, ``changes``, ``shape`` by day, ``events``, ``asked`` by kind, and what is simulated."""
    # As in the daemon: threads of small products wait for each other.
    with threadpool_limits(limits=1, user_api="blas"):
        async with network(Setup(folder=folder, settings=script.settings, seed=seed, speed=speed)) as net:
            played = await Month(net, script, days=days, seed=seed).play()
            return await _summed(net, played, days=days, seed=seed, speed=speed)


async def _summed(net: Network, played: Played, *, days: int, seed: int, speed: float) -> dict[str, Any]:
    ledger = net.daemon.service.ledger
    await ledger.flush()
    outcomes = await outcomes_in(ledger)
    told = changes(await proposals(net))
    spent = [await spent_usd(ledger, day) for day in range(days)]
    return {
        "simulated": True,
        "days": days,
        "seed": seed,
        "speed": speed,
        "took_s": round(played.took_s, 1),
        "asked": dict(played.asked),
        "refused": {str(status): n for status, n in played.failed.items()},
        "clients_say": None if not played.scored else round(float(np.mean(played.scored)), 4),
        "weeks": weeks(outcomes, days=days, shape=played.shape, roles=await roles(net), spent_usd=spent),
        "shape": played.shape,
        "events": played.events,
        "changes": told,
        "restless": restless(told),
    }


async def outcomes_in(ledger: Ledger) -> Outcomes:
    """All outcomes of clients' requests, as the control loop reads them. Raises LedgerError."""
    reads = ObservingLedger(ledger)
    pieces: list[Outcomes] = []
    key = 0
    while True:
        keys, piece = await reads.after(key, locale_of={})
        if not keys:
            break
        pieces.append(piece)
        key = keys[-1]
    return joined(pieces)


async def spent_usd(ledger: Ledger, day: int) -> float:
    """All that was spent on a day, also what no outcome tells of (judges)."""
    rows = await ledger.reader.execute_fetchall(SPENT_SQL, (int(START // DAY_S) + day,))
    return sum(float(row["usd_pico"]) for row in rows) * PICO


async def proposals(net: Network) -> list[dict[str, Any]]:
    """All of them, page by page."""
    found: list[dict[str, Any]] = []
    before = ""
    while True:
        _, page = await net.call("GET", f"/v1/proposals?limit={PAGE}{before}")
        fresh = [each for each in page["data"] if each["id"] not in {one["id"] for one in found}]
        found += fresh
        if len(page["data"]) < PAGE or not fresh:
            return found
        before = f"&before={min(float(each['created_at']) for each in fresh)!r}"


async def roles(net: Network) -> dict[str, str]:
    """The role of each node that is or was there, by name."""
    controller = net.daemon.service.controller
    found: dict[str, str] = {member.spec.name: member.spec.role for member in controller.topology.members.values()}
    for case in await controller.tools.book.cases(status=None, limit=1000, before=None):
        steps = (step for step in (*case.plan.apply, *case.plan.finish) if isinstance(step, MemberStep))
        for member in (each for step in steps for each in (step.before, step.after) if each is not None):
            found.setdefault(member.spec.name, member.spec.role)
    return found
