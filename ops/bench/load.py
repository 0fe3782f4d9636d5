"""A small HTTP load generator: open loop (fixed arrival rate, latency from the scheduled arrival) and closed loop.

Called by overhead.py. It speaks just enough HTTP/1.1 over asyncio streams, so that it costs little beside what it measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sample:
    """Latencies in seconds of the answers with status 200, in order of arrival, and how many others there were."""

    latencies_s: list[float] = field(default_factory=list)
    failed: int = 0
    wall_s: float = 0.0

    def percentile_ms(self, q: float) -> float | None:
        """Nearest-rank percentile, ``q`` in 0 … 1, in ms; None where nothing was answered: that is no answer in 0 ms."""
        if not self.latencies_s:
            return None
        ordered = sorted(self.latencies_s)
        return 1000.0 * ordered[min(len(ordered) - 1, int(q * len(ordered)))]

    def add(self, other: Sample) -> None:
        """Take in another round of the same line."""
        self.latencies_s.extend(other.latencies_s)
        self.failed += other.failed
        self.wall_s += other.wall_s

    @property
    def per_second(self) -> float:
        """Answers with status 200 a second."""
        return len(self.latencies_s) / self.wall_s if self.wall_s else 0.0


class Client:
    """Keep-alive connections to one address, as many as are needed at once."""

    def __init__(self, port: int, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._port = port
        self._bytes = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self) -> bool:
        """One request; True for status 200 with its whole body."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(self._bytes)
            head = await reader.readuntil(b"\r\n\r\n")
            await self._skip_body(reader, head.lower())
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            return False
        self._idle.append((reader, writer))
        return head.startswith(b"HTTP/1.1 200")

    @staticmethod
    async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
        if b"content-length:" in head:
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)

    def close(self) -> None:
        """Close idle connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def open_loop(client: Client, *, rate: float, seconds: float) -> Sample:
    """Requests leave at ``rate`` a second whatever happens to those before; a late answer is late from its scheduled time on."""
    sample = Sample()
    begin = time.perf_counter() + 0.05
    running: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        if await client.ask():
            sample.latencies_s.append(time.perf_counter() - due)
        else:
            sample.failed += 1

    for number in range(int(rate * seconds)):
        due = begin + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one(due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    sample.wall_s = time.perf_counter() - begin
    return sample


async def closed_loop(client: Client, *, workers: int, requests: int) -> Sample:
    """``workers`` ask again as soon as they are answered, ``requests`` in all: the throughput at saturation."""
    sample = Sample()
    left = requests

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            begin = time.perf_counter()
            if await client.ask():
                sample.latencies_s.append(time.perf_counter() - begin)
            else:
                sample.failed += 1

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    sample.wall_s = time.perf_counter() - begin
    return sample
