"""``morphogen demo``: a daemon of its own, real requests over HTTP, the network at work; leaves nothing running.

Called by main.py. Three acts: a real local model where one is found, the simulated pool, and eight weeks of a network that
changes its own shape (demo_life.py), on the simulated pool as well; each says which it is.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from agents.llm.child import free_port
from agents.llm.local import find_packaged_gguf
from runtime.cli import demo_code, demo_life, tables
from runtime.cli.client import Client
from runtime.cli.demo_asks import UNPLUGGED, fetch_outcome
from runtime.cli.demo_daemon import DemoDaemon, pool_lines
from runtime.cli.demo_work import Done, Record, Step, perform, pool_steps, real_steps
from runtime.cli.errors import CliError
from runtime.cli.show import backends_table, nodes_table
from runtime.cli.story import story_of
from runtime.first_backends import simulated_backends

Json = Any
ACT_TIMEOUT_S = 100.0
_REFRESH_S = 0.4
_SHOWN = 14


def run(*, keep_data: bool) -> None:
    """Play the acts and sum up. Raises CliError (exit 1) when a request failed or a process was left."""
    out = tables.console()
    folder = Path(tempfile.mkdtemp(prefix="morphogen-demo-"))
    began = time.monotonic()
    record = Record()
    problems: list[str] = []
    try:
        with _ended_politely():
            gguf = find_gguf()
            if gguf is not None:
                title = f"Act 1: a REAL model on this machine, {gguf.name}. It is small; its answers are its own."
                problems += _act(out, "real", title, folder / "real", local_config(gguf), real_steps(), record)
            else:
                out.print(
                    "No local model was found (set MORPHOGEN_GGUF to a GGUF file for one); on to the simulated pool.",
                    soft_wrap=True,
                )
            title = "Act 2: the SIMULATED pool. The HTTP, the nodes and the strategies are real; what the models say is made up."
            problems += _act(out, "simulated", title, folder / "simulated", pool_config(free_port()), pool_steps(), record)
            problems += _weeks(out, folder / "weeks")
    finally:
        if keep_data:
            out.print(f"Kept: {folder}", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    out.print()
    for line in summary(record.all(), took_s=time.monotonic() - began):
        out.print(line, soft_wrap=True)
    problems += [f"{done.act}: {done.what}: {done.problem}" for done in record.all() if done.problem]
    if problems:
        raise CliError(
            "The demo did not go as it should:\n  " + "\n  ".join(problems), hint="Again with --keep-data for the logs"
        )
    out.print('\nNothing is left running. Next: morphogen serve, then morphogen ask "…"', soft_wrap=True)


def find_gguf() -> Path | None:
    """$MORPHOGEN_GGUF, else a packaged model; None without one, or without the program that serves it."""
    if importlib.util.find_spec("xllamacpp") is None:
        return None
    named = os.environ.get("MORPHOGEN_GGUF")
    if named:
        path = Path(named).expanduser().resolve()
        if not path.is_file():
            raise CliError(f"MORPHOGEN_GGUF names no file: {named}", hint="Mend or unset it", exit_code=2)
        return path
    return find_packaged_gguf()


def local_config(gguf: Path) -> str:
    """The configuration of the first act: one local model, and time for it."""
    return "\n".join(
        [
            "[embedding]\nenabled = false",
            '[[backends]]\nname = "local"\nkind = "local"',
            f"gguf = {json.dumps(str(gguf))}\nmodel = {json.dumps(gguf.stem)}",
            "max_concurrency = 1\nmax_output_tokens = 256\ncontext_tokens = 2048\n",
        ]
    )


def pool_config(unplugged_port: int) -> str:
    """The configuration of the second act: the simulated pool, and a backend at whose port nothing listens."""
    parts = ["[embedding]\nenabled = false", demo_code.SETTINGS]
    parts += pool_lines()
    cheapest = min(simulated_backends(), key=lambda backend: backend.input_usd_per_mtok)
    # Its price puts it beside the cheapest, so that no tier begins with a backend that is down; weight 0 keeps it out of draws.
    parts.append(
        f'[[backends]]\nname = "{UNPLUGGED}"\nbase_url = "http://127.0.0.1:{unplugged_port}/v1"\nmodel = "none"\nweight = 0.0\n'
        f"input_usd_per_mtok = {cheapest.input_usd_per_mtok * 1.01}\noutput_usd_per_mtok = {cheapest.output_usd_per_mtok * 1.01}"
    )
    parts.insert(0, f"[requests]\nfallback = {json.dumps([backend.name for backend in simulated_backends()])}")
    return "\n\n".join(parts) + "\n"


@contextmanager
def _ended_politely() -> Iterator[None]:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does: with its daemon stopped."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _act(out: Console, name: str, title: str, folder: Path, config: str, steps: Sequence[Step], record: Record) -> list[str]:
    """One act from start to stop; gives what went wrong beside the requests themselves."""
    out.print()
    out.print(title, style="bold", soft_wrap=True)
    problems: list[str] = []
    with _running(out, folder, config, problems, name) as daemon:
        work = Thread(target=perform, args=(name, steps, daemon.connect, record), daemon=True)
        work.start()
        with daemon.connect() as client:
            _watch(out, client, name, record, work)
            if work.is_alive():
                problems.append(f"{name}: not done after {ACT_TIMEOUT_S:.0f} s, at: {record.now}")
            _close_up(out, client, name, record)
            if any(step.writes_code for step in steps):
                demo_code.close_up(out, client)
    return problems


def _weeks(out: Console, folder: Path) -> list[str]:
    """The act of the eight weeks from start to stop."""
    out.print()
    out.print(demo_life.TITLE, style="bold", soft_wrap=True)
    problems: list[str] = []
    with _running(out, folder, demo_life.config(), problems, "weeks") as daemon:
        problems += demo_life.play(out, daemon.connect)
    return problems


@contextmanager
def _running(out: Console, folder: Path, config: str, problems: list[str], name: str) -> Iterator[DemoDaemon]:
    """A daemon for one act; what it leaves running is ended, and a problem."""
    daemon = DemoDaemon(folder, config=config)
    try:
        began = time.monotonic()
        with out.status("Starting a daemon …") as status:
            daemon.start(status.update)
        out.print(f"A daemon is ready at {daemon.url} after {tables.seconds(time.monotonic() - began)}.", soft_wrap=True)
        yield daemon
    finally:
        with out.status("Stopping the daemon …"):
            left = daemon.stop()
    problems += [f"{name}: was left running and had to be ended: {tables.clip(command, 100)}" for command in left]


def _watch(out: Console, client: Client, act: str, record: Record, work: Thread) -> None:
    """Show the network while ``work`` goes on: a live picture on a terminal, a line for each request elsewhere."""
    deadline = time.monotonic() + ACT_TIMEOUT_S
    if out.is_terminal:
        with Live(console=out, auto_refresh=False, transient=True) as live:
            while work.is_alive() and time.monotonic() < deadline:
                live.update(picture(client, act, record), refresh=True)
                work.join(_REFRESH_S)
        out.print(results_table(_of(record, act)))
        return
    shown: Counter[str] = Counter()
    while True:
        alive = work.is_alive()
        for line in new_lines(_of(record, act), shown):
            out.print(line, soft_wrap=True)
        if not alive or time.monotonic() > deadline:
            return
        work.join(_REFRESH_S)


def _of(record: Record, act: str) -> list[Done]:
    return [done for done in record.all() if done.act == act]


def picture(client: Client, act: str, record: Record) -> RenderableType:
    """The network now: nodes, backends, what was answered, what is being asked."""
    done = _of(record, act)
    try:
        rows = client.get("/v1/nodes")["data"], client.get("/v1/backends")["data"]
    except CliError as error:
        return Text(error.message)
    parts: list[RenderableType] = [nodes_table(rows[0], now=time.time()), Text(), backends_table(rows[1]), Text()]
    parts.append(results_table(done[-_SHOWN:]))
    parts.append(
        Text(f"\n{len(done)} answered, {tables.usd(sum(d.cost_usd for d in done))} so far. Now: {record.now or '…'}", style="dim")
    )
    return Group(*parts)


def results_table(done: Sequence[Done]) -> RenderableType:
    """One row a kind of request, in the order in which they came."""
    groups: dict[str, list[Done]] = {}
    for one in done:
        groups.setdefault(one.what, []).append(one)
    rows = [
        (
            what if len(group) == 1 else f"{what} ({len(group)} answered)",
            group[-1].found or f"FAILED: {group[-1].problem}",
            ", ".join(sorted({f"{d.backend}{' (simulated)' if d.simulated else ''}" for d in group if d.backend})) or "-",
            tables.seconds(sum(d.latency_s for d in group) / len(group)),
            tables.usd(sum(d.cost_usd for d in group)),
        )
        for what, group in groups.items()
    ]
    return tables.table(("request", "came back", "from", "took (mean)", "cost"), rows, right=("took (mean)", "cost"))


def new_lines(done: Sequence[Done], shown: Counter[str]) -> Iterator[str]:
    """A line for each request that was not shown yet; ``shown`` counts them by kind. A crowd gets its first three."""
    for number, one in enumerate(done):
        if number < shown["_all"]:
            continue
        shown[one.what] += 1
        if shown[one.what] > 3 and not one.problem:
            continue
        mark = "FAILED" if one.problem else "ok"
        source = f"{one.backend}{', simulated' if one.simulated else ''}" if one.backend else "-"
        took, cost = tables.seconds(one.latency_s), tables.usd(one.cost_usd)
        yield f"  {mark:<6} {one.what:<34} {one.found or one.problem:<44} [{source}] {took} {cost}"
    shown["_all"] = len(done)


def _close_up(out: Console, client: Client, act: str, record: Record) -> None:
    """The network after the act and the story of one answer: the healed one where there is one."""
    out.print()
    out.print(nodes_table(client.get("/v1/nodes")["data"], now=time.time()))
    out.print()
    out.print(backends_table(client.get("/v1/backends")["data"]))
    told = [done for done in _of(record, act) if done.request_id and not done.problem]
    if not told:
        return
    chosen = next((done for done in told if UNPLUGGED in done.found), told[-1])
    out.print(f"\nHow one of them came about (morphogen trace {chosen.request_id}):\n", style="bold", soft_wrap=True)
    out.print("\n".join(story_of(fetch_outcome(client, chosen.request_id))), soft_wrap=True)


def summary(done: Sequence[Done], *, took_s: float) -> Iterator[str]:
    """What was done, computed from the replies, an act a line."""
    for act in dict.fromkeys(one.act for one in done):
        own = [one for one in done if one.act == act]
        good = [one for one in own if not one.problem]
        waits = sorted(one.latency_s for one in good)
        by_backend = Counter(one.backend for one in good if one.backend)
        spread = ", ".join(f"{name} {number}" for name, number in by_backend.most_common())
        pretended = sum(one.simulated for one in good)
        whose = "real" if not pretended else "simulated" if pretended == len(good) else "partly simulated"
        label = f"{whose if good else 'no'} answers"
        median = tables.seconds(waits[len(waits) // 2]) if waits else "-"
        cost = tables.usd(sum(one.cost_usd for one in good))
        priced = " at pretended prices" if pretended else ""
        yield f"{act}: {len(good)} of {len(own)} requests answered ({label}): {spread}; median {median}, {cost}{priced}."
    yield f"All of it took {tables.seconds(took_s)}."
