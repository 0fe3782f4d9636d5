"""What of a running daemon follows its configuration, and how it is exchanged without dropping a request.

Built by daemon.py; called by reload.py with a plan. Order is everything here: a new backend is known to the desk and to every
node before a client can name it; one that goes is unknown to clients before nodes forget it; and servers and permits of what
went stay until the requests that were running at that moment have ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence

from agents.llm.breaker import BreakerPolicy
from agents.llm.chat import BackendSpec
from agents.llm.http import HttpBackend
from agents.llm.retry import RetryPolicy
from agents.node import NodeKit
from runtime.backend_servers import BackendServers
from runtime.config.settings import Settings
from runtime.config.strategies import check_strategies
from runtime.first_backends import FirstBackends, choose_backends, probe_ollama
from runtime.hub import DaemonHub
from runtime.reload_plan import ReloadPlan
from runtime.service import DaemonService

log = logging.getLogger(__name__)

SETTLE_POLL_S = 0.25
SETTLE_GRACE_S = 30.0
"""So much longer than the longest request what went is kept."""


def breaker_policy(settings: Settings) -> BreakerPolicy:
    chosen = settings.breaker
    return BreakerPolicy(enabled=chosen.enabled, failures=chosen.failures, window=chosen.window, open_s=chosen.open_s)


def node_kit(settings: Settings, specs: Sequence[BackendSpec]) -> NodeKit:
    """What nodes work with under ``settings``."""
    retry = settings.retry
    return NodeKit(
        backends=tuple(specs),
        retry=RetryPolicy(
            enabled=retry.enabled,
            max_attempts=retry.max_attempts,
            base_delay_s=retry.base_delay_s,
            max_delay_s=retry.max_delay_s,
        ),
        fallback=settings.requests.fallback or tuple(spec.name for spec in specs),
        items_per_call=settings.requests.items_per_call,
        parallel_calls=settings.requests.parallel_calls,
        sandbox=settings.sandbox.setup(),
    )


class LiveParts:
    """Everything that a reload exchanges. ``choose`` finds backends where none is configured; ``found`` is what it found at
    start."""

    def __init__(
        self,
        *,
        service: DaemonService,
        hub: DaemonHub,
        servers: BackendServers,
        found: FirstBackends,
        kit: NodeKit,
        choose: Callable[[Settings], Awaitable[FirstBackends]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._hub = hub
        self._servers = servers
        self._found = found
        self._kit = kit
        self._choose = choose or _choose
        self._clock = clock
        self._leaving: dict[str, tuple[int, BackendSpec]] = {}
        self._settling: set[asyncio.Task[None]] = set()

    async def apply(self, plan: ReloadPlan) -> None:
        """Let ``plan.settings`` hold. Raises ConfigError or AgentError when they cannot, and then nothing has changed."""
        new = plan.settings
        check_strategies(new)
        found = await self._found_for(new)
        specs = await self._servers.update(found.backends, new.simulated)
        update = self._servers.updates
        removed = self._note_leaving(specs, update)
        self._service.desk.update((*specs, *self._leaving_specs()), breaker=breaker_policy(new))
        kit = node_kit(new, specs)
        if removed:
            await self._service.cluster_port.update(node_kit(new, (*specs, *removed)))
        elif kit != self._kit:
            await self._service.cluster_port.update(kit)
        self._exchange(new, found, kit)
        last = self._service.dispatch.running.last
        if removed:
            await self._service.cluster_port.update(kit)
        self._kit = kit
        task = asyncio.create_task(self._settle(update, last), name="reload settles")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def stop(self) -> None:
        """Leave what still settles as it is: the daemon ends."""
        for task in list(self._settling):
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)

    async def _found_for(self, new: Settings) -> FirstBackends:
        """What was found once is kept while nothing is configured: a reload does not look for another model by itself."""
        configured = any(backend.enabled for backend in new.backends)
        was_configured = any(backend.enabled for backend in self._service.settings.backends)
        return self._found if not configured and not was_configured else await self._choose(new)

    def _note_leaving(self, specs: Sequence[BackendSpec], update: int) -> tuple[BackendSpec, ...]:
        """Remember the backends that go with this update, and forget those that are back."""
        names = {spec.name for spec in specs}
        removed = tuple(spec for spec in self._kit.backends if spec.name not in names)
        for name in names & set(self._leaving):
            del self._leaving[name]
        self._leaving |= {spec.name: (update, spec) for spec in removed}
        return removed

    def _leaving_specs(self) -> list[BackendSpec]:
        return [spec for _, spec in self._leaving.values()]

    def _exchange(self, new: Settings, found: FirstBackends, kit: NodeKit) -> None:
        """In one go, without a turn of the event loop: no request sees half of it."""
        service = self._service
        service.pool.renew(kit.backends, make=HttpBackend, retry=kit.retry, fallback=kit.fallback)
        service.settings = new
        service.pool_reason = found.reason
        service.dispatch.renew(new)
        service.router.renew(new)
        if service.routers is not None:
            service.routers.desk.renew(new.routers)
        if self._hub.committees is not None:
            self._hub.committees.renew(new.committee)
        service.controller.renew(new)
        service.observing.renew(new.observe)
        service.cashier.purse.configure(new.budget)
        service.sandbox_desk.renew(new.sandbox.setup())
        self._hub.max_hops = new.cluster.max_hops
        self._found = found

    async def _settle(self, update: int, last: int) -> None:
        """Put away what went with the ``update``-th update, once the requests up to number ``last`` have ended."""
        service = self._service
        until = self._clock() + service.settings.requests.max_deadline_s + SETTLE_GRACE_S
        running = service.dispatch.running
        while (running.any_until(last) or service.pool.has_leaving) and self._clock() < until:  # noqa: ASYNC110 - two conditions
            await asyncio.sleep(SETTLE_POLL_S)
        for name in [name for name, (left_at, _) in self._leaving.items() if left_at <= update]:
            del self._leaving[name]
        service.desk.update((*self._kit.backends, *self._leaving_specs()))
        await self._servers.retire(update)


async def _choose(settings: Settings) -> FirstBackends:
    return await choose_backends(settings, env=os.environ, probe_ollama=probe_ollama)
