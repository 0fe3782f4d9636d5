"""Reads ``morphogen.toml`` and the environment into Settings, and says where exactly an invalid one is wrong.

Called by daemon.py and the CLI (``morphogen config validate|show``, ``serve``). ``python -m runtime.config.file --schema`` writes
docs/config.schema.json. It must not import anything of the request path: a wrong file has to be explained before anything starts.

No message of this module contains the value of a setting: a value may be a secret, or become one by ``${NAME}``.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from agents.records import InvalidRequest
from runtime.config.env import ENV_PREFIX, NotJson, from_environment, overlay, overrides
from runtime.config.lines import SettingPath, line_of, setting_lines
from runtime.config.settings import Settings
from runtime.config.strategies import check_strategies

MAX_FILE_BYTES = 2**20
MASK = "********"
SCHEMA_FILE = Path(__file__).resolve().parents[2] / "docs" / "config.schema.json"

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TOML_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")
_PLAIN_WORDS = {
    "missing": "is required",
    "tuple_type": "should be a list",
    "frozen_set_type": "should be a list",
    "model_type": "should be a table",
    "dict_type": "should be a table",
}
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. ``line`` counts from 1; ``path`` None: it comes from the environment."""

    setting: str
    message: str
    line: int | None = None
    path: Path | None = None

    def __str__(self) -> str:
        place = "" if self.path is None else f"{self.path}:{self.line}: " if self.line else f"{self.path}: "
        return f"{place}{self.setting}: {self.message}" if self.setting else f"{place}{self.message}"


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` (at least one) say where and why, a line each in ``str``."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """What holds, the file it comes from (None: defaults and environment alone), and what an operator should look at.

    ``digest`` is the SHA-256 of the file's content, ``lines`` says where in it each setting stands.
    """

    settings: Settings
    path: Path | None
    warnings: tuple[str, ...] = ()
    digest: str | None = None
    lines: Mapping[SettingPath, int] = field(default_factory=dict, repr=False, compare=False)


@dataclass(slots=True, kw_only=True)
class _Source:
    """One file on its way to Settings: its values and lines, what the environment laid over it, and what was found wrong."""

    path: Path | None
    env: Mapping[str, str]
    data: dict[str, Any] = field(default_factory=dict)
    lines: Mapping[SettingPath, int] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    digest: str | None = None

    def problem(self, where: SettingPath, message: str) -> None:
        line = line_of(self.lines, where)
        if from_environment(self.overrides, where, tables=line is None):
            variable = ENV_PREFIX + "__".join(str(part) for part in where).upper()
            self.problems.append(Problem(setting=dotted(where), message=f"{message} (set by {variable})"))
        else:
            self.problems.append(Problem(setting=dotted(where), message=message, line=line, path=self.path))


def load(path: Path | None = None, *, env: Mapping[str, str] = os.environ) -> LoadedConfig:
    """Settings from ``path``, else $MORPHOGEN_CONFIG, ./morphogen.toml, ~/.config/morphogen/morphogen.toml, else defaults.

    ``MORPHOGEN_SECTION__FIELD`` in ``env`` overrides the file (``MORPHOGEN_BACKENDS__0__API_KEY`` reaches into the list);
    ``${NAME}`` in a string of the file stands for the variable NAME, ``$${`` for a plain ``${``. Raises ConfigError with all
    problems found.
    """
    source = _Source(path=find(path, env=env), env=env)
    if source.path is not None:
        _read(source.path, source)
    _take_environment(source)
    if source.problems:
        raise ConfigError(tuple(source.problems))
    settings = _validate(overlay(source.data, source.overrides), source)
    warnings = (*source.warnings, *_advice(settings))
    loaded = LoadedConfig(settings=settings, path=source.path, warnings=warnings, digest=source.digest, lines=source.lines)
    try:
        check_strategies(settings)
    except InvalidRequest as error:
        setting = error.param or "strategies"
        problem = Problem(setting=setting, message=error.message, path=source.path, line=setting_line(loaded, setting))
        raise ConfigError((problem,)) from None
    return loaded


def find(path: Path | None, *, env: Mapping[str, str]) -> Path | None:
    """The file that ``load`` reads; None where there is none. A file that is named must exist: ConfigError."""
    named = path or (Path(env["MORPHOGEN_CONFIG"]) if env.get("MORPHOGEN_CONFIG") else None)
    if named is not None:
        named = named.expanduser()
        if not named.is_file():
            raise ConfigError((Problem(setting="", message="no such configuration file", path=named),))
        return named
    home = Path(env["HOME"]) if env.get("HOME") else Path("~").expanduser()
    places = (Path("morphogen.toml"), home / ".config" / "morphogen" / "morphogen.toml")
    return next((place for place in places if place.is_file()), None)


def parse(text: str, *, path: Path, env: Mapping[str, str]) -> Settings:
    """Settings of a TOML text alone, without the environment's overrides; ``path`` names it in errors. Raises ConfigError."""
    source = _Source(path=path, env=env)
    _parse(text, source)
    if source.problems:
        raise ConfigError(tuple(source.problems))
    return _validate(source.data, source)


def show(settings: Settings) -> dict[str, Any]:
    """All settings as JSON values, secrets masked."""
    shown = _jsonable(settings.model_dump(mode="python"))
    assert isinstance(shown, dict)
    return shown


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file, for editors and for docs/config.schema.json."""
    schema = Settings.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "morphogen.toml",
        "description": "Configuration of the Morphogen daemon. ${NAME} in a string stands for an environment variable.",
    }


def dotted(where: SettingPath) -> str:
    """``("backends", 1, "port")`` as ``backends[1].port``."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def setting_line(loaded: LoadedConfig, setting: str) -> int | None:
    """The line of a dotted setting (``strategies.mine``, ``backends.NAME``), or of what is around it."""
    parts: tuple[str | int, ...] = tuple(setting.split("."))
    if len(parts) > 1 and parts[0] == "backends":
        places = [place for place, backend in enumerate(loaded.settings.backends) if backend.name == parts[1]]
        parts = ("backends", *places, *parts[2:])
    return line_of(loaded.lines, parts)


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(path: Path, source: _Source) -> None:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError((Problem(setting="", message=f"cannot be read: {error.strerror}", path=path),)) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError((Problem(setting="", message=f"is larger than {MAX_FILE_BYTES} bytes", path=path),))
    source.digest = hashlib.sha256(raw).hexdigest()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError((Problem(setting="", message="is not UTF-8 text", line=line, path=path),)) from None
    _parse(text, source)


def _parse(text: str, source: _Source) -> None:
    """Values, lines and ``${NAME}`` of ``text`` into ``source``. Raises ConfigError where it is not TOML."""
    try:
        source.data = tomllib.loads(text)
        source.lines = setting_lines(text)
        for section, value in source.data.items():
            source.data[section] = _substitute(value, (section,), source)
    except tomllib.TOMLDecodeError as error:
        found = _TOML_LINE.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        message = f"not valid TOML: {_TOML_LINE.sub('', str(error))}"
        raise ConfigError((Problem(setting="", message=message, line=line, path=source.path),)) from None
    except RecursionError:
        raise ConfigError((Problem(setting="", message="is nested too deeply", path=source.path),)) from None


def _substitute(value: Any, where: SettingPath, source: _Source) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, (*where, key), source) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, (*where, index), source) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    missing = [name for name in _VARIABLE.findall(value) if name and name not in source.env]
    if where[-1] == "api_key" and value and not _VARIABLE.search(value):
        source.warnings.append(f"{dotted(where)}: is written out; ${{NAME}} of an environment variable keeps it out of the file")
    if not missing:
        return _VARIABLE.sub(lambda match: source.env[match[1]] if match[1] else "${", value)
    if _spare_key(where, source):
        source.warnings.append(f"{dotted(where)}: ${missing[0]} is not set; the backend is disabled, so this is left out")
        return None
    for name in missing:
        source.problem(where, f"the environment variable {name} is not set")
    return value


def _spare_key(where: SettingPath, source: _Source) -> bool:
    """Whether this is the api_key of a backend that is switched off: nobody should have to set a key that is never used."""
    if len(where) != 3 or where[0] != "backends" or where[2] != "api_key":
        return False
    backend = source.data["backends"][where[1]]
    return isinstance(backend, dict) and backend.get("enabled") is False


def _take_environment(source: _Source) -> None:
    for name in source.env:
        section, delimiter, _ = name.upper().removeprefix(ENV_PREFIX).lower().partition("__")
        if name.upper().startswith(ENV_PREFIX) and delimiter and section not in Settings.model_fields:
            source.warnings.append(f"{name}: no such setting{_did_you_mean(section, Settings.model_fields)}; ignored")
    try:
        source.overrides = overrides(source.env)
    except NotJson as error:
        message = f"the value of {ENV_PREFIX}{error.section.upper()} must be JSON"
        raise ConfigError((Problem(setting=error.section, message=message),)) from None


# ── what is wrong with the values ───────────────────────────────────────────────────────────────────────────────────────


def _validate(data: dict[str, Any], source: _Source) -> Settings:
    try:
        return Settings(**data)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            _explain(details, source)
    raise ConfigError(tuple(source.problems))


def _explain(details: ErrorDetails, source: _Source) -> None:
    where = tuple(part for part in details["loc"] if part != "[key]")
    message = details["msg"].removeprefix("Value error, ")
    context = details.get("ctx", {})
    if "setting" in context:
        where = (*where, *context["setting"])
    if details["type"] == "extra_forbidden":
        message = f"unknown setting{_did_you_mean(str(where[-1]), _fields_at(where[:-1]))}"
    message = _PLAIN_WORDS.get(details["type"], message).removeprefix("Input ")
    source.problem(where, message[:1].lower() + message[1:])


def _fields_at(where: SettingPath) -> Mapping[str, Any]:
    """The settings that exist in the table at ``where``."""
    model: type[BaseModel] = Settings
    for part in where:
        if isinstance(part, str) and part in model.model_fields:
            model = next(_models(model.model_fields[part].annotation), model)
    return model.model_fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _did_you_mean(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _advice(settings: Settings) -> Iterator[str]:
    """What is allowed and yet probably not meant."""
    names = {name for backend in settings.backends for name in (backend.name, *backend.aliases)}
    for name in settings.requests.fallback:
        if names and name not in names:
            yield f"requests.fallback: no backend is called {name!r}"
    if settings.backends and not any(backend.enabled for backend in settings.backends):
        yield "backends: all of them are disabled"
    if settings.requests.default_deadline_s > settings.requests.max_deadline_s:
        yield "requests.default_deadline_s is longer than requests.max_deadline_s, which holds"


def _jsonable(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    if isinstance(value, str):
        return _USERINFO.sub(f"{MASK}@", value)
    return str(value) if isinstance(value, Path) else value


def main(arguments: list[str] | None = None) -> None:
    """``--schema [FILE]``: write the JSON Schema of the configuration."""
    parser = argparse.ArgumentParser(prog="python -m runtime.config.file", description=main.__doc__)
    parser.add_argument("--schema", nargs="?", type=Path, const=SCHEMA_FILE, required=True, metavar="FILE")
    file: Path = parser.parse_args(arguments).schema
    file.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
