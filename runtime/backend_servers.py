"""The servers that the daemon runs itself for backends of kind local and simulated: one child for each GGUF, one for the pool.

Called by daemon.py at start and stop. Turns BackendSettings into BackendSpecs whose ``base_url`` is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agents.llm.chat import BackendSpec
from agents.llm.child import ChildServer
from agents.llm.local import find_packaged_gguf, local_server
from agents.llm.simulated.launch import simulated_server
from runtime.config import BackendSettings, SimulatedSettings
from runtime.config_file import ConfigError, Problem

LOCAL_CONTEXT_TOKENS = 4096
LOCAL_PARALLEL = 2


class BackendServers:
    """Starts what ``backends`` need. ``start`` raises BackendUnreachable when a child does not come up, ConfigError for a GGUF
    that is not named; ``stop`` is idempotent."""

    def __init__(self, backends: Sequence[BackendSettings], simulated: SimulatedSettings) -> None:
        self._backends = tuple(backends)
        self._simulated = simulated
        self._children: list[ChildServer] = []

    async def start(self) -> tuple[BackendSpec, ...]:
        servers = {b.name: self._local(b) for b in self._backends if b.kind == "local" and not b.base_url}
        pool = [b for b in self._backends if b.kind == "simulated" and not b.base_url]
        if pool:
            shared = simulated_server(seed=self._simulated.seed, speed=self._simulated.speed)
            servers.update((backend.name, shared) for backend in pool)
        self._children = list(dict.fromkeys(servers.values()))
        await asyncio.gather(*(child.start() for child in self._children))
        return tuple(
            backend.spec(base_url=servers[backend.name].base_url if backend.name in servers else None)
            for backend in self._backends
        )

    async def stop(self) -> None:
        children, self._children = self._children, []
        await asyncio.gather(*(child.stop() for child in children))

    def _local(self, backend: BackendSettings) -> ChildServer:
        gguf = backend.gguf or find_packaged_gguf()
        if gguf is None:
            problem = Problem(
                setting=f"backends[{backend.name}].gguf", message="names no model file, and no packaged one is installed"
            )
            raise ConfigError((problem,))
        return local_server(
            backend.name,
            gguf.expanduser(),
            threads=None,
            context_tokens=backend.context_tokens or LOCAL_CONTEXT_TOKENS,
            parallel=min(backend.max_concurrency, LOCAL_PARALLEL),
        )
