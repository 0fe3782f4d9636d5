"""``morphogen config``: check, show and import a configuration. Works without a daemon; config_live.py asks a running one.

Called by main.py. Secrets are masked by runtime/config/file.py before anything is printed.
"""

from __future__ import annotations

import os
from pathlib import Path

from runtime.cli import tables
from runtime.cli.errors import CliError
from runtime.config.file import ConfigError, LoadedConfig, json_schema, load
from runtime.config.file import show as masked
from runtime.config.importing import import_appsettings

MAX_IMPORT_BYTES = 2**20


def validate(path: Path | None, *, as_json: bool) -> None:
    """Say whether the configuration is valid; exit 1 with file, line and setting of every problem where it is not."""
    try:
        loaded = load(path)
    except ConfigError as error:
        if as_json:
            problems = [
                {"file": str(p.path) if p.path else None, "line": p.line, "setting": p.setting, "message": p.message}
                for p in error.problems
            ]
            tables.print_json({"valid": False, "problems": problems})
            raise CliError("", exit_code=1) from None
        raise CliError(str(error), hint="Every setting is described in docs/config.schema.json") from None
    source = str(loaded.path) if loaded.path else None
    if as_json:
        tables.print_json({"valid": True, "file": source, "warnings": list(loaded.warnings)})
        return
    for warning in loaded.warnings:
        tables.console(stderr=True).print(f"warning: {warning}", soft_wrap=True)
    enabled = [backend.name for backend in loaded.settings.backends if backend.enabled]
    backends = f"backends: {', '.join(enabled)}" if enabled else "no backends, so serve looks for some"
    where = source or "No file; defaults and environment"
    tables.console().print(f"{where}: valid; {backends}.", soft_wrap=True)


def show(path: Path | None) -> None:
    """Print what holds (file, environment and defaults together) as JSON."""
    tables.print_json(masked(loaded_or_error(path).settings))


def schema() -> None:
    """Print the JSON Schema of morphogen.toml."""
    tables.print_json(json_schema())


def import_file(source: Path, output: Path | None, *, force: bool) -> None:
    """Turn LLMockApi's appsettings.json into TOML, on stdout or into ``output`` (never over a file without ``force``)."""
    try:
        with source.expanduser().open(encoding="utf-8-sig") as file:
            text = file.read(MAX_IMPORT_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{source} cannot be read: {error}", exit_code=2) from None
    if len(text) > MAX_IMPORT_BYTES:
        raise CliError(f"{source} is larger than {MAX_IMPORT_BYTES} characters", exit_code=2)
    try:
        toml, notes = import_appsettings(text)
    except ConfigError as error:
        found = "; ".join(f"line {p.line}: {p.message}" if p.line else f"{p.setting} {p.message}".strip() for p in error.problems)
        raise CliError(f"{source}: {found}") from None
    aside = tables.console(stderr=True)
    if output is None:
        tables.console().print(toml, end="", soft_wrap=True)
    else:
        _write(output.expanduser(), toml, force=force)
        aside.print(f"Wrote {output}. Check it: morphogen config validate --config {output}", soft_wrap=True)
    for note in notes:
        aside.print(f"note: {note}", soft_wrap=True)


def loaded_or_error(path: Path | None) -> LoadedConfig:
    """``load`` with its errors as CliError."""
    try:
        return load(path)
    except ConfigError as error:
        raise CliError(str(error), hint="All problems of a file at once: morphogen config validate") from None


def _write(path: Path, text: str, *, force: bool) -> None:
    # 0600: people put keys into it sooner or later.
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CliError(f"{path} exists", hint="--force writes over it", exit_code=2) from None
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}", exit_code=2) from None
