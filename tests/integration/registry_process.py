"""A registry in a process of its own, to be killed: publishes without end and prints each version that was acknowledged.

``python registry_process.py FOLDER publish|optimize|full``
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from registry.artifacts import Registry
from registry.catalog import SPECS, USAGE
from registry.records import OPERATOR, NewVersion, RegistryUnavailable
from registry.tables import Tables
from registry.upkeep import optimize
from runtime.ledger.registry import LedgerEvidence, LedgerJournal
from runtime.ledger.store import Ledger


async def open_ledger(folder: Path) -> Ledger:
    return await Ledger.open(
        folder / "ledger.sqlite",
        flush_ms=2.0,
        retention_days=30.0,
        max_bytes=2**30,
        store_bodies=True,
        max_stored_chars=2000,
    )


async def open_registry(folder: Path, ledger: Ledger, *, within_s: float = 10.0) -> tuple[Registry, Tables]:
    tables = await Tables.open(str(folder / "registry"), [*SPECS, USAGE])
    journal = LedgerJournal(ledger, within_s=within_s)
    return await Registry.open(tables, journal, LedgerEvidence(ledger), checker=None), tables


def prompt(n: int, size: int = 2000) -> NewVersion:
    text = f"Prompt number {n}. " + "words and more words " * (size // 21)
    return NewVersion(name=f"prompt-{n % 7}", kind="prompt", content=text, problem=f"problem {n % 7}", author="node-1")


async def publish(registry: Registry, start: int) -> None:
    for n in range(start, start + 100_000, 4):
        made = await asyncio.gather(*(registry.publish(prompt(n + k)) for k in range(4)))
        for version in made:
            print("kept", version.version_id, version.content_hash, flush=True)
        if n % 3 == 0:
            standing = (await registry.move(made[0].version_id, "deprecated", by=OPERATOR, reason=f"round {n}"))[0]
            print("moved", standing.version_id, standing.state, flush=True)


async def tidy(registry: Registry) -> None:
    while True:
        await optimize(registry, retention_s=0)
        print("tidied", flush=True)


async def full(registry: Registry) -> None:
    """Let no file grow beyond a few bytes more than the ledger has, then let it again."""
    kept = await registry.publish(prompt(1))
    print("kept", kept.version_id, kept.content_hash, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, resource.RLIM_INFINITY))
    try:
        await registry.publish(prompt(2, 200_000))
        print("published on a full disk", flush=True)
    except RegistryUnavailable as error:
        print("refused", error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asyncio.sleep(2.5)  # the ledger's writer tries again now and then
    kept = await registry.publish(prompt(3, 200_000))
    print("kept", kept.version_id, kept.content_hash, flush=True)


async def main(folder: Path, what: str, start: int) -> None:
    ledger = await open_ledger(folder)
    registry, tables = await open_registry(folder, ledger, within_s=2.0)
    print("open", flush=True)
    if what == "full":
        await full(registry)
    elif what == "optimize":
        await asyncio.gather(publish(registry, start), tidy(registry))
    else:
        await publish(registry, start)
    await registry.close()
    tables.close()
    await ledger.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
