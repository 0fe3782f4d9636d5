"""The demo's third act: eight weeks of a network that changes its own shape, in a minute or so, on the simulated pool.

Called by demo.py. Over HTTP alone: it sends the traffic of demo_weeks.py and asks the daemon what it did of it (demo_change.py).
The windows, the evidence and the probation of this daemon are small, and it approves by itself, all by its configuration.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from rich.console import Console

from runtime.cli import tables
from runtime.cli.analysis import told as told_analysis
from runtime.cli.client import Client
from runtime.cli.demo_asks import Unexpected, fetch_outcome
from runtime.cli.demo_change import Heard, Sight, came, came_about, comparison, heard_of, missing, moves, taken
from runtime.cli.demo_daemon import pool_lines
from runtime.cli.demo_weeks import WINDOW, Asked, Week, cast_of, weeks, window_of
from runtime.cli.errors import CliError

Json = Any
Connect = Callable[[], Client]
TITLE: Final = (
    "Act 3: a network that changes its own shape, eight weeks of it, on the SIMULATED pool (its latencies cut to a tenth)."
)
DESK: Final = "second-desk"
_CLIENTS: Final = 8
_OPEN_S: Final = 90.0
SETTLE_S: Final = 0.5
_WRITE_S: Final = 20.0
_POLL_S: Final = 0.15
_MOST_S: Final = 150.0
_SEED: Final = 11


def config(*, cluster: str = "local", speed: float = 0.1) -> str:
    """The configuration of this act's daemon: small windows, little evidence, short probations, approval by policy, and nodes
    in its own process (``ray`` takes a third longer)."""
    approval = "\n".join(f'{kind} = "auto"' for kind in ("spawn", "merge", "prune"))
    parts = [
        f'[cluster]\nkind = "{cluster}"\nmax_live_nodes = 24',
        f"[simulated]\nspeed = {speed}",
        "[patterns]\nmin_requests = 5\nlabel_every_s = 0.05\nembed_within_s = 5.0",
        f"[observe]\nevery_requests = {WINDOW}\nleast_seen = 5\nleast_gain = 0.13\ncooldown_s = 0.5\nask_models = false",
        "[topology]\nround_s = 0.2\nmax_spawns_per_minute = 60\nhold_back_s = 5.0",
        f'[topology.approval]\n{approval}\nmax_risk = "high"',
        "[topology.probation]\nlasts_s = 6.0\nextensions = 1\nrequests = 5",
        "[registry]\nreview = false",
        "[library]\nflush_every_s = 1.0",
        "[routing]\njudge_share = 0.0",
        "[routers]\nenabled = false",
        *pool_lines(),
    ]
    return "\n\n".join(parts) + "\n"


@dataclass(slots=True)
class Life:
    """The weeks so far. ``clients`` send at the same time, ``say`` prints (what, words)."""

    clients: Sequence[Client]
    say: Callable[[str, str], None]
    rng: Random = field(default_factory=lambda: Random(_SEED))
    cast: dict[str, str] = field(default_factory=lambda: cast_of(()))
    heard: list[Heard] = field(default_factory=list)
    by_week: dict[int, list[Heard]] = field(default_factory=dict)
    most_nodes: int = 0
    _shown: Counter[str] = field(default_factory=Counter)
    _wholes: dict[str, Json] = field(default_factory=dict)

    def live(self, daemon: Client) -> list[str]:
        """All weeks; gives what did not come about, or went wrong."""
        problems: list[str] = []
        end = time.monotonic() + _MOST_S
        for week in weeks():
            problems += self._week(daemon, week, end)
        return problems

    def _week(self, daemon: Client, week: Week, end: float) -> list[str]:
        if week.number == 5:
            self.cast = cast_of(self._taken(daemon))
        self.say(f"Week {week.number}", week.title.format(**self.cast))
        if week.wish:
            self._wish(daemon)
        own = self.by_week.setdefault(week.number, [])
        for number in range(week.most):
            asked = window_of(week.mix, self.rng, names=self._names(daemon), cast=self.cast)
            heard = self._send(asked)
            own += heard
            self.heard += heard
            sight = self._settled(daemon, week)
            over = number + 1 >= week.least and all(came_about(what, sight) for what in week.expects)
            if over or time.monotonic() > end:
                break
        self.say("came", came(own))
        for what in week.expects:
            self.say("so", came_about(what, sight) or f"NOT: {missing(what)}")
        failed = [f"week {week.number}: {each.kind}: {each.problem}" for each in own if each.problem]
        return failed[:5] + [f"week {week.number}: {missing(what)}" for what in week.expects if not came_about(what, sight)]

    def _send(self, asked: Sequence[Asked]) -> list[Heard]:
        """All at once, by the clients."""

        def send(client: Client, share: Sequence[Asked]) -> list[Heard]:
            return [self._ask(client, each) for each in share]

        with ThreadPoolExecutor(max_workers=len(self.clients)) as pool:
            shares = pool.map(send, self.clients, [asked[place :: len(self.clients)] for place in range(len(self.clients))])
            return [each for share in shares for each in share]

    def _ask(self, daemon: Client, asked: Asked) -> Heard:
        began = time.monotonic()
        try:
            reply = daemon.post("/v1/requests", dict(asked.body))
        except CliError as error:
            return Heard(kind=asked.kind, open=False, problem=error.message, latency_s=time.monotonic() - began)
        return heard_of(asked.kind, asked.body, reply, time.monotonic() - began)

    # ── what the daemon did ─────────────────────────────────────────────────────────────────────────────────────────────

    def _settled(self, daemon: Client, week: Week) -> Sight:
        """What there is to see once the window was looked at, or the week's change has come about; new moves are told."""
        began = time.monotonic()
        deadline = began + SETTLE_S
        while True:
            sight = self.look(daemon)
            if "written" in week.expects and came_about("spawned", sight) and not came_about("written", sight):
                deadline = min(max(deadline, time.monotonic() + _POLL_S), began + _WRITE_S)  # nothing is sent meanwhile
            done = week.expects and all(came_about(what, sight) for what in week.expects)
            if done or time.monotonic() > deadline:
                return sight
            time.sleep(_POLL_S)

    def look(self, daemon: Client) -> Sight:
        """Ask the daemon, and tell what moved since."""
        listed = daemon.get("/v1/proposals", operator=True, params={"limit": 200})["data"]
        for short in reversed(listed):
            known = self._wholes.get(short["id"])
            if known is None or known["updated_at"] != short["updated_at"]:
                whole = daemon.get(f"/v1/proposals/{short['id']}", operator=True)
                self._wholes[short["id"]] = whole
                for what, words in moves(whole, self._shown[short["id"]]):
                    self.say(what, words)
                self._shown[short["id"]] = len(whole["decisions"])
        shape = daemon.get("/v1/topology", operator=True)
        self.most_nodes = max(self.most_nodes, shape["live"])
        patterns = daemon.get("/v1/patterns", operator=True)["data"]
        written = daemon.get("/v1/registry/artifacts", operator=True, params={"kind": "adapter"})["data"]
        routines = frozenset(each["name"].removeprefix("specialist-") for each in written if each["state"] == "published")
        return Sight(heard=self.heard, patterns=patterns, cases=list(self._wholes.values()), shape=shape, routines=routines)

    def _taken(self, daemon: Client) -> list[str]:
        """The kinds that live specialists took requests of, the busiest first."""
        live = {node["name"] for node in daemon.get("/v1/topology", operator=True)["nodes"] if node["role"] == "specialist"}
        return [kind for kind, _ in Counter(each.kind for each in self.heard if each.open and each.node in live).most_common()]

    def _names(self, daemon: Client) -> dict[str, str]:
        """Nodes that clients may name: the specialist that takes most of the requests that get a desk, and that desk."""
        shape = daemon.get("/v1/topology", operator=True)
        live = {node["name"] for node in shape["nodes"] if node["desired"] == "live" and node["role"] == "specialist"}
        took = Counter(
            each.node for each in self.heard if each.kind == self.cast["revenue"] and each.open and each.node in live - {DESK}
        )
        found = {"specialist": took.most_common(1)[0][0]} if took else {}
        return {**found, **({"desk": DESK} if DESK in live else {})}

    def _wish(self, daemon: Client) -> None:
        """An operator adds a node by hand that does what a specialist does already."""
        name = self._names(daemon).get("specialist")
        if name is None:
            return
        nodes = {node["name"]: node for node in daemon.get("/v1/topology", operator=True)["nodes"]}
        like = nodes[name]
        wanted = {"kind": "spawn", "name": DESK, "parent": name, "locale": like["locale"], "speciality": like["speciality"]}
        more = {"prompt": like["prompt"], "strategy": like["strategy"], "backends": like["backends"]}
        made = daemon.post("/v1/proposals", {**wanted, **more, "reason": "a second desk, to be sure"}, operator=True)
        if made["status"] == "proposed":
            daemon.post(f"/v1/proposals/{made['id']}/approve", {"hash": made["hash"]}, operator=True)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and "desk" not in self._names(daemon):
            time.sleep(_POLL_S)


def wait_open(daemon: Client) -> None:
    """Until patterns and the registry are open, some seconds after the daemon. Raises CliError."""
    deadline = time.monotonic() + _OPEN_S
    while (status := daemon.get("/v1/patterns", operator=True)["status"]) != "ok":
        if time.monotonic() > deadline:
            raise CliError(f"The demo's daemon finds no patterns: {status}")
        time.sleep(_POLL_S)


def play(out: Console, connect: Connect) -> list[str]:
    """The act on a daemon that is ready; gives what went wrong."""

    def say(what: str, words: str) -> None:
        style = "bold" if what.startswith("Week") else None
        out.print(f"{what}: {words}" if style else f"  {what:<12} {words}", style=style, soft_wrap=True)

    out.print(
        f"Its daemon keeps its nodes in its own process, looks at itself after every {WINDOW} requests, asks for little "
        "evidence, watches a change for 6 to 12 s and "
        "approves births, merges and prunings by itself; all of that is its configuration.\n",
        soft_wrap=True,
    )
    with ExitStack() as stack:
        daemon, *clients = [stack.enter_context(connect()) for _ in range(1 + _CLIENTS)]
        with out.status("Until the embeddings are loaded …"):
            wait_open(daemon)
        life = Life(clients=clients, say=say)
        problems = life.live(daemon)
        _close(out, daemon, life)
    return problems


def _close(out: Console, daemon: Client, life: Life) -> None:
    """What a specialist's routine did to one request, the network's own report, and the numbers before and after."""
    sight = life.look(daemon)
    took = next((each for each in reversed(life.heard) if each.open and each.node in taken(sight)), None)
    if took is not None:
        out.print(f"\nWhy {took.node} got one of them (morphogen trace {took.request_id}):", style="bold", soft_wrap=True)
        for line in reasons(daemon, took.request_id):
            out.print(f"  {line}", soft_wrap=True)
    out.print("\nThe network's own report (morphogen topology analyse):\n", style="bold", soft_wrap=True)
    for line in told_analysis(daemon.get("/v1/topology/analysis", operator=True)):
        out.print(tables.printable(line), soft_wrap=True)
    last = max(life.by_week)
    nodes = (1, life.most_nodes, sight.shape["live"])
    rows = comparison(life.by_week[1], life.by_week[last], nodes)
    out.print()
    out.print(tables.table(("simulated", "week 1", f"week {last}"), rows))
    live = ", ".join(f"{node['name']} ({node['role']})" for node in sight.live())
    out.print(f"Live in the end: {live}.", soft_wrap=True)


def reasons(daemon: Client, request_id: str) -> list[str]:
    """What its trace says of its pattern, and of who was to answer."""
    try:
        events = fetch_outcome(daemon, request_id)["events"]
    except Unexpected as error:
        return [str(error)]
    told = {
        "pattern": lambda data: f"it is of the pattern {data['pattern']}, {data['name']!r}",
        "route": lambda data: f"{data['reason']} ({data.get('version') or 'no routine'})",
    }
    return [tables.clip(told[event["kind"]](event["data"]), 200) for event in events if event["kind"] in told]
