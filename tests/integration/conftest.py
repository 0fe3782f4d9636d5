"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.ledger.store import Ledger
from sandbox import launch
from sandbox.records import Setup
from sandbox.runner import Sandbox
from tests.integration.daemon_process import Running, running_daemon
from tests.integration.ledger_file import open_ledger
from tests.integration.sandbox_own import EASY

SOON_OVER = """
[topology]
round_s = 0.1
max_spawns_per_minute = 60
[topology.probation]
lasts_s = 0.2
extensions = 0
"""


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One daemon with the simulated pool and nodes in process, shared by the tests that only ask it."""
    with running_daemon(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture(scope="session")
def ray_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same on the real Ray; changes of its shape are on probation for a moment only."""
    with running_daemon(tmp_path_factory.mktemp("ray-daemon"), SOON_OVER, cluster="ray") as running:
        yield running


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await open_ledger(tmp_path / "data" / "ledger.sqlite")
    yield ledger
    await ledger.close()


@pytest.fixture(scope="module")
def sandbox_setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """A setup of this module's own, with one caller that keeps its zygote warm."""
    made = Setup(limits=EASY, runtime_dir=str(tmp_path_factory.mktemp("sandbox", numbered=True)), allow_reduced=True)
    Path(made.runtime_dir or "").chmod(0o700)
    reached = launch.reach(made, scientific=False)
    yield made
    reached.sock.close()


@pytest.fixture
async def sandbox(sandbox_setup: Setup) -> AsyncIterator[Sandbox]:
    async with Sandbox(sandbox_setup) as made:
        yield made
