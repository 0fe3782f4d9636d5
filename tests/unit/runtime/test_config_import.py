"""An appsettings.json of LLMockApi becomes a morphogen.toml that loads."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.file import ConfigError, parse
from runtime.config.importing import import_appsettings
from runtime.config.settings import Settings

FULL = """{
  // what the host logs
  "Logging": {"LogLevel": {"Default": "Warning"}},
  "mockllmapi": {
    "temperature": 0.7,
    "TIMEOUTSECONDS": "45",
    "MaxContextWindow": 16384, /* as the smallest
      model has it */
    "LlmBackends": [
      {"name": "tiny one", "Provider": "Ollama", "ModelName": "qwen:1b", "MaxTokens": 900, "Enabled": "True", "Weight": 4,},
      {"Name": "big", "Provider": "openai", "ModelName": "gx // 9", "ApiKey": "sk-very-hidden", "Weight": 5000},
      {"Name": "big", "Provider": "lmstudio", "BaseUrl": "http://box:1/v1/", "ModelName": "z",
       "ApiKey": "${BOX}", "Enabled": false},
    ],
    "EnableRetryPolicy": false,
    "MaxRetryAttempts": 2,
    "RetryBaseDelaySeconds": 1.5,
    "EnableCircuitBreaker": true,
    "CircuitBreakerFailureThreshold": 7,
    "CircuitBreakerDurationSeconds": 40,
    "EnableVerboseLogging": true,
  },
}"""


def load_text(toml: str, **env: str) -> Settings:
    return parse(toml, path=Path("morphogen.toml"), env=env)


def test_everything_that_has_a_counterpart_is_carried_over() -> None:
    toml, notes = import_appsettings(FULL)
    settings = load_text(toml, BIG_API_KEY="k1", BOX="k2")
    tiny, big, box = settings.backends
    assert (tiny.name, tiny.base_url, tiny.model) == ("tiny-one", "http://localhost:11434/v1", "qwen:1b")
    assert (tiny.max_output_tokens, tiny.enabled, tiny.weight, tiny.temperature) == (900, True, 4.0, 0.7)
    assert (tiny.total_timeout_s, tiny.context_tokens, tiny.schema_mode) == (45.0, 16_384, "json_schema")
    assert (big.base_url, big.model, big.weight) == ("https://api.openai.com/v1", "gx // 9", 1000.0)
    assert big.spec().api_key == "k1"
    assert (box.name, box.base_url, box.enabled, box.spec().api_key) == ("big-2", "http://box:1/v1", False, "k2")
    assert (settings.retry.enabled, settings.retry.max_attempts, settings.retry.base_delay_s) == (False, 3, 1.5)
    assert (settings.breaker.enabled, settings.breaker.failures, settings.breaker.open_s) == (True, 7, 40.0)
    text = "\n".join(notes)
    for named in ("LlmBackends[0].name", "LlmBackends[1].Weight", "BIG_API_KEY", "EnableVerboseLogging", "MaxRetryAttempts"):
        assert named.lower() in text.lower()


def test_a_written_key_is_copied_nowhere() -> None:
    toml, notes = import_appsettings(FULL)
    assert "sk-very-hidden" not in toml + "".join(notes)
    with pytest.raises(ConfigError, match="BIG_API_KEY"):
        load_text(toml, BOX="k2")


def test_a_password_in_a_url_is_copied_nowhere() -> None:
    entry = {"Name": "a", "BaseUrl": "https://me:pass9@host:1/v1", "ModelName": "m"}
    toml, notes = import_appsettings(json.dumps({"MockLlmApi": {"LlmBackends": [entry]}}))
    assert "pass9" not in toml + "".join(notes)
    assert load_text(toml).backends[0].base_url == "https://host:1/v1"


def test_the_other_name_of_the_section_and_the_single_model() -> None:
    toml, notes = import_appsettings('{"Mostlylucid.MockLlmApi": {"BaseUrl": "http://h:1/v1/", "ModelName": "m"}}')
    (backend,) = load_text(toml).backends
    assert (backend.name, backend.base_url, backend.model) == ("default", "http://h:1/v1", "m")
    assert notes == ['The single model of the section became the backend "default".']


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"Name": "a", "Provider": "mystery", "ModelName": "m"}, "usable BaseUrl"),
        ({"Name": "a", "BaseUrl": "ftp://h", "ModelName": "m"}, "usable BaseUrl"),
        ({"Name": "a", "Provider": "ollama"}, "ModelName"),
        ("a", "not an object"),
    ],
)
def test_what_cannot_be_used_is_left_behind_with_a_note(entry: Any, why: str) -> None:
    toml, notes = import_appsettings(json.dumps({"MockLlmApi": {"LlmBackends": [entry]}}))
    assert load_text(toml).backends == ()
    assert any(why in note for note in notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"MockLlmApi": {"a" 1}\n}', r"appsettings\.json:2: not valid JSON"),
        ('// a\n/* b\n*/ {"MockLlmApi": {"a": 1 "b": 2}}', r"appsettings\.json:3: not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "has no section"),
        ("[" * 100_000, "nested too deeply"),
        (" " * (2**20 + 1), "longer than"),
    ],
)
def test_texts_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        import_appsettings(text)


def test_no_backend_is_said() -> None:
    toml, notes = import_appsettings('{"MockLlmApi": {"Temperature": "hot"}}')
    assert load_text(toml).backends == ()
    assert "Temperature is not a number; left out." in notes
    assert "No backend could be carried over." in notes


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -3, 9, 1e300, 10**400, float("nan"), "", "9", "nan", "$", "ä b", "openai", "http://h/v1", [], {}]
)
ENTRY_KEYS = ("Name", "Provider", "BaseUrl", "ModelName", "ApiKey", "MaxTokens", "Enabled", "Weight", "Other")
SECTION_KEYS = ("Temperature", "TimeoutSeconds", "MaxContextWindow", "MaxRetryAttempts", "RetryBaseDelaySeconds", "ModelName")
SWITCHES = ("EnableRetryPolicy", "CircuitBreakerFailureThreshold", "CircuitBreakerDurationSeconds")
ENTRY = st.dictionaries(st.sampled_from(ENTRY_KEYS), ODD)
SECTION = st.builds(
    lambda section, entries: {**section, "LlmBackends": entries},
    st.dictionaries(st.sampled_from(SECTION_KEYS + SWITCHES), ODD),
    st.none() | st.lists(ENTRY, max_size=3),
)


@given(SECTION)
def test_whatever_the_file_holds_the_result_loads(section: dict[str, Any]) -> None:
    toml, _ = import_appsettings(json.dumps({"MockLlmApi": section}))
    env = dict.fromkeys(re.findall(r"\$\{(\w+)\}", toml), "x")
    load_text(toml, **env)
