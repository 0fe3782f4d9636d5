"""The connection to Ray: a local one of our own, or an existing cluster.

Used by cluster.py only. Ray's blocking calls run on one thread that lives exactly as long as the connection: Ray's processes are
tied by the kernel (PR_SET_PDEATHSIG) to the *thread* that started them, so a thread of a shared pool that ends early would take
the whole of Ray with it. Running there also keeps Ray from installing its own SIGTERM handler over the server's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import ray

from runtime.config import RaySettings

T = TypeVar("T")


class RayConnection:
    """One driver connection. ``start`` and ``stop`` are idempotent; a Ray that somebody else started is left running."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._thread: ThreadPoolExecutor | None = None
        self._owned = False

    async def start(self) -> None:
        """Connect, or start Ray on this machine. Raises ConnectionError when ``ray.address`` does not answer."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ray")
            await self.run(self._init)

    def _init(self) -> None:
        if ray.is_initialized():
            return
        logging.getLogger("ray").setLevel(logging.ERROR)
        options: dict[str, Any] = {"namespace": self._settings.namespace, "log_to_driver": False, "configure_logging": False}
        if self._settings.address is None:
            options |= {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": self._settings.object_store_bytes,
                "num_cpus": self._settings.num_cpus,
                "_metrics_export_port": None,
            }
        else:
            options["address"] = self._settings.address
        ray.init(**options)
        self._owned = True

    async def run(self, call: Callable[[], T]) -> T:
        """Run one of Ray's blocking calls on the connection's thread."""
        if self._thread is None:
            raise ConnectionError("not connected to Ray")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def stop(self) -> None:
        thread = self._thread
        if thread is None:
            return
        if self._owned:
            await self.run(ray.shutdown)
        self._owned = False
        self._thread = None
        thread.shutdown(wait=False)


def actor_class(plain: type, **options: Any) -> Any:
    """``plain`` as a class of actors. Typed as Any because Ray makes its methods at run time."""
    remote: Any = ray.remote
    return remote(**options)(plain)
