"""Loading, refusing and showing the configuration."""

import json
import pickle
from pathlib import Path

import pytest

from runtime.config.file import MAX_FILE_BYTES, SCHEMA_FILE, ConfigError, json_schema, load, main, show
from runtime.config.strategies import check_strategies

ROOT = Path(__file__).resolve().parents[3]

GOOD = """
[server]
port = 5200

[[backends]]
name = "swift"
base_url = "http://127.0.0.1:9000/v1"
model = "m-small"
api_key = "${SWIFT_KEY}"

[[backends]]
name = "deep"
base_url = "https://llm.example/v1"
model = "m-large"
"""


def write(folder: Path, text: str, name: str = "morphogen.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, **env: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), env=env)
    return caught.value


def test_values_of_the_file_and_its_variables(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, GOOD), env={"SWIFT_KEY": "tiptop"})
    assert loaded.settings.server.port == 5200
    assert loaded.settings.backends[0].spec().api_key == "tiptop"
    assert loaded.settings.backends[1].name == "deep"
    assert loaded.warnings == ()


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    env = {
        "SWIFT_KEY": "a",
        "MORPHOGEN_SERVER__PORT": "5300",
        "MORPHOGEN_BACKENDS__1__API_KEY": "b",
        "MORPHOGEN_GGUF": "/x.gguf",
        "MORPHOGEN_KEY": "k",
        "MORPHOGEN_URL": "u",
        "MORPHOGEN_CONFIG": "c",
        "PATH": "/bin",
    }
    settings = load(write(tmp_path, GOOD), env=env).settings
    assert settings.server.port == 5300
    assert [backend.spec().api_key for backend in settings.backends] == ["a", "b"]
    assert settings.backends[1].model == "m-large"


def test_the_real_environment_reaches_settings_only_through_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORPHOGEN_SERVER__PORT", "5400")
    assert load(write(tmp_path, "[server]\nport = 1"), env={}).settings.server.port == 1
    assert load(write(tmp_path, "[server]\nport = 1")).settings.server.port == 5400


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    (home / ".config" / "morphogen").mkdir(parents=True)
    env = {"HOME": str(home)}
    assert load(None, env=env).path is None
    write(home / ".config" / "morphogen", "[server]\nport = 1")
    assert load(None, env=env).settings.server.port == 1
    write(tmp_path, "[server]\nport = 2")
    assert load(None, env=env).settings.server.port == 2
    named = write(tmp_path, "[server]\nport = 3", "other.toml")
    assert load(None, env={**env, "MORPHOGEN_CONFIG": str(named)}).settings.server.port == 3
    assert (
        load(write(tmp_path, "[server]\nport = 4", "arg.toml"), env={**env, "MORPHOGEN_CONFIG": str(named)}).settings.server.port
        == 4
    )


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: no such configuration file"):
        load(None, env={"MORPHOGEN_CONFIG": str(tmp_path / "gone.toml")})


def test_every_problem_is_named_with_its_line(tmp_path: Path) -> None:
    error = refusal(
        tmp_path,
        """[server]
prot = 5116
[requests]
max_count = 0
[[backends]]
name = "a"
base_url = "http://127.0.0.1:1/v1"
model = "m"
[[backends]]
name = "b"
base_url = "ftp://nope"
model = "m"
wieght = 2
""",
    )
    path = tmp_path / "morphogen.toml"
    lines = str(error).splitlines()
    assert f"{path}:2: server.prot: unknown setting; did you mean 'port'?" in lines
    assert f"{path}:13: backends[1].wieght: unknown setting; did you mean 'weight'?" in lines
    assert any(line.startswith(f"{path}:4: requests.max_count: ") for line in lines)
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("text", "setting", "line"),
    [
        ('[[backends]]\nname = "a"\nmodel = "m"\nbase_url = "x"', "backends[0].base_url", 4),
        ('[[backends]]\nname = "a"\nmodel = "m"\nbase_url = "http://h:99999/v1"', "backends[0].base_url", 4),
        ('[[backends]]\nname = "a"\nmodel = "m"\nbase_url = "http://[h/v1"', "backends[0].base_url", 4),
        ('[[backends]]\nname = "a"\nmodel = "m"\nbase_url = "http://h\\u0000/v1"', "backends[0].base_url", 4),
        ('[[backends]]\nname = "a"\nbase_url = "http://h/v1"', "backends[0].model", 1),
        ('[[backends]]\nkind = "simulated"', "backends[0].name", 1),
        ('[[backends]]\nname = "a"\nkind = "simulated"\nmodel = "gpt-9"', "backends[0].model", 4),
        (
            '[[backends]]\nname = "a"\nkind = "simulated"\n[[backends]]\nkind = "simulated"\nname = "a"',
            "backends[1].name",
            6,
        ),
        ("[sever]\nport = 1", "sever", 1),
        ("[strategies]\n'a b' = 1", "strategies.a b", 2),
    ],
)
def test_setting_and_line(tmp_path: Path, text: str, setting: str, line: int) -> None:
    (problem,) = refusal(tmp_path, text).problems
    assert (problem.setting, problem.line) == (setting, line)


def test_a_wrong_variable_of_the_environment_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path, GOOD, SWIFT_KEY="a", MORPHOGEN_SERVER__PORT="many")
    assert "server.port" in str(error)
    assert "MORPHOGEN_SERVER__PORT" in str(error)
    assert error.problems[0].line is None
    assert "MORPHOGEN_SERVER must be JSON" in str(refusal(tmp_path, "", MORPHOGEN_SERVER="{"))


def test_lists_of_a_backend_come_from_variables_as_json(tmp_path: Path) -> None:
    env = {"SWIFT_KEY": "a", "MORPHOGEN_BACKENDS__1__ALIASES": '["x", "y"]', "MORPHOGEN_BACKENDS__2__NAME": "new"}
    env["MORPHOGEN_BACKENDS__2__KIND"] = "simulated"
    settings = load(write(tmp_path, GOOD), env=env).settings
    assert settings.backends[1].aliases == ("x", "y")
    assert settings.backends[2].name == "new"
    error = refusal(tmp_path, "", MORPHOGEN_BACKENDS__FIRST__NAME="new")
    assert str(error) == "backends: should be a list (set by MORPHOGEN_BACKENDS)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server = 1", "server: should be a table"),
        ("[backends]", "backends: should be a list"),
        ("[server]\nport = 'x'", "server.port: should be a valid integer"),
    ],
)
def test_messages_speak_of_toml_and_not_of_python(tmp_path: Path, text: str, message: str) -> None:
    assert message in str(refusal(tmp_path, text))


def test_a_mistyped_variable_is_a_warning(tmp_path: Path) -> None:
    (warning,) = load(write(tmp_path, ""), env={"MORPHOGEN_SEVER__PORT": "1"}).warnings
    assert "MORPHOGEN_SEVER__PORT" in warning
    assert "did you mean 'server'" in warning


def test_a_missing_variable_names_setting_and_variable(tmp_path: Path) -> None:
    (problem,) = refusal(tmp_path, GOOD).problems
    assert (problem.setting, problem.line) == ("backends[0].api_key", 9)
    assert "SWIFT_KEY" in problem.message


def test_a_disabled_backend_needs_no_key(tmp_path: Path) -> None:
    text = GOOD.replace('name = "swift"', 'name = "swift"\nenabled = false')
    loaded = load(write(tmp_path, text), env={})
    assert loaded.settings.backends[0].api_key is None
    assert "SWIFT_KEY" in loaded.warnings[0]


def test_a_doubled_dollar_is_a_plain_one(tmp_path: Path) -> None:
    text = '[strategies]\nx = { single = { prompt = "$${A} ${A}$ $" } }'
    assert load(write(tmp_path, text), env={"A": "1"}).settings.strategies["x"]["single"]["prompt"] == "${A} 1$ $"


@pytest.mark.parametrize(
    ("text", "line"),
    [("[server]\nport = = 1\n", 2), ("a = 1\na = 2\n", 2), ("a = 1\nb = [1,\n", 3), ("[server\n", 1)],
)
def test_broken_toml_keeps_its_line(tmp_path: Path, text: str, line: int) -> None:
    (problem,) = refusal(tmp_path, text).problems
    assert problem.line == line
    assert problem.message.startswith("not valid TOML")


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load(big, env={})
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# ok\n# \xff\n")
    with pytest.raises(ConfigError, match=r"latin\.toml:2: is not UTF-8"):
        load(latin, env={})
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(write(tmp_path, "a = " + "[" * 5000 + "]" * 5000), env={})


SECRET = "hush-hush-7731"


@pytest.mark.parametrize(
    "text",
    [
        f"[[backends]]\nname = 'a'\napi_key = ['{SECRET}']\nbase_url = 'http://h'\nmodel = 'm'",
        f"[[backends]]\nname = 'a'\napi_kee = '{SECRET}'\nbase_url = 'http://h'\nmodel = 'm'",
        f"[[backends]]\nname = 'a'\napi_key = '{SECRET}'\nbase_url = 'x'\nmodel = 'm'",
        f"[[backends]]\nname = 'a'\nport = '{SECRET}'\nweight = '{SECRET}'\nmodel = '${{K}}'\nkind = '${{K}}'",
        f"api_key = '{SECRET}' x",
        f"backends = '{SECRET}'",
    ],
)
def test_no_error_shows_a_value(tmp_path: Path, text: str) -> None:
    error = refusal(tmp_path, text, K=SECRET, MORPHOGEN_SERVER__PORT=SECRET)
    assert SECRET not in str(error) + repr(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_errors_travel_between_processes(tmp_path: Path) -> None:
    error = refusal(tmp_path, "x = 1")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_show_masks_secrets_and_is_json(tmp_path: Path) -> None:
    text = GOOD.replace("https://llm.example", f"https://me:{SECRET}@llm.example")
    shown = show(load(write(tmp_path, text), env={"SWIFT_KEY": SECRET}).settings)
    assert SECRET not in json.dumps(shown)
    assert shown["backends"][0]["api_key"] == "********"
    assert shown["backends"][1]["api_key"] is None
    assert shown["backends"][1]["base_url"] == "https://********@llm.example/v1"
    assert shown["server"]["port"] == 5200


def test_a_key_in_the_file_is_advised_against(tmp_path: Path) -> None:
    (warning,) = load(write(tmp_path, GOOD.replace("${SWIFT_KEY}", SECRET)), env={}).warnings
    assert "api_key" in warning
    assert SECRET not in warning


def test_unknown_fallback_is_a_warning(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, GOOD + "[requests]\nfallback = ['deep', 'depe']"), env={"SWIFT_KEY": "a"})
    assert loaded.warnings == ("requests.fallback: no backend is called 'depe'",)


def test_the_schema_in_docs_is_current() -> None:
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == json_schema(), "run: python -m runtime.config.file --schema"


def test_the_schema_is_written(tmp_path: Path) -> None:
    main(["--schema", str(tmp_path / "s.json")])
    written = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert written["properties"]["server"]
    assert "SecretStr" not in json.dumps(written)


def test_the_example_is_valid_and_commented_out_parts_too() -> None:
    text = (ROOT / "morphogen.example.toml").read_text(encoding="utf-8")
    assert load(ROOT / "morphogen.example.toml", env={}).warnings == ()
    assert text.count("\n# ") > 20


def test_every_setting_of_the_example_exists_when_uncommented(tmp_path: Path) -> None:
    lines = (ROOT / "morphogen.example.toml").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line for line in lines)
    loaded = load(write(tmp_path, text), env={"OPENAI_API_KEY": "x", "VLLM_API_KEY": "x"})
    assert len(loaded.settings.backends) >= 3
    assert loaded.warnings == ()
    check_strategies(loaded.settings)
    assert loaded.settings.strategies


@pytest.mark.parametrize(
    ("strategies", "setting", "line", "words"),
    [
        ('loop = { pipeline = [{ name = "a", strategy = "loop" }] }', "strategies.loop", 6, "loop → loop is a circle"),
        ('ok = "single"\nsingle = "ok"', "strategies.single", 7, "built in"),
        ('lost = { single = { backend = "nobody" } }', "strategies.lost", 6, "there is no backend 'nobody'"),
    ],
)
def test_a_strategy_that_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, strategies: str, setting: str, line: int, words: str
) -> None:
    backend = '[[backends]]\nname = "off"\nkind = "simulated"\nenabled = false\n[strategies]\n'
    assert load(write(tmp_path, backend + 'fine = { single = { backend = "off" } }'), env={})
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, backend + strategies), env={})
    problem = caught.value.problems[0]
    assert (problem.setting, problem.line) == (setting, line)
    assert words in problem.message
