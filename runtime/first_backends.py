"""Which backends a daemon starts with: the configured ones, else what this machine has to offer, else the simulated pool.

Called once by daemon.py. The choice is made from what is passed in; ``probe_ollama`` below is the only part that does I/O.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.llm.simulated.profiles import PROFILES
from agents.records import Capability
from runtime.config.file import ConfigError, Problem
from runtime.config.settings import BackendSettings, Settings

OLLAMA_HOST = "127.0.0.1"
OLLAMA_PORT = 11_434
PROBE_TIMEOUT_S = 0.5
MAX_PROBE_BYTES = 2**20
MAX_OLLAMA_MODELS = 8

ROLES = ("generator", "enricher", "validator")
TIERS = ("fast", "quality", "premium")
"""Clients ask for a role of a pipeline or for a tier; the two lists belong together by position."""

_EMBEDDERS = ("embed", "minilm", "bge-", "arctic-embed")
_BILLIONS = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)
_SMALL: frozenset[Capability] = frozenset({"words", "json_schema"})
SMALL_BILLIONS = 1.0
"""Models below this write words and follow a schema; plans, critique and code are beyond them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstBackends:
    """The enabled backends, at least one, and which they are and why in one sentence."""

    backends: tuple[BackendSettings, ...]
    reason: str


async def choose_backends(
    settings: Settings, *, env: Mapping[str, str], probe_ollama: Callable[[], Awaitable[list[str]]]
) -> FirstBackends:
    """Configured backends > $MORPHOGEN_GGUF > an Ollama on loopback > the simulated pool.

    ``probe_ollama`` gives the names of the models, smallest first; none: no Ollama. Raises ConfigError when $MORPHOGEN_GGUF names
    no file.
    """
    enabled = tuple(backend for backend in settings.backends if backend.enabled)
    if enabled:
        names = ", ".join(backend.name for backend in enabled)
        pretended = [backend.name for backend in enabled if backend.kind == "simulated"]
        note = (
            ""
            if not pretended
            else "; all are simulated"
            if len(pretended) == len(enabled)
            else f"; simulated: {', '.join(pretended)}"
        )
        return FirstBackends(backends=enabled, reason=f"{_count(enabled, 'configured backend')} ({names}){note}.")
    why = "every configured backend is disabled" if settings.backends else "no backend is configured"
    if gguf := env.get("MORPHOGEN_GGUF"):
        file = _gguf_file(gguf)
        backend = BackendSettings(name="local", kind="local", gguf=file, aliases=(*ROLES, *TIERS))
        return FirstBackends(backends=(backend,), reason=f"The local model {file.name} that $MORPHOGEN_GGUF names; {why}.")
    models = [model for model in await probe_ollama() if not any(mark in model.lower() for mark in _EMBEDDERS)]
    if models:
        found = ollama_backends(models)
        names = ", ".join(backend.model or "" for backend in found)
        return FirstBackends(backends=found, reason=f"{_count(found, 'model')} of the Ollama on this machine ({names}); {why}.")
    reason = f"The simulated pool, whose answers are made up: {why}, $MORPHOGEN_GGUF is not set and no Ollama answers here."
    return FirstBackends(backends=simulated_backends(), reason=reason)


def ollama_backends(models: Sequence[str]) -> tuple[BackendSettings, ...]:
    """One backend a model, at most 8; the names that clients use are spread over them, ``fast`` on the first."""
    names: list[str] = []
    for model in models[:MAX_OLLAMA_MODELS]:
        base = re.sub(r"[^A-Za-z0-9._:-]+", "-", model).strip("._:-")[:56] or "ollama"
        name, number = base, 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names.append(name)
    last = len(names) - 1
    aliases: dict[str, list[str]] = {name: [] for name in names}
    for place, pair in zip((0, len(names) // 2, last), zip(ROLES, TIERS, strict=True), strict=True):
        aliases[names[min(place, last)]] += [alias for alias in pair if alias not in names]
    return tuple(
        BackendSettings(
            name=name,
            base_url=f"http://{OLLAMA_HOST}:{OLLAMA_PORT}/v1",
            model=model,
            schema_mode="json_schema",
            aliases=tuple(aliases[name]),
            capabilities=_SMALL if _is_small(model) else None,
            max_concurrency=4,
        )
        for name, model in zip(names, models, strict=False)
    )


def simulated_backends() -> tuple[BackendSettings, ...]:
    """Three pretended models: a cheap generator, an enricher and a dear validator."""
    return tuple(
        BackendSettings(
            name=role,
            kind="simulated",
            model=role,
            aliases=(tier,),
            input_usd_per_mtok=PROFILES[role].input_usd_per_mtok,
            output_usd_per_mtok=PROFILES[role].output_usd_per_mtok,
            capabilities=frozenset(PROFILES[role].capabilities),
        )
        for role, tier in zip(ROLES, TIERS, strict=True)
    )


def _gguf_file(name: str) -> Path:
    file = Path(name).expanduser()
    if not file.is_file():
        raise ConfigError((Problem(setting="MORPHOGEN_GGUF", message=f"there is no file {file}"),))
    return file


def _is_small(model: str) -> bool:
    sizes = [float(size) for size in _BILLIONS.findall(model)]
    return bool(sizes) and max(sizes) < SMALL_BILLIONS


def _count(backends: Sequence[BackendSettings], noun: str) -> str:
    return f"{len(backends)} {noun}{'' if len(backends) == 1 else 's'}"


# ── asking Ollama ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def probe_ollama(host: str = OLLAMA_HOST, port: int = OLLAMA_PORT, *, timeout_s: float = PROBE_TIMEOUT_S) -> list[str]:
    """The models of an Ollama on loopback, smallest first; empty where none answers in time or what answers is no Ollama.

    Plain HTTP/1.0 over a socket: one GET does not need a client, and the fence keeps httpx out of this room.
    """
    try:
        async with asyncio.timeout(timeout_s):
            raw = await _get(host, port, "/api/tags")
    except (OSError, TimeoutError):
        return []
    return parse_tags(raw)


async def _get(host: str, port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n\r\n".encode())
        await writer.drain()
        parts: list[bytes] = []
        size = 0
        while size <= MAX_PROBE_BYTES and (part := await reader.read(65_536)):
            parts.append(part)
            size += len(part)
        return b"".join(parts)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def parse_tags(raw: bytes) -> list[str]:
    """The chat models in a raw HTTP reply of ``/api/tags``, smallest first; empty for anything else."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if not re.match(rb"HTTP/1\.[01] 200\b", head) or len(raw) > MAX_PROBE_BYTES:
        return []
    try:
        models = json.loads(body)["models"]
        found = [(_size(model), str(model["name"])) for model in models if not _embeds(model)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [name for _, name in sorted(found)]


def _size(model: Mapping[str, Any]) -> int:
    size = model.get("size", 0)
    return size if isinstance(size, int) else 0


def _embeds(model: Mapping[str, Any]) -> bool:
    details = model.get("details") or {}
    return "bert" in str(details.get("family", "")).lower()
