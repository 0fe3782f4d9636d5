"""The registry in the daemon while it is not open, and what people see of it on the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from registry.inspect import inspect
from registry.records import RegistryTooNew, RegistryUnavailable
from registry.tables import Tables
from registry.upkeep import fold
from runtime.cli import doctor_registry, registry_report
from runtime.config.registry import RegistrySettings
from runtime.config.settings import Settings
from runtime.programs import registry_desk
from runtime.programs.registry_desk import RegistryDesk
from tests.fakes.registry import FakeEmbedder, MemoryEvidence, MemoryJournal, MemoryTables, World, cases, new


def desk(**settings: Any) -> RegistryDesk:
    ports = MemoryJournal(), MemoryEvidence()
    return RegistryDesk(RegistrySettings(**settings), Path("/nonexistent"), *ports, embedder=FakeEmbedder())


async def test_it_says_why_it_is_not_open() -> None:
    closed = desk()
    assert closed.status() == "the registry is opening"
    assert closed.gauges() == ({}, {"open": 0.0})
    for part in ("registry", "search", "tables"):
        with pytest.raises(RegistryUnavailable, match="opening"):
            getattr(closed, part)
    off = desk(enabled=False)
    await off.run()
    assert off.status() == "off"
    with pytest.raises(RegistryUnavailable, match=r"registry\.enabled"):
        _ = off.registry
    await off.close()


async def test_it_opens_folds_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: Any = MemoryTables()
    tables.close = lambda: None
    attempts = iter([RegistryUnavailable("no route to the bucket"), None])

    async def opened(*args: object, **more: object) -> Any:
        if error := next(attempts):
            raise error
        return tables

    monkeypatch.setattr(Tables, "open", opened)
    monkeypatch.setattr(registry_desk, "REOPEN_S", 0.0)
    made = desk(fold_every_s=0.05, optimize_every_s=1)
    running = asyncio.create_task(made.run())
    while made.status() != "ok":
        await asyncio.sleep(0)
    await made.registry.publish(new(kind="prompt", content="Be brief."))
    assert made.gauges()[0]["published"] == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.close()
    await made.close()
    assert made.status() == "the registry is closed"


async def test_a_newer_table_keeps_it_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def opened(*args: object, **more: object) -> Any:
        raise RegistryTooNew("versions", found=9, known=1)

    monkeypatch.setattr(Tables, "open", opened)
    made = desk()
    await made.run()  # ends: trying again would not help
    assert "table versions has schema version 9" in made.status()


async def test_the_report_reads_like_the_articles() -> None:
    world = World()
    registry = await world.open()
    assert "  nothing was published yet" in list(registry_report.lines(await inspect(registry)))
    version = await registry.publish(new(), cases=cases("a"))
    await registry.publish(new("style", 'x\n```rules\n[{"check": "docstring"}]\n```\n', kind="standard", problem="style"))
    await world.run(version.version_id, "n1", good=9, bad=1)
    await fold(registry)
    text = "\n".join(registry_report.lines(await inspect(registry)))
    for line in (
        "Artifacts: 2 in 2 versions",
        "  1. revenue-validation: 1 nodes, 10 executions, 90% good",
        "  month 1: 0.90 over 10 executions",
        "  in force: style@1.0.0",
        "  0% of 1 published codes keep all 1 rules",
    ):
        assert line in text
    await registry.close()


def test_doctor_looks_at_its_place(tmp_path: Path) -> None:
    def look(**registry: Any) -> tuple[str, str]:
        settings = Settings.model_validate({"data": {"dir": tmp_path}, "registry": registry})
        return doctor_registry.look(settings)[:2]

    assert look(enabled=False)[0] == "ok"
    assert look()[1].endswith("will be made by the first start")
    assert look(uri="s3://bucket/x")[1].startswith("at s3://bucket/x")
    (tmp_path / "registry" / "versions.lance.damaged-20261123T000000Z").mkdir(parents=True)
    state, found = look()
    assert (state, "versions.lance.damaged" in found) == ("warning", True)
    (tmp_path / "file").write_text("")
    assert look(uri=str(tmp_path / "file" / "x"))[0] == "failed"
