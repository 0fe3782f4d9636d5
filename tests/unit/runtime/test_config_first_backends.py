"""Which backends a daemon starts with, and what it says about it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agents.llm.simulated.profiles import PROFILES
from runtime.config.file import ConfigError
from runtime.config.settings import BackendSettings, Settings
from runtime.first_backends import FirstBackends, choose_backends, ollama_backends, parse_tags, simulated_backends

ALIASES = {"generator", "enricher", "validator", "fast", "quality", "premium"}


def ollama(*models: str) -> Callable[[], Awaitable[list[str]]]:
    async def probe() -> list[str]:
        return list(models)

    return probe


async def unasked() -> list[str]:
    raise AssertionError("Ollama must not be asked")


def choose(settings: Settings, probe: Callable[[], Awaitable[list[str]]] = unasked, **env: str) -> FirstBackends:
    return asyncio.run(choose_backends(settings, env=env, probe_ollama=probe))


def configured(**more: Any) -> Settings:
    on = BackendSettings(name="on", base_url="http://127.0.0.1:1/v1", model="m")
    off = BackendSettings(name="off", base_url="http://127.0.0.1:1/v1", model="m", enabled=False)
    return Settings(backends=(on, off), **more)


def names(backends: tuple[BackendSettings, ...]) -> set[str]:
    return {name for backend in backends for name in (backend.name, *backend.aliases)}


def test_configured_backends_come_first_and_disabled_ones_not_at_all(tmp_path: Path) -> None:
    found = choose(configured(), MORPHOGEN_GGUF=str(tmp_path / "none"))
    assert [backend.name for backend in found.backends] == ["on"]
    assert found.reason == "1 configured backend (on)."


def test_configured_pretenders_are_called_simulated() -> None:
    pretender = BackendSettings(name="p", kind="simulated")
    assert "all are simulated" in choose(Settings(backends=(pretender,))).reason
    mixed = choose(Settings(backends=(*configured().backends, pretender)))
    assert mixed.reason.endswith("simulated: p.")


def test_a_named_gguf_comes_next_and_answers_to_every_name(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF")
    found = choose(Settings(), MORPHOGEN_GGUF=str(file))
    (backend,) = found.backends
    assert (backend.name, backend.kind, backend.gguf) == ("local", "local", file)
    assert names(found.backends) == {"local"} | ALIASES
    assert "small.gguf" in found.reason
    assert "no backend is configured" in found.reason


def test_a_gguf_that_is_not_there_is_an_error_and_no_reason_to_pretend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MORPHOGEN_GGUF: there is no file"):
        choose(Settings(), MORPHOGEN_GGUF=str(tmp_path / "none.gguf"))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12])
def test_ollama_models_share_the_names_that_clients_use(count: int) -> None:
    models = [f"model{n}:{n + 1}b" for n in range(count)]
    found = choose(Settings(), ollama(*models))
    assert [backend.model for backend in found.backends] == models[:8]
    Settings(backends=found.backends)
    assert names(found.backends) >= ALIASES
    assert set(found.backends[0].aliases) >= {"fast", "generator"}
    assert set(found.backends[-1].aliases) >= {"premium", "validator"}
    assert "Ollama" in found.reason
    assert "simulated" not in found.reason


def test_odd_ollama_names_become_names_of_ours() -> None:
    found = ollama_backends(["hf.co/user/x:Q4", "hf.co user/x:Q4", "fast", "é"])
    Settings(backends=found)
    assert [backend.model for backend in found] == ["hf.co/user/x:Q4", "hf.co user/x:Q4", "fast", "é"]
    assert [backend.name for backend in found] == ["hf.co-user-x:Q4", "hf.co-user-x:Q4-2", "fast", "ollama"]


def test_small_models_are_not_asked_for_plans() -> None:
    small, large = ollama_backends(["qwen2.5:0.5b", "llama3.1:8b"])
    assert small.spec().capabilities == {"words", "json_schema"}
    assert "plan" in large.spec().capabilities


def test_a_simulated_backend_has_a_profile_whatever_its_name() -> None:
    assert BackendSettings(name="enricher", kind="simulated").spec().model == "enricher"
    assert BackendSettings(name="mine", kind="simulated").spec().model == "generator"
    assert BackendSettings(name="mine", kind="simulated", model="validator!fault=late").spec().model == "validator!fault=late"


def test_an_ollama_with_embedding_models_only_does_not_count() -> None:
    assert "simulated" in choose(Settings(), ollama("nomic-embed-text:latest", "all-minilm:22m")).reason


def test_without_anything_the_pool_is_simulated_and_says_so() -> None:
    found = choose(Settings(), ollama())
    assert [(backend.name, backend.aliases) for backend in found.backends] == [
        ("generator", ("fast",)),
        ("enricher", ("quality",)),
        ("validator", ("premium",)),
    ]
    assert all(backend.kind == "simulated" for backend in found.backends)
    assert "simulated" in found.reason
    assert "every configured backend is disabled" in choose(Settings(backends=configured().backends[1:]), ollama()).reason


def test_simulated_prices_and_skills_are_those_of_the_profiles() -> None:
    for backend in simulated_backends():
        profile = PROFILES[backend.model or ""]
        assert backend.input_usd_per_mtok == profile.input_usd_per_mtok
        assert backend.output_usd_per_mtok == profile.output_usd_per_mtok
        assert backend.spec().capabilities == frozenset(profile.capabilities)


def reply(models: Any, status: str = "HTTP/1.1 200 OK") -> bytes:
    return f"{status}\r\nContent-Type: application/json\r\n\r\n{json.dumps({'models': models})}".encode()


def test_tags_are_read_smallest_first_without_embedding_models() -> None:
    models = [
        {"name": "large", "size": 9},
        {"name": "small", "size": 2, "details": {"family": "llama"}},
        {"name": "vectors", "size": 1, "details": {"family": "nomic-bert"}},
        {"name": "unsized", "size": "?"},
    ]
    assert parse_tags(reply(models)) == ["unsized", "small", "large"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        reply([], status="HTTP/1.1 404 Not Found"),
        reply([{"size": 1}]),
        reply("text"),
        reply(None),
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 500_000,
        reply([{"name": "a"}]) + b" " * 2**20,
    ],
)
def test_what_is_no_ollama_gives_no_models(raw: bytes) -> None:
    assert parse_tags(raw) == []
