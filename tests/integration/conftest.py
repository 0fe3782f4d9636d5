"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.ledger.store import Ledger
from tests.integration.daemon_process import Running, running_daemon
from tests.integration.ledger_file import open_ledger


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One daemon with the simulated pool and nodes in process, shared by the tests that only ask it."""
    with running_daemon(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture(scope="session")
def ray_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same on the real Ray."""
    with running_daemon(tmp_path_factory.mktemp("ray-daemon"), cluster="ray") as running:
        yield running


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await open_ledger(tmp_path / "data" / "ledger.sqlite")
    yield ledger
    await ledger.close()
