"""The port to a language model: what one call is, what comes back, and what a backend promises.

Called by pool.py and structured.py; implemented by http.py. Knows nothing of nodes, strategies or the daemon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from agents.calls import Usage
from agents.records import Capability, Json

SchemaMode = Literal["json_schema", "json_object", "none"]
BackendKind = Literal["openai", "local", "simulated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """One LLM endpoint + model, resolved from configuration. Prices are USD per million tokens.

    ``base_url`` ends in ``/v1`` without a slash. ``continues`` declares that the backend continues an assistant message that
    ends the conversation, so that a broken stream can be picked up. ``api_key`` is never shown: ``repr`` leaves it out.
    """

    name: str
    kind: BackendKind = "openai"
    base_url: str = ""
    model: str = ""
    api_key: str | None = field(default=None, repr=False)
    aliases: tuple[str, ...] = ()
    weight: float = 1.0
    max_output_tokens: int | None = None
    context_tokens: int | None = None
    max_concurrency: int = 16
    requests_per_minute: int | None = None
    queue_limit: int = 256
    queue_timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    total_timeout_s: float = 300.0
    input_usd_per_mtok: float = 0.0
    output_usd_per_mtok: float = 0.0
    schema_mode: SchemaMode = "none"
    capabilities: frozenset[Capability] = frozenset({"words"})
    continues: bool = False
    temperature: float | None = None

    @property
    def simulated(self) -> bool:
        return self.kind == "simulated"

    @property
    def is_free(self) -> bool:
        """It costs no money, so no budget of money ever stands in its way."""
        return self.input_usd_per_mtok <= 0 and self.output_usd_per_mtok <= 0

    def cost_usd(self, usage: Usage) -> float:
        """Price of ``usage`` in USD: tokens x USD per million tokens."""
        return (usage.prompt_tokens * self.input_usd_per_mtok + usage.completion_tokens * self.output_usd_per_mtok) / 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One conversation to complete. ``params`` are OpenAI parameters passed through; ``schema`` asks for JSON of that form."""

    messages: tuple[Mapping[str, Json], ...]
    params: Mapping[str, Json] = field(default_factory=dict)
    schema: Mapping[str, Json] | None = None
    schema_name: str = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """A whole answer of one call. ``choices`` are the backend's raw choices, so that nothing it said is lost."""

    text: str
    model: str
    usage: Usage
    finish_reason: str = "stop"
    message: Mapping[str, Json] = field(default_factory=dict)
    choices: tuple[Mapping[str, Json], ...] = ()
    backend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One piece of a streamed answer: a raw OpenAI delta (``index`` of its choice), a finish reason, or the usage.

    ``logprobs`` are the choice's, as they came. A stream that ended well gave its usage in its last chunk.
    ``restart`` True says that what was streamed so far is void and the answer begins again.
    """

    text: str = ""
    delta: Mapping[str, Json] | None = None
    index: int = 0
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str = ""
    restart: bool = False
    logprobs: Json = None


class Backend(Protocol):
    """One endpoint. Raises only errors of ``agents.records.BackendError`` (and ``asyncio.CancelledError``)."""

    spec: BackendSpec

    async def chat(self, request: ChatRequest, *, timeout_s: float) -> ChatReply: ...

    def stream(self, request: ChatRequest, *, timeout_s: float) -> AsyncIterator[Chunk]: ...

    async def embed(self, texts: Sequence[str], *, timeout_s: float) -> tuple[list[list[float]], Usage]: ...

    async def aclose(self) -> None: ...
