"""The connection to Ray: a local one of our own, or an existing cluster.

Used by cluster.py only. Ray's blocking calls run on one thread that lives exactly as long as the connection: Ray's processes are
tied by the kernel (PR_SET_PDEATHSIG) to the *thread* that started them, so a thread of a shared pool that ends early would take
the whole of Ray with it. Running there also keeps Ray from installing its own SIGTERM handler over the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import ray

from runtime.config.settings import RaySettings
from runtime.ray_cluster.head import Place, place_of
from runtime.ray_cluster.reaper import Reaper

T = TypeVar("T")
_log = logging.getLogger(__name__)

CONNECT_S = 60.0
"""Ray itself waits for a cluster without end; a daemon that starts has to say what is wrong."""
RETRY_S = 1.0


class RayConnection:
    """One driver connection. ``start`` and ``stop`` are idempotent; a Ray that somebody else started is left running.

    ``patience_s``: so long a cluster at an address may take to come up; a head that was started again listens before it works.
    """

    def __init__(self, settings: RaySettings, *, patience_s: float = 0.0) -> None:
        self._settings = settings
        self._patience_s = patience_s
        self._thread: _OneThread | None = None
        self._owned = False
        self._reaper: Reaper | None = None

    async def start(self) -> None:
        """Connect, or start Ray on this machine. Raises ConnectionError: no answer, or nobody let in."""
        until = asyncio.get_running_loop().time() + self._patience_s
        while self._thread is None:
            try:
                await self._connect()
            except ConnectionError as error:
                if asyncio.get_running_loop().time() >= until:
                    raise
                _log.warning("%s; trying again", error)
                await asyncio.sleep(RETRY_S)

    async def _connect(self) -> None:
        self._thread = _OneThread("ray")
        try:
            async with asyncio.timeout(CONNECT_S):
                await self.run(self._init)
        except TimeoutError:
            self._thread = None  # it hangs in Ray; being a daemon thread, it does not keep the process
            raise ConnectionError(
                f"{self._named()} did not take us within {CONNECT_S:.0f} s: does it run the same version of Ray, and does it want"
                " a token (RAY_AUTH_MODE)?"
            ) from None
        except Exception as error:
            thread, self._thread = self._thread, None
            thread.end()
            if isinstance(error, OSError | ValueError | RuntimeError):
                raise ConnectionError(f"{self._named()}: {error}") from error
            raise

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
            _knock(self._settings.address)
            options["address"] = self._settings.address
        if self._settings.address is None:
            self._reaper = Reaper()
            with self._reaper.marking():
                started: Any = ray.init(**options)
            self._reaper.watch(started.address_info["session_dir"])
        else:
            ray.init(**options)
        self._owned = True

    def _named(self) -> str:
        return "Ray on this machine" if self._settings.address is None else f"ray.address {self._settings.address!r}"

    async def run(self, call: Callable[[], T]) -> T:
        """Run one of Ray's blocking calls on the connection's thread."""
        if self._thread is None:
            raise ConnectionError("not connected to Ray")
        return await asyncio.wrap_future(self._thread.submit(call))

    async def places(self) -> tuple[Place, ...]:
        """Where the head and our raylet listen; without them there is no Ray for us."""
        return await self.run(self._places)

    def _places(self) -> tuple[Place, ...]:
        address = self._settings.address
        if address is not None and address.startswith("ray://"):
            return tuple(filter(None, (place_of(address),)))
        context = ray.get_runtime_context()
        listed: Any = ray.nodes
        ours = [node for node in listed() if node["NodeID"] == context.get_node_id()]
        raylets = tuple((str(node["NodeManagerAddress"]), int(node["NodeManagerPort"])) for node in ours)
        return (*filter(None, (place_of(context.gcs_address),)), *raylets)

    async def stop(self, *, lost: bool = False) -> None:
        """``lost``: Ray is gone. It is not told good-bye, which may take for ever; what is left of a Ray of our own is ended."""
        thread = self._thread
        if thread is None:
            return
        if self._owned and not lost:
            await self.run(ray.shutdown)
        if self._reaper is not None:
            await asyncio.to_thread(self._reaper.stop)
            self._reaper = None
        self._owned = False
        self._thread = None
        thread.end()


class _OneThread:
    """Runs calls one after another. Its thread is a daemon, unlike an executor's: nothing ends a call that hangs in C++."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def settle() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(settle)
        return future

    def end(self) -> None:
        """Let the thread end once it has made the calls before this."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _knock(address: str) -> None:
    """Raise OSError at once when nothing listens at ``host:port``; other forms (``auto``) are for Ray to look up."""
    if (place := place_of(address)) is not None:
        with contextlib.closing(socket.create_connection(place, timeout=5.0)):
            pass


def actor_class(plain: type, **options: Any) -> Any:
    """``plain`` as a class of actors. Typed as Any because Ray makes its methods at run time."""
    remote: Any = ray.remote
    return remote(**options)(plain)
