"""One conversation with a child: the run as bytes, the answer as a RunResult, and why there is none.

Called by runner.py and held.py, in the caller's process. All that comes from a child is hostile: wire.py reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import signal
import time
from dataclasses import dataclass

from sandbox import wire
from sandbox.link import Lease
from sandbox.records import MAX_INPUT_BYTES, MAX_SOURCE_BYTES, Json, Limits, Measures, Problem, RunResult

_GRACE_S = 0.1
_SCIENTIFIC = re.compile(r"\bscipy\b")
_READ_BYTES = 1 << 18
_ENDS = {
    signal.SIGSYS: "it made a system call that is forbidden here",
    signal.SIGSEGV: "its process broke (a fault of memory, or recursion far too deep)",
    signal.SIGBUS: "its process broke (a fault of memory)",
    signal.SIGABRT: "its process gave up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One run, ready to be sent. ``key`` is the code's hash; ``scientific`` when it needs the zygote that has scipy."""

    source: bytes
    inputs: bytes
    key: bytes
    scientific: bool


def needs_scipy(code: str) -> bool:
    """Whether ``code`` must run in the zygote that has scipy loaded."""
    return _SCIENTIFIC.search(code) is not None


def prepare(code: str, inputs: Json) -> Payload | RunResult:
    """The run as bytes, or why it cannot be one."""
    source = code.encode("utf-8", "surrogatepass")
    if len(source) > MAX_SOURCE_BYTES:
        reason = f"the source has {len(source)} bytes; at most {MAX_SOURCE_BYTES}"
        return RunResult(problem=Problem.REJECTED, error=reason)
    encoded = encode_inputs(inputs)
    if isinstance(encoded, RunResult):
        return encoded
    return Payload(source=source, inputs=encoded, key=hashlib.sha256(source).digest(), scientific=needs_scipy(code))


def encode_inputs(inputs: Json) -> bytes | RunResult:
    try:
        encoded = json.dumps(inputs, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        return RunResult(problem=Problem.NOT_SERIALISABLE, error=f"the inputs are not JSON: {error}")
    if len(encoded) > MAX_INPUT_BYTES:
        reason = f"the inputs have {len(encoded)} bytes as JSON; at most {MAX_INPUT_BYTES}"
        return RunResult(problem=Problem.NOT_SERIALISABLE, error=reason)
    return encoded


class Talk:
    """The conversation with one child. ``compiled`` holds the code as the child compiled it, once it has."""

    def __init__(self, lease: Lease, output_bytes: int) -> None:
        self._lease = lease
        self._output_bytes = output_bytes
        self.compiled: bytes | None = None

    async def run(self, payload: Payload, compiled: bytes | None, deadline: float) -> RunResult | None:
        """Send the code and its inputs. None when the stream ended without an answer."""
        kind, code = (wire.RUN_SOURCE, payload.source) if compiled is None else (wire.RUN_COMPILED, compiled)
        return await self.ask(wire.request(kind, code, payload.inputs, self._output_bytes), deadline)

    async def call(self, inputs: bytes, deadline: float) -> RunResult | None:
        """Another call of the function that the child holds already."""
        return await self.ask(wire.request(wire.CALL, b"", inputs, self._output_bytes), deadline)

    async def ask(self, frame: bytes, deadline: float) -> RunResult | None:
        reader = wire.Reader(self._output_bytes)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.perf_counter())):
                return _told(await self._exchange(frame, reader))
        except TimeoutError:
            return RunResult(problem=Problem.TIMED_OUT, error="it did not end within the wall-clock limit")
        except wire.TooMuch:
            reason = f"the result has more than {self._output_bytes} bytes as JSON"
            return RunResult(problem=Problem.OUTPUT_TOO_LARGE, error=reason)
        except wire.Garbled:
            return RunResult(problem=Problem.CRASHED, error="its process sent what is no answer")
        finally:
            self.compiled = reader.compiled

    async def _exchange(self, frame: bytes, reader: wire.Reader) -> wire.Answer | None:
        loop = asyncio.get_running_loop()
        sock = self._lease.sock
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await loop.sock_sendall(sock, frame)
        while True:
            try:
                data = await loop.sock_recv(sock, _READ_BYTES)
            except ConnectionResetError:
                return None
            if not data:
                return None
            answer = reader.feed(data)
            if answer is not None:
                return answer


def _told(answer: wire.Answer | None) -> RunResult | None:
    if answer is None:
        return None
    return RunResult(
        value=answer.value,
        problem=answer.problem,
        error=answer.error,
        line=answer.line,
        stdout=answer.stdout,
        stdout_cut=answer.cut,
    )


async def measured(lease: Lease) -> Measures | None:
    try:
        async with asyncio.timeout(_GRACE_S):
            return await asyncio.shield(lease.ended)
    except (TimeoutError, asyncio.CancelledError):
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return None


def why_it_ended(measures: Measures | None, limits: Limits, deadline: float) -> RunResult:
    """For a child that ended without an answer."""
    how = measures.signal if measures else 0
    if how == signal.SIGXCPU or (measures is not None and measures.cpu_s >= limits.cpu_s):
        return RunResult(problem=Problem.TIMED_OUT, error="it used more CPU time than the limit")
    if time.perf_counter() >= deadline:
        return RunResult(problem=Problem.TIMED_OUT, error="it did not end within the wall-clock limit")
    return RunResult(
        problem=Problem.CRASHED, error=_ENDS.get(signal.Signals(how), "its process ended") if how else "its process ended"
    )
