"""What an operator can set, with its bounds. Every number carries its unit in its name.

``Settings`` is built by file.py from ``morphogen.toml`` and the environment (``MORPHOGEN_SERVER__PORT=5117``); this module
holds only the models and their defaults. config.schema.json in docs/ is generated from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agents.llm.chat import BackendSpec
from agents.llm.simulated.profiles import PROFILES
from agents.records import Capability
from runtime.config.committee import CommitteeSettings
from runtime.config.embedding import EmbeddingSettings
from runtime.config.library import LibrarySettings
from runtime.config.observe import ObserveSettings
from runtime.config.patterns import PatternSettings
from runtime.config.registry import RegistrySettings
from runtime.config.routers import RoutersSettings
from runtime.config.routing import RoutingSettings
from runtime.config.sandbox import SandboxSettings
from runtime.config.section import Section as _Section
from runtime.config.simulated import SimulatedSettings
from runtime.config.topology import TopologySettings

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Usd = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]

CAPABILITIES: frozenset[Capability] = frozenset({"plan", "critique", "code", "words", "json_schema"})


def _wrong(message: str, *setting: str | int) -> PydanticCustomError:
    """An error of a whole table or list that says which ``setting`` within it is wrong."""
    return PydanticCustomError("setting", "{message}", {"message": message, "setting": setting})


class ServerSettings(_Section):
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs keys."""
    port: int = Field(default=5116, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024, le=256 * 2**20)
    """Larger request bodies are answered 413."""
    max_json_depth: int = Field(default=64, ge=4, le=1000)
    """Deeper JSON is answered 400."""
    drain_s: Seconds = 10.0
    """How long Ctrl-C lets running requests finish."""
    require_client_key: bool = False
    """Ask for a client key on loopback too."""
    max_inflight: int = Field(default=2000, ge=1, le=100_000)
    """Requests worked on at once; more are answered 429."""


class DataSettings(_Section):
    dir: Path = Path("~/.local/share/morphogen")
    """Folder of the ledger, the operator key and logs."""
    retention_days: Annotated[float, Field(gt=0, le=3650)] = 30.0
    """Requests and events older than this are removed from the ledger."""
    max_ledger_bytes: int = Field(default=2 * 2**30, ge=2**20)
    """The oldest requests go first when the ledger grows beyond this."""
    flush_ms: Annotated[float, Field(gt=0, le=5000)] = 25.0
    """Group commit: how long an outcome waits for others to be written with it."""
    store_bodies: bool = True
    """Keep messages and answers (bounded) for the trace; false keeps only measures."""
    max_stored_chars: int = Field(default=16_384, ge=0, le=2**20)
    """Longer texts are cut in the ledger, and marked as cut."""


class RaySettings(_Section):
    address: str | None = None
    """An existing Ray cluster; none starts Ray on this machine."""
    namespace: Name = "morphogen"
    """The Ray namespace of this daemon's actors."""
    object_store_bytes: int = Field(default=80 * 2**20, ge=78_643_200)
    """Ray's object store; requests are small, so is this."""
    num_cpus: int | None = Field(default=None, ge=1)
    """CPUs that a local Ray is told of; none asks the machine."""
    lost_after_s: float = Field(default=3.0, ge=0.5, le=60, allow_inf_nan=False)
    """Ray is taken for gone when its head does not answer for so long; the daemon then begins anew."""


class ClusterSettings(_Section):
    kind: Literal["ray", "local"] = "ray"
    """ray: nodes are Ray actors. local: nodes live inside the daemon (tests, tiny machines)."""
    warm_nodes: int = Field(default=2, ge=0, le=64)
    """Blank actors kept ready, so that a node is live in milliseconds."""
    max_live_nodes: int = Field(default=16, ge=1, le=1000)
    """Cap of live nodes; the host enforces it."""
    max_node_memory_bytes: int = Field(default=2 * 2**30, ge=64 * 2**20)
    """A node's actor that grows beyond this is drained and replaced."""
    node_concurrency: int = Field(default=64, ge=1, le=1000)
    """Tasks that one node works on at once."""
    node_inbox: int = Field(default=512, ge=1, le=10_000)
    """Tasks that may wait for one node; more are refused."""
    node_attempts: int = Field(default=3, ge=1, le=10)
    """How often a request is handed to a node again when the node dies under it."""
    max_hops: int = Field(default=4, ge=1, le=16)
    """How often a node may ask another node on behalf of one request."""


class BackendSettings(_Section):
    name: Name
    """What clients call it."""
    kind: Literal["openai", "local", "simulated"] = "openai"
    """openai: any OpenAI-compatible URL. local: a GGUF file served here. simulated: the built-in pretender."""
    base_url: str | None = None
    """URL of an openai backend, with its /v1."""
    model: str | None = None
    """The model's name at the backend; simulated: the profile (none given: that of its name, else the first)."""
    gguf: Path | None = None
    """The model file of a local backend."""
    api_key: SecretStr | None = None
    """Secret, best as ${NAME} of an environment variable."""
    enabled: bool = True
    """A disabled backend is kept in the file and not used."""
    aliases: tuple[Name, ...] = ()
    """Other names that clients may use for it."""
    weight: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 1.0
    """Share of requests where nothing better is known."""
    max_output_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    """Cap of one answer; sent as max_tokens where the request has none."""
    context_tokens: int | None = Field(default=None, ge=128)
    """The model's context window."""
    max_concurrency: int = Field(default=16, ge=1, le=10_000)
    """Calls in flight at once, over all nodes."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Rate limit, over all nodes."""
    queue_limit: int = Field(default=256, ge=0, le=100_000)
    """Calls that may wait for a permit; more are refused."""
    queue_timeout_s: Seconds = 30.0
    """How long a call waits for a permit."""
    connect_timeout_s: Seconds = 5.0
    """Time to connect."""
    read_timeout_s: Seconds | None = None
    """Longest gap between two pieces of an answer. None given: 60, and for a local model total_timeout_s."""
    total_timeout_s: Seconds = 300.0
    """Longest time of one call."""
    input_usd_per_mtok: Usd = 0.0
    """Price of a million prompt tokens, in USD."""
    output_usd_per_mtok: Usd = 0.0
    """Price of a million completion tokens, in USD."""
    schema_mode: Literal["json_schema", "json_object", "none"] | None = None
    """How the backend takes a JSON Schema; none given: json_schema for local and simulated, none for openai."""
    capabilities: frozenset[Capability] | None = None
    """What it is good enough for: plan, critique, code, words, json_schema. None given: all but for a local model words."""
    continues: bool | None = None
    """It continues an assistant message at the end of the conversation (picks up a broken stream)."""
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    """Sent where the request has none."""

    @model_validator(mode="after")
    def _complete(self) -> BackendSettings:
        if self.kind == "openai":
            if not self.base_url or not self.base_url.startswith(("http://", "https://")):
                raise _wrong("base_url must be an http:// or https:// URL for kind = 'openai'", "base_url")
            if not self.model:
                raise _wrong("model is required for kind = 'openai'", "model")
        if self.kind == "simulated" and self.model and self.model.partition("!")[0] not in PROFILES:
            raise _wrong(f"a simulated model is one of {', '.join(PROFILES)}", "model")
        if self.base_url and not _names_a_host(self.base_url):
            raise _wrong("base_url names no host and port that can be asked", "base_url")
        return self

    def spec(self, *, base_url: str | None = None) -> BackendSpec:
        """The resolved record; ``base_url`` for kinds whose server the daemon starts itself."""
        default: frozenset[Capability] = frozenset({"words", "json_schema"}) if self.kind == "local" else CAPABILITIES
        return BackendSpec(
            name=self.name,
            kind=self.kind,
            base_url=(base_url or self.base_url or "").rstrip("/"),
            model=self.model or (self.name if self.kind != "simulated" or self.name in PROFILES else next(iter(PROFILES))),
            api_key=self.api_key.get_secret_value() if self.api_key else None,
            aliases=self.aliases,
            weight=self.weight,
            max_output_tokens=self.max_output_tokens,
            context_tokens=self.context_tokens,
            max_concurrency=self.max_concurrency,
            requests_per_minute=self.requests_per_minute,
            queue_limit=self.queue_limit,
            queue_timeout_s=self.queue_timeout_s,
            connect_timeout_s=self.connect_timeout_s,
            read_timeout_s=self.read_timeout_s or (self.total_timeout_s if self.kind == "local" else 60.0),
            total_timeout_s=self.total_timeout_s,
            input_usd_per_mtok=self.input_usd_per_mtok,
            output_usd_per_mtok=self.output_usd_per_mtok,
            schema_mode=self.schema_mode or ("none" if self.kind == "openai" else "json_schema"),
            capabilities=self.capabilities if self.capabilities is not None else default,
            continues=self.continues if self.continues is not None else self.kind == "simulated",
            temperature=self.temperature,
        )


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:  # a port that is none, a bracket that is not closed
        return False


class RetrySettings(_Section):
    enabled: bool = True
    """Try a failed call again."""
    max_attempts: int = Field(default=3, ge=1, le=10)
    """Calls to one backend for one ask, the first included."""
    base_delay_s: Annotated[float, Field(ge=0, le=60)] = 0.25
    """Full jitter: the n-th wait is uniform in 0 … base x 2^n."""
    max_delay_s: Annotated[float, Field(gt=0, le=600)] = 8.0
    """Longest wait, Retry-After included; a longer Retry-After moves on to the next backend."""


class BreakerSettings(_Section):
    enabled: bool = True
    """Let a failing backend rest."""
    failures: int = Field(default=5, ge=1, le=1000)
    """Failures in a row, or half of window calls, that open it."""
    window: int = Field(default=20, ge=2, le=10_000)
    """Calls that the failure share is taken over."""
    open_s: Seconds = 15.0
    """How long it rests before one probe is let through."""


class RequestSettings(_Section):
    default_deadline_s: Seconds = 120.0
    """Time for a request that names none."""
    max_deadline_s: Seconds = 900.0
    """Longest time that a request may ask for."""
    max_count: int = Field(default=10_000, ge=1, le=1_000_000)
    """Most items that one request may ask for."""
    items_per_call: int = Field(default=20, ge=1, le=1000)
    """Items asked of one reply; more are split over several."""
    parallel_calls: int = Field(default=4, ge=1, le=64)
    """Calls of one request in flight at once."""
    max_shape_depth: int = Field(default=16, ge=1, le=64)
    """Deepest shape or schema."""
    max_shape_fields: int = Field(default=500, ge=1, le=10_000)
    """Fields of a shape or schema, all levels together."""
    max_cache_variants: int = Field(default=100, ge=1, le=1000)
    """Largest $cache."""
    fallback: tuple[Name, ...] = ()
    """Order in which backends stand in for each other; none given: the order of the file."""


class JobSettings(_Section):
    max_queued: int = Field(default=10_000, ge=1, le=1_000_000)
    """Asynchronous requests that may wait; more are answered 429."""
    max_running: int = Field(default=16, ge=1, le=1000)
    """Asynchronous requests worked on at once."""
    items_per_part: int = Field(default=100, ge=1, le=10_000)
    """A longer list is made in parts of so many items, each written down as soon as it is there."""
    max_parallel_parts: int = Field(default=4, ge=1, le=64)
    """Parts of one list worked on at once."""
    part_attempts: int = Field(default=4, ge=1, le=20)
    """How often a part, or an asynchronous request that is none, may fail before it is given up."""
    retry_pause_s: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1.0
    """The first pause after a failure; each further one is twice as long, at most 30 s."""
    default_deadline_s: Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)] = 86_400.0
    """Time for an asynchronous request that names none, from its acceptance on, restarts included."""
    max_deadline_s: Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)] = 7 * 86_400.0
    """Longest time that an asynchronous request may ask for."""


Tokens = Annotated[int, Field(ge=0, le=10**15)]


class BudgetSettings(_Section):
    usd_per_day: Usd | None = None
    """Most that the daemon spends in a day (UTC), in USD; none given: no limit. 0 leaves only models that cost nothing."""
    tokens_per_day: Tokens | None = None
    """Most tokens in a day, prompts and answers together."""
    usd_per_request: Usd | None = None
    """Budget of a request that names none."""
    tokens_per_request: Tokens | None = None
    """Tokens of a request that names no budget of them."""
    key_usd_per_day: Usd | None = None
    """Most that each key spends in a day, where the key has no limit of its own. Callers without a key share one account."""
    key_tokens_per_day: Tokens | None = None
    """Most tokens that each key takes in a day."""
    assumed_completion_tokens: int = Field(default=2048, ge=16, le=1_000_000)
    """While a budget is in force: length of an answer that neither the request nor its backend caps; it is capped at this."""


class Settings(BaseSettings):
    """All of it. Built by ``config.file.load``; frozen, so that a reload makes a new one."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        env_prefix="MORPHOGEN_",
        env_nested_delimiter="__",
    )

    server: ServerSettings = ServerSettings()
    data: DataSettings = DataSettings()
    ray: RaySettings = RaySettings()
    cluster: ClusterSettings = ClusterSettings()
    backends: tuple[BackendSettings, ...] = ()
    """LLM endpoints; none given: what first_backends finds."""
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    requests: RequestSettings = RequestSettings()
    jobs: JobSettings = JobSettings()
    budget: BudgetSettings = BudgetSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    sandbox: SandboxSettings = SandboxSettings()
    registry: RegistrySettings = RegistrySettings()
    routing: RoutingSettings = RoutingSettings()
    routers: RoutersSettings = RoutersSettings()
    library: LibrarySettings = LibrarySettings()
    committee: CommitteeSettings = CommitteeSettings()
    topology: TopologySettings = TopologySettings()
    patterns: PatternSettings = PatternSettings()
    observe: ObserveSettings = ObserveSettings()
    simulated: SimulatedSettings = SimulatedSettings()
    strategies: dict[Name, Any] = Field(default_factory=dict)
    """Named strategies, as JSON of agents/strategies/compose.py; strategy/<name> picks one."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: ``file.py`` lays the environment over the file itself, to know what came from where."""
        return (init_settings,)

    @field_validator("backends")
    @classmethod
    def _names_are_unique(cls, backends: tuple[BackendSettings, ...]) -> tuple[BackendSettings, ...]:
        seen: set[str] = set()
        for index, backend in enumerate(backends):
            for name in (backend.name, *backend.aliases):
                if name in seen:
                    raise _wrong(f"two backends are called {name!r}", index, "name" if name == backend.name else "aliases")
                seen.add(name)
        return backends
