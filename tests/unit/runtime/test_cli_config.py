"""The configuration on the command line: checked, shown without secrets, imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.cli import main


def test_config_validate_names_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.toml"
    file.write_text("[server]\nport = 99999\n")
    assert main.run(["config", "validate", "--config", str(file)]) == 1
    assert f"{file}:2: server.port" in capsys.readouterr().err
    assert main.run(["config", "validate", "--config", str(file), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["problems"][0]["line"] == 2
    assert err == ""
    file.write_text("[server]\nport = 5117\n")
    assert main.run(["config", "validate", "--config", str(file)]) == 0


def test_config_show_masks_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[[backends]]\nname = "b"\nbase_url = "http://h/v1"\nmodel = "m"\napi_key = "sk-very-secret"\n')
    assert main.run(["config", "show", "--config", str(file)]) == 0
    shown = capsys.readouterr()
    assert "sk-very-secret" not in shown.out + shown.err
    assert json.loads(shown.out)["backends"][0]["name"] == "b"


def test_config_import_never_writes_over_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "appsettings.json", tmp_path / "morphogen.toml"
    source.write_text('{"MockLlmApi": {"LlmBackends": [{"Name": "a", "BaseUrl": "http://h/v1", "ModelName": "m"}]}}')
    assert main.run(["config", "import", str(source), "-o", str(target)]) == 0
    assert target.stat().st_mode & 0o077 == 0
    before = target.read_text()
    assert main.run(["config", "import", str(source), "-o", str(target)]) == 2
    assert target.read_text() == before
    assert main.run(["config", "validate", "--config", str(target)]) == 0
    capsys.readouterr()
