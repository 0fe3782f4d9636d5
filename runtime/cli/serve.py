"""``morphogen serve``: flags over the configuration, then the daemon in the foreground.

Called by main.py. The only module of the command line that loads the daemon, and only when it is to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from threadpoolctl import threadpool_limits

from runtime.cli import tables
from runtime.cli.config import loaded_or_error
from runtime.cli.errors import CliError
from runtime.config.file import ConfigError, LoadedConfig, Problem, load
from runtime.config.settings import Settings

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line says; None leaves the configuration's value."""

    config: Path | None = None
    host: str | None = None
    port: int | None = None
    data_dir: Path | None = None
    cluster: Literal["ray", "local"] | None = None
    log_level: LogLevel = "warning"


def run(flags: Flags) -> None:
    """Load the configuration, lay the flags over it, run the daemon until it is stopped. Raises CliError. Where the daemon must
    begin anew, this process does: same id, same arguments."""
    env, began = dict(os.environ), time.monotonic()
    loaded = loaded_or_error(flags.config)
    settings = with_flags(loaded.settings, flags)
    logging.basicConfig(level=flags.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    aside = tables.console(stderr=True)
    for warning in loaded.warnings:
        aside.print(f"warning: {warning}", soft_wrap=True)
    with aside.status("Starting …"):
        from runtime import again, daemon  # deferred: it loads Ray, which takes seconds that a wrong flag need not cost
        from runtime.reload import ConfigSource

    def on_ready(message: str) -> None:
        print(ready_text(message, config_path=loaded.path), flush=True)

    # The daemon's products are small: BLAS threads that wait for each other make them several times slower, and take the cores.
    threadpool_limits(limits=1, user_api="blas")
    with _explained(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        source = ConfigSource(loaded=replace(loaded, settings=settings), read=partial(_read_again, flags))
        before = again.begun(os.environ)
        anew = runner.run(daemon.serve(settings, source=source, again=before, on_ready=on_ready))
    if anew:
        again.begin(before, env=env, lived_s=time.monotonic() - began)


def _read_again(flags: Flags, path: Path | None) -> LoadedConfig:
    """What ``path`` says now, with the flags of the start over it. Raises ConfigError."""
    loaded = load(path)
    try:
        return replace(loaded, settings=with_flags(loaded.settings, flags))
    except CliError as error:
        raise ConfigError((Problem(setting="", message=error.message, path=loaded.path),)) from None


def with_flags(settings: Settings, flags: Flags) -> Settings:
    """``settings`` with what the flags say, checked as the file is. Raises CliError that names the flag."""
    server: dict[str, Any] = {"host": flags.host, "port": flags.port}
    return settings.model_copy(
        update={
            "server": _rebuilt(settings.server, server),
            "data": _rebuilt(settings.data, {"dir": flags.data_dir}),
            "cluster": _rebuilt(settings.cluster, {"kind": flags.cluster}),
        }
    )


def _rebuilt(section: BaseModel, given: dict[str, Any]) -> BaseModel:
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        return section
    try:
        # model_copy would not check the values.
        return type(section).model_validate({**section.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise CliError(f"--{'-'.join(str(part) for part in first['loc'])}: {first['msg']}", exit_code=2) from None


def ready_text(message: str, *, config_path: Path | None) -> str:
    """What the daemon says when it is ready, and what to try. ``message`` has ``name: words`` lines and ``listening on URL``."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    url = next((line.removeprefix("listening on ") for line in lines if line.startswith("listening on ")), "")
    port_note = f"MORPHOGEN_URL={url} " if url and not url.endswith(":5116") else ""
    source = str(config_path) if config_path else "none; defaults and environment (see morphogen.example.toml)"
    shown = ["Morphogen is ready.", *(f"  {line}" for line in lines), f"  configuration: {source}"]
    hints = [
        ("ask it", f'{port_note}morphogen ask "Name three rivers"'),
        ("see why", f"{port_note}morphogen trace last"),
        ("OpenAI clients", f'base_url="{url}/v1", model="auto"'),
        ("mock API", f'curl \'{url}/api/mock/users?shape={{"name":"string"}}\' -g'),
        ("documentation", f"{url}/docs"),
        ("metrics", f"{url}/metrics"),
    ]
    return "\n".join([*shown, "", *(f"  {name:<15} {text}" for name, text in hints), "", "Ctrl-C drains and stops."])


@contextlib.contextmanager
def _explained() -> Any:
    """What keeps a daemon from starting, as CliError; anything else is a bug of ours and keeps its traceback."""
    from agents.records import AgentError
    from runtime.keys import CredentialError
    from runtime.ledger.records import LedgerError
    from runtime.listener import PortTaken

    try:
        yield
    except PortTaken as error:
        raise CliError(str(error), hint="What listens there: morphogen doctor") from None
    except ConnectionError as error:
        raise CliError(
            str(error), hint="Without ray.address the daemon starts a Ray of its own; --cluster local does without"
        ) from None
    except (ConfigError, CredentialError, LedgerError, AgentError) as error:
        raise CliError(str(error), hint="morphogen doctor says what is wrong with this machine") from None
    except PermissionError as error:
        raise CliError(f"data.dir: {error.filename}: {error.strerror}", hint="Choose another folder: --data-dir") from None


def _loop_factory() -> Any:
    """uvloop's where it is installed; asyncio's own elsewhere (None)."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
