"""The reloader: what it reads, what it refuses, and what it says of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.records import BackendUnreachable, InvalidRequest
from runtime.config.file import LoadedConfig, load
from runtime.config.settings import Settings
from runtime.config.status import ReloadOutcome
from runtime.reload import ConfigSource, Reloader
from runtime.reload_plan import ReloadPlan

GOOD = '[retry]\nmax_attempts = 2\n[[backends]]\nname = "a"\nbase_url = "http://a/v1"\nmodel = "m"\napi_key = "${A_KEY}"\n'


class Bench:
    """A reloader over a real file, with what it had applied. ``refuse`` is raised instead of applying."""

    def __init__(self, folder: Path, text: str | None = GOOD) -> None:
        self.path = folder / "morphogen.toml"
        self.env = {"A_KEY": "k1", "HOME": str(folder)}
        self.applied: list[ReloadPlan] = []
        self.outcomes: list[ReloadOutcome] = []
        self.refuse: Exception | None = None
        if text is not None:
            self.path.write_text(text)
        loaded = self.read(self.path) if text is not None else LoadedConfig(settings=Settings(), path=None)
        self.settings = loaded.settings
        self.reloader = Reloader(
            source=ConfigSource(loaded=loaded, read=self.read),
            running=lambda: self.settings,
            apply=self.apply,
            metrics=self,
            poll_s=0.002,
            settle_s=0.001,
            wall=lambda: 77.0,
        )

    def read(self, path: Path | None) -> LoadedConfig:
        return load(path, env=self.env)

    async def apply(self, todo: ReloadPlan) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.applied.append(todo)
        self.settings = todo.settings

    def config_reloaded(self, outcome: ReloadOutcome, *, at: float) -> None:
        self.outcomes.append(outcome)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_changed_file_is_applied_and_an_invalid_one_changes_nothing(tmp_path: Path, caplog: Any) -> None:
    bench = Bench(tmp_path)
    bench.path.write_text(GOOD.replace("= 2", "= 5"))
    result = await bench.reloader.reload()
    assert (result.outcome, result.changed) == ("ok", ("retry.max_attempts",))
    assert bench.settings.retry.max_attempts == 5
    first = bench.reloader.status()
    bench.path.write_text(GOOD.replace("max_attempts = 2", "max_attempts = 0"))
    with caplog.at_level(logging.ERROR):
        refused = await bench.reloader.reload()
    assert refused.outcome == "invalid"
    assert refused.error is not None
    assert (refused.error.setting, refused.error.line, refused.error.file) == ("retry.max_attempts", 2, str(bench.path))
    assert f"{bench.path}:2: retry.max_attempts" in caplog.text
    status = bench.reloader.status()
    assert status == replace(first, last_error=refused.error)
    assert len(bench.applied) == 1
    bench.path.write_text(GOOD.replace("= 2", "= 5"))
    assert (await bench.reloader.reload()).outcome == "unchanged"
    assert bench.reloader.status().last_error is None
    assert bench.outcomes == ["ok", "invalid", "unchanged"]


async def test_secrets_are_read_again_and_never_told(tmp_path: Path, caplog: Any) -> None:
    bench = Bench(tmp_path)
    bench.env["A_KEY"] = "k2-secret"
    with caplog.at_level(logging.INFO):
        result = await bench.reloader.reload()
    assert result.changed == ("backends.a.api_key",)
    key = bench.settings.backends[0].api_key
    assert key is not None
    assert key.get_secret_value() == "k2-secret"
    del bench.env["A_KEY"]
    refused = await bench.reloader.reload()
    assert refused.error is not None
    assert "A_KEY is not set" in refused.error.message
    assert "k2-secret" not in caplog.text + repr(bench.reloader.status()) + repr(refused)


@pytest.mark.parametrize(
    ("error", "setting", "line"),
    [
        (BackendUnreachable("the server does not come up", backend="a"), "backends.a", 3),
        (InvalidRequest("no such strategy", param="strategies.mine"), "strategies.mine", None),
        (InvalidRequest("no", param="retry.max_attempts"), "retry.max_attempts", 2),
    ],
)
async def test_valid_settings_that_cannot_be_used_are_refused_like_invalid_ones(
    tmp_path: Path, error: Exception, setting: str, line: int | None
) -> None:
    bench = Bench(tmp_path)
    bench.refuse = error
    bench.path.write_text(GOOD.replace("= 2", "= 3"))
    refused = await bench.reloader.reload()
    assert refused.error is not None
    assert (refused.error.setting, refused.error.line) == (setting, line)
    assert bench.settings.retry.max_attempts == 2
    bench.refuse = None
    assert (await bench.reloader.reload()).outcome == "ok"


async def test_what_needs_a_restart_is_said_until_it_is_taken_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.path.write_text(GOOD + "[server]\nport = 1234\n")
    assert (await bench.reloader.reload()).needs_restart == ("server.port",)
    assert bench.reloader.status().needs_restart == ("server.port",)
    assert (await bench.reloader.reload()).outcome == "unchanged"
    bench.path.write_text(GOOD)
    await bench.reloader.reload()
    assert bench.reloader.status().needs_restart == ()
    assert bench.applied == []


async def test_watching_takes_a_change_once_and_survives_a_deleted_and_a_broken_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    watching = asyncio.create_task(bench.reloader.watch())
    bench.path.write_text(GOOD.replace("= 2", "= 6"))
    await until(lambda: bench.settings.retry.max_attempts == 6)
    bench.path.unlink()
    await until(lambda: bench.reloader.status().last_error)
    fault = bench.reloader.status().last_error
    assert fault is not None
    assert "no such configuration file" in fault.message
    assert bench.settings.retry.max_attempts == 6
    bench.path.write_text("retry = [")
    await until(lambda: (fault := bench.reloader.status().last_error) and "not valid TOML" in fault.message)
    bench.path.write_text(GOOD.replace("= 2", "= 7"))
    await until(lambda: bench.settings.retry.max_attempts == 7)
    assert bench.reloader.status().last_error is None
    await asyncio.sleep(0.02)
    assert bench.outcomes.count("ok") == 2, "a file that stays the same is not applied again"
    watching.cancel()


async def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    looks = iter(["half", "more", "whole", "whole"])
    bench.reloader._look = lambda: next(looks, "whole")  # type: ignore[method-assign]
    bench.path.write_text(GOOD.replace("= 2", "= 9"))
    watching = asyncio.create_task(bench.reloader.watch())
    await until(lambda: bench.outcomes)
    assert bench.outcomes == ["ok"]
    assert next(looks, None) is None
    watching.cancel()


async def test_without_a_file_the_default_place_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MORPHOGEN_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    bench = Bench(tmp_path, text=None)
    assert bench.reloader.status().path is None
    assert (await bench.reloader.reload()).outcome == "unchanged"
    watching = asyncio.create_task(bench.reloader.watch())
    bench.path.write_text(GOOD)
    await until(lambda: bench.settings.backends)
    assert bench.reloader.status().path == str(bench.path)
    watching.cancel()


async def test_settings_without_a_source_have_nothing_to_reload() -> None:
    bench_settings = Settings()

    async def apply(todo: ReloadPlan) -> None:
        raise AssertionError("nothing to apply")

    class Silent:
        def config_reloaded(self, outcome: ReloadOutcome, *, at: float) -> None: ...

    source = ConfigSource(loaded=LoadedConfig(settings=bench_settings, path=None))
    reloader = Reloader(source=source, running=lambda: bench_settings, apply=apply, metrics=Silent())
    assert (await reloader.reload()).outcome == "unchanged"
    await reloader.watch()


async def test_an_empty_file_is_one_that_is_not_written_yet(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.path.write_text("")
    refused = await bench.reloader.reload()
    assert (refused.outcome, bench.applied) == ("invalid", [])
    assert refused.summary.endswith("the file is empty")
    began_empty = Bench(tmp_path, text="")
    assert (await began_empty.reloader.reload()).outcome == "unchanged"
