"""A backend that follows a script, and an admission that counts: for every test that needs a model without a network.

A step of the script is a text (one whole answer), an error to raise, a list of pieces of a stream (texts, Chunks, or an
error in mid-stream), or HANG (silent until it is cancelled). When the script is over, the last step repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from agents.calls import CallRecord, Permit, Usage
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest, Chunk
from agents.records import NotFound

HANG = object()

USAGE = Usage(prompt_tokens=10, completion_tokens=5)


class ScriptedBackend:
    """``agents.llm.chat.Backend`` by script. ``requests`` are the requests it got; ``active`` and ``peak`` count its calls."""

    def __init__(self, spec: BackendSpec | str, *script: Any) -> None:
        self.spec = BackendSpec(name=spec, model=f"{spec}-model") if isinstance(spec, str) else spec
        self.script = list(script) or [f"answer of {self.spec.name}"]
        self.requests: list[ChatRequest] = []
        self.timeouts_s: list[float] = []
        self.active = 0
        self.peak = 0
        self.cancelled = 0
        self.closed = False

    async def chat(self, request: ChatRequest, *, timeout_s: float) -> ChatReply:
        with self._call(request, timeout_s) as step:
            await asyncio.sleep(0)
            if step is HANG:
                await asyncio.Event().wait()
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, ChatReply):
                return replace(step, backend=self.spec.name)
            text = step if isinstance(step, str) else "".join(piece for piece in step if isinstance(piece, str))
            message = {"role": "assistant", "content": text}
            return ChatReply(text=text, model=self.spec.model, usage=USAGE, message=message, backend=self.spec.name)

    async def stream(self, request: ChatRequest, *, timeout_s: float) -> AsyncIterator[Chunk]:
        with self._call(request, timeout_s) as step:
            await asyncio.sleep(0)
            if step is HANG:
                await asyncio.Event().wait()
            if isinstance(step, BaseException):
                raise step
            yield Chunk(delta={"role": "assistant", "content": ""}, model=self.spec.model)
            for piece in [step] if isinstance(step, str) else step:
                await asyncio.sleep(0)
                if piece is HANG:
                    await asyncio.Event().wait()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece if isinstance(piece, Chunk) else Chunk(text=piece, delta={"content": piece}, model=self.spec.model)
            yield Chunk(delta={}, finish_reason="stop", model=self.spec.model)
            yield Chunk(usage=USAGE)

    async def embed(self, texts: Sequence[str], *, timeout_s: float) -> tuple[list[list[float]], Usage]:
        with self._call(ChatRequest(messages=()), timeout_s) as step:
            await asyncio.sleep(0)
            if isinstance(step, BaseException):
                raise step
            return [[float(len(text)), 1.0] for text in texts], Usage(prompt_tokens=len(texts))

    async def aclose(self) -> None:
        self.closed = True

    def _call(self, request: ChatRequest, timeout_s: float) -> _Counted:
        self.requests.append(request)
        self.timeouts_s.append(timeout_s)
        return _Counted(self, self.script.pop(0) if len(self.script) > 1 else self.script[0])


class _Counted:
    def __init__(self, backend: ScriptedBackend, step: Any) -> None:
        self._backend = backend
        self._step = step

    def __enter__(self) -> Any:
        self._backend.active += 1
        self._backend.peak = max(self._backend.peak, self._backend.active)
        return self._step

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._backend.active -= 1
        if kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self._backend.cancelled += 1


class OpenAdmission:
    """Admission without limits. ``out`` are the permits that are out; ``records`` what came back with them."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._count = 0
        self.out: dict[str, Permit] = {}
        self.records: list[CallRecord | None] = []
        self.refuse: dict[str, Exception] = {}

    async def lease(self, backend: str, *, holder: str, wait_s: float) -> Permit:
        if backend in self.refuse:
            raise self.refuse[backend]
        if self._names and backend not in self._names:
            raise NotFound(f"there is no backend {backend!r}", param="model")
        return self.grant(backend)

    def grant(self, backend: str) -> Permit:
        self._count += 1
        permit = Permit(permit_id=str(self._count), backend=backend)
        self.out[permit.permit_id] = permit
        return permit

    def release(self, permit: Permit, record: CallRecord | None) -> None:
        if self.out.pop(permit.permit_id, None) is not None:
            self.records.append(record)
