"""Turns the ``appsettings.json`` of LLMockApi into a ``morphogen.toml``, and says what it could not carry over.

Called by ``morphogen config import``. Pure: text in, text out. Keys are matched without regard to case, and comments and trailing
commas are accepted, as .NET's configuration does. A key that is written out in the file is not copied: the result names an
environment variable for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomlkit

from runtime.config.file import ConfigError, Problem

MAX_TEXT_CHARS = 2**20
MAX_BACKENDS = 1000
SECTIONS = ("mockllmapi", "mostlylucid.mockllmapi")
PROVIDER_URLS = {
    "ollama": "http://localhost:11434/v1",
    "openai": "https://api.openai.com/v1",
    "lmstudio": "http://localhost:1234/v1",
}
SCHEMA_PROVIDERS = frozenset({"ollama", "lmstudio"})
"""Those that take a JSON Schema for every model."""

_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|/\*(?:.*?\*/|.*)', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"(?:[^"\\\n]|\\.)*"?|,(?=\s*[\]}])', re.DOTALL)
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


def import_appsettings(text: str) -> tuple[str, list[str]]:
    """(TOML that ``config.file.load`` takes, notes: what was changed or left behind, a sentence each).

    Variables that the TOML names have to be set before it loads; a note says so. Raises ConfigError where the text is not JSON or
    has no section of LLMockApi.
    """
    notes: list[str] = []
    section = _Table(_section(_parse(text)), "", notes)
    document = tomlkit.document()
    document.add(tomlkit.comment("Imported from an appsettings.json of LLMockApi."))
    shared = _shared(section)
    backends = _backends(section, shared)
    if retry := _retry(section):
        document["retry"] = retry
    if breaker := _breaker(section):
        document["breaker"] = breaker
    section.leave_behind()
    array = tomlkit.aot()
    for backend in backends:
        table = tomlkit.table()
        table.update(backend)
        array.append(table)
    if backends:
        document["backends"] = array
    else:
        notes.append("No backend could be carried over.")
    return tomlkit.dumps(document), notes


def _parse(text: str) -> dict[str, Any]:
    if len(text) > MAX_TEXT_CHARS:
        raise _refuse(f"is longer than {MAX_TEXT_CHARS} characters")
    try:
        plain = _TRAILING_COMMA.sub(_blank, _COMMENT.sub(_blank, text.removeprefix("\ufeff")))
        data = json.loads(plain)
    except json.JSONDecodeError as error:
        raise _refuse(f"not valid JSON: {error.msg}", line=error.lineno) from None
    except RecursionError:
        raise _refuse("is nested too deeply") from None
    if not isinstance(data, dict):
        raise _refuse("is not a JSON object")
    return data


def _blank(match: re.Match[str]) -> str:
    """Strings stay; comments and trailing commas become blanks, with their line ends, so that error lines stay true."""
    found = match[0]
    return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)


def _section(data: Mapping[str, Any]) -> Mapping[str, Any]:
    for key, value in data.items():
        if key.lower() in SECTIONS and isinstance(value, dict):
            return value
    if any(key.lower() in ("llmbackends", "modelname") for key in data):
        return data
    raise _refuse('has no section "MockLlmApi"')


def _refuse(message: str, *, line: int | None = None) -> ConfigError:
    return ConfigError((Problem(setting="", message=message, line=line, path=Path("appsettings.json")),))


class _Table:
    """One JSON object: values by key without regard to case, coerced and bounded; remembers what nobody asked for."""

    def __init__(self, data: Mapping[str, Any], title: str, notes: list[str]) -> None:
        self.data = {key.lower(): (key, value) for key, value in data.items()}
        self.title = title
        self.notes = notes
        self.asked: set[str] = set()

    def name(self, key: str) -> str:
        return f"{self.title}.{key}" if self.title else key

    def note(self, key: str, sentence: str) -> None:
        self.notes.append(f"{self.name(key)} {sentence}")

    def raw(self, key: str) -> Any:
        self.asked.add(key.lower())
        return self.data.get(key.lower(), (key, None))[1]

    def text(self, key: str) -> str:
        value = self.raw(key)
        if value is not None and not isinstance(value, str):
            self.note(key, "is not a text; left out.")
            return ""
        return (value or "").strip()

    def switch(self, key: str) -> bool | None:
        """.NET binds true and "True" alike."""
        value = self.raw(key)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        self.note(key, "is neither true nor false; left out.")
        return None

    def number(self, key: str, low: float, high: float, *, whole: bool = False) -> int | float | None:
        value = self.raw(key)
        if value is None:
            return None
        try:
            found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else float("nan")
        except (ValueError, OverflowError):
            found = float("nan")
        if found != found:
            self.note(key, "is not a number; left out.")
            return None
        kept = min(max(found, low), high)
        if whole:
            kept = int(kept)
        if kept != found:
            self.note(key, f"is out of range; {kept:g} is used.")
        return int(kept) if whole else kept

    def leave_behind(self) -> None:
        for lower, (key, _) in self.data.items():
            if lower not in self.asked:
                self.note(key, "has no counterpart; left out.")


def _shared(section: _Table) -> dict[str, Any]:
    """What LLMockApi sets once and we set for each backend."""
    settings = {
        "temperature": section.number("Temperature", 0, 2),
        "total_timeout_s": section.number("TimeoutSeconds", 1, 86_400),
        "context_tokens": section.number("MaxContextWindow", 128, 10_000_000, whole=True),
    }
    return {key: value for key, value in settings.items() if value is not None}


def _backends(section: _Table, shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = section.raw("LlmBackends")
    if listed is None and section.text("ModelName"):
        section.notes.append('The single model of the section became the backend "default".')
        listed = [{"Name": "default", **{key: section.raw(key) for key in ("Provider", "BaseUrl", "ModelName", "ApiKey")}}]
    if listed is not None and not isinstance(listed, list):
        section.note("LlmBackends", "is not a list; left out.")
    found: list[dict[str, Any]] = []
    entries = listed if isinstance(listed, list) else []
    if len(entries) > MAX_BACKENDS:
        section.note("LlmBackends", f"has more than {MAX_BACKENDS} entries; the rest is left out.")
    for index, entry in enumerate(entries[:MAX_BACKENDS]):
        title = f"LlmBackends[{index}]"
        if not isinstance(entry, dict):
            section.notes.append(f"{title} is not an object; left out.")
            continue
        table = _Table(entry, title, section.notes)
        backend = _backend(table, shared, {each["name"] for each in found}, f"backend-{index + 1}")
        table.leave_behind()
        if backend:
            found.append(backend)
    return found


def _backend(table: _Table, shared: Mapping[str, Any], taken: set[str], default: str) -> dict[str, Any] | None:
    name = _name(table, taken, default)
    provider = table.text("Provider").lower()
    base_url = _base_url(table, provider)
    model = table.text("ModelName") or table.text("Model")
    if not base_url or not model:
        table.notes.append(f"{table.title} ({name}) has no {'ModelName' if base_url else 'usable BaseUrl'}; left out.")
        return None
    backend: dict[str, Any] = {"name": name, "base_url": base_url, "model": model}
    if key := _api_key(table, name):
        backend["api_key"] = key
    if provider in SCHEMA_PROVIDERS:
        backend["schema_mode"] = "json_schema"
    optional = {
        "enabled": table.switch("Enabled"),
        "weight": table.number("Weight", 0, 1000),
        "max_output_tokens": table.number("MaxTokens", 1, 10_000_000, whole=True),
    }
    backend |= {key: value for key, value in optional.items() if value is not None}
    return backend | dict(shared)


def _name(table: _Table, taken: set[str], default: str) -> str:
    given = table.text("Name")
    name = re.sub(r"[^A-Za-z0-9._:-]+", "-", given).strip("._:-")[:56] or default
    base, number = name, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    if name != given:
        table.note("Name", f"became {name!r}.")
    return name


def _base_url(table: _Table, provider: str) -> str:
    url = table.text("BaseUrl").rstrip("/")
    if not url:
        url = PROVIDER_URLS.get(provider or "ollama", "")
        if url:
            table.note("BaseUrl", f"is missing; {url} is used.")
        return url
    if provider and provider not in PROVIDER_URLS:
        table.note("Provider", "is unknown here; its URL is taken for an OpenAI-compatible one.")
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    if parts.username or parts.password:
        table.note("BaseUrl", "held a user name or password, which is not copied; set api_key instead.")
        url = url.replace(f"{parts.netloc}", parts.netloc.rpartition("@")[2], 1)
    return url


def _api_key(table: _Table, name: str) -> str:
    key = table.text("ApiKey")
    if not key or _REFERENCE.fullmatch(key):
        return key
    variable = re.sub(r"\W", "_", name).upper() + "_API_KEY"
    if variable[0].isdigit():
        variable = f"_{variable}"
    table.note("ApiKey", f"is a secret and is not copied; set the environment variable {variable} before you start the daemon.")
    return f"${{{variable}}}"


def _retry(section: _Table) -> dict[str, Any]:
    retry = {
        "enabled": section.switch("EnableRetryPolicy"),
        "max_attempts": section.number("MaxRetryAttempts", 0, 9, whole=True),
        "base_delay_s": section.number("RetryBaseDelaySeconds", 0, 60),
    }
    if retry["max_attempts"] is not None:
        retry["max_attempts"] += 1
        section.note(
            "MaxRetryAttempts", f"counts repetitions; retry.max_attempts = {retry['max_attempts']} counts the first call too."
        )
    if retry["base_delay_s"] is not None and retry["base_delay_s"] > 8:
        retry["max_delay_s"] = retry["base_delay_s"]
    return {key: value for key, value in retry.items() if value is not None}


def _breaker(section: _Table) -> dict[str, Any]:
    breaker = {
        "enabled": section.switch("EnableCircuitBreaker"),
        "failures": section.number("CircuitBreakerFailureThreshold", 1, 1000, whole=True),
        "open_s": section.number("CircuitBreakerDurationSeconds", 1, 86_400),
    }
    return {key: value for key, value in breaker.items() if value is not None}
