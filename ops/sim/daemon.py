"""The daemon of a simulated month: its configuration, started in this process on the month's clock. Called by month.py.

Everything is the product's own: HTTP, dispatch, nodes in process, the simulated pool as a child process, the ledger on disk.
What the script sets otherwise than by default it sets because a month here is a few thousand requests: the rules look after a few
hours' traffic, and a change is on probation for days, not for an hour.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ops.sim.clock import Leaping
from runtime.config.file import load
from runtime.daemon import Daemon, running
from runtime.first_backends import simulated_backends
from runtime.reload import ConfigSource

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a network is made of: the folder of its configuration and data, the ``settings`` of a script as TOML, the pretenders'
    seed and speed."""

    folder: Path
    settings: str
    seed: int
    speed: float
    prices: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of backends whose prices are not the pretenders' own: USD for a million prompt and completion tokens."""

    def toml(self) -> str:
        """The configuration."""
        data = self.folder / "data"
        parts = [f'[server]\nport = 0\n[data]\ndir = "{data}"\n[cluster]\nkind = "local"\n']
        parts.append(f"[simulated]\nseed = {self.seed}\nspeed = {self.speed}\n{self.settings}\n")
        for each in simulated_backends():
            paid, got = self.prices.get(each.name, (each.input_usd_per_mtok, each.output_usd_per_mtok))
            parts.append(
                f'[[backends]]\nname = "{each.name}"\nkind = "simulated"\nmodel = "{each.model}"\n'
                f"input_usd_per_mtok = {paid}\noutput_usd_per_mtok = {got}\n"
            )
        return "".join(parts)

    def write(self) -> Path:
        """Put it into its file. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "morphogen.toml"
        path.write_text(self.toml(), encoding="utf-8")
        return path


class Network:
    """One running daemon, its clock, and an HTTP client that is its operator."""

    def __init__(self, daemon: Daemon, clock: Leaping, setup: Setup, http: httpx.AsyncClient) -> None:
        self.daemon, self.clock, self._setup, self._http = daemon, clock, setup, http

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, JSON)."""
        reply = await self._http.request(method, path, json=body)
        return reply.status_code, reply.json()

    async def charge(self, backend: str, prices: tuple[float, float]) -> None:
        """From now on ``backend`` costs so much: the file is changed and read again. Raises RuntimeError if it is not taken."""
        self._setup.prices[backend] = prices
        self._setup.write()
        result = await self.daemon.service.reload_config()
        if result.outcome == "invalid":
            raise RuntimeError(f"the changed prices were not taken: {result.summary}")

    async def spoil(self, backend: str, fault: str | None) -> None:
        """Every call of ``backend`` ends in ``fault`` from now on; None: no longer."""
        spec = next(spec for spec in self.daemon.service.pool.specs if spec.name == backend)
        order = {"model": spec.model, "fault": fault} | ({"times": 100_000} if fault else {})
        async with httpx.AsyncClient() as pretenders:
            reply = await pretenders.post(f"{spec.base_url.removesuffix('/v1')}/sim/faults", json=order)
            reply.raise_for_status()


@asynccontextmanager
async def network(setup: Setup) -> AsyncIterator[Network]:
    """A fresh network, ready for requests, for as long as the block runs. Raises ConfigError for settings that are none."""
    loaded, clock = load(setup.write(), env={}), Leaping()
    source = ConfigSource(loaded=loaded, read=lambda where: load(where, env={}))
    async with running(loaded.settings, source=source, clock=clock.clock) as daemon:
        key = daemon.operator_key_path.read_text(encoding="utf-8").strip()
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=daemon.url, headers=headers, timeout=TIMEOUT_S) as http:
            yield Network(daemon, clock, setup, http)
