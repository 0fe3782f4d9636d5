"""The servers that the daemon runs itself for backends of kind local and simulated: one child for each GGUF, one for the pool.

Called by daemon.py at start and stop, by live.py when the configuration changes. Turns BackendSettings into BackendSpecs whose
``base_url`` is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.llm.chat import BackendSpec
from agents.llm.child import ChildServer
from agents.llm.local import find_packaged_gguf, local_server
from agents.llm.simulated.launch import simulated_server
from runtime.config.file import ConfigError, Problem
from runtime.config.settings import BackendSettings
from runtime.config.simulated import SimulatedSettings

LOCAL_CONTEXT_TOKENS = 4096
LOCAL_PARALLEL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """What makes one local server differ from another."""

    name: str
    gguf: Path
    context_tokens: int
    parallel: int


_Wanted = _Local | SimulatedSettings
"""Equal wishes are served by one child."""


class BackendServers:
    """Children by what they were started for. ``update`` starts what is missing; what is not wanted any more runs on until
    ``retire``, because calls may be on their way to it. ``stop`` is idempotent."""

    def __init__(self) -> None:
        self._children: dict[_Wanted, ChildServer] = {}
        self._left: dict[_Wanted, int] = {}
        self._updates = 0

    async def update(self, backends: Sequence[BackendSettings], simulated: SimulatedSettings) -> tuple[BackendSpec, ...]:
        """The specs of ``backends``, whose servers are up. When it raises, nothing has changed: BackendUnreachable (a child
        does not come up), InvalidRequest (a file is no model), ConfigError (no file is named)."""
        wanted = {b.name: w for b in backends if (w := _wanted(b, simulated)) is not None}
        new = {w: _server(w) for w in dict.fromkeys(wanted.values()) if w not in self._children}
        started = await asyncio.gather(*(child.start() for child in new.values()), return_exceptions=True)
        failures = [result for result in started if isinstance(result, BaseException)]
        if failures:
            await asyncio.gather(*(child.stop() for child in new.values()))
            raise failures[0]
        self._children |= new
        self._updates += 1
        unwanted = set(self._children) - set(wanted.values())
        self._left = {child: self._left.get(child, self._updates) for child in unwanted}
        return tuple(
            backend.spec(base_url=self._children[wanted[backend.name]].base_url if backend.name in wanted else None)
            for backend in backends
        )

    @property
    def updates(self) -> int:
        """The number of the last update."""
        return self._updates

    async def retire(self, update: int) -> None:
        """Stop what was not wanted any more at the ``update``-th update or earlier, and has not been since."""
        gone = [wanted for wanted, left_at in self._left.items() if left_at <= update]
        children = [self._children.pop(wanted) for wanted in gone]
        for wanted in gone:
            del self._left[wanted]
        await asyncio.gather(*(child.stop() for child in children))

    async def stop(self) -> None:
        children, self._children, self._left = list(self._children.values()), {}, {}
        await asyncio.gather(*(child.stop() for child in children))


def _wanted(backend: BackendSettings, simulated: SimulatedSettings) -> _Wanted | None:
    """What has to run for ``backend``; None: somebody else runs it."""
    if backend.base_url or backend.kind == "openai":
        return None
    if backend.kind == "simulated":
        return simulated
    gguf = backend.gguf or find_packaged_gguf()
    if gguf is None:
        problem = Problem(
            setting=f"backends[{backend.name}].gguf", message="names no model file, and no packaged one is installed"
        )
        raise ConfigError((problem,))
    return _Local(
        name=backend.name,
        gguf=gguf.expanduser(),
        context_tokens=backend.context_tokens or LOCAL_CONTEXT_TOKENS,
        parallel=min(backend.max_concurrency, LOCAL_PARALLEL),
    )


def _server(wanted: _Wanted) -> ChildServer:
    if isinstance(wanted, SimulatedSettings):
        return simulated_server(seed=wanted.seed, speed=wanted.speed)
    return local_server(wanted.name, wanted.gguf, threads=None, context_tokens=wanted.context_tokens, parallel=wanted.parallel)
