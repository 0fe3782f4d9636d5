"""What ``morphogen watch`` knows and shows: pure, but for rich's renderables. Called by watch.py; imports no HTTP."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from runtime.cli import tables

Json = Any
MAX_EVENTS: Final = 200
RATE_S: Final = 60.0
MAX_REASON: Final = 500
DECIDABLE: Final = ("proposed", "snoozed")
HELP: Final = "↑ ↓ choose a proposal · a approve · r reject · s snooze for an hour · q quit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a key asks for: a decision on a proposal, or the end."""

    what: Literal["approve", "reject", "snooze", "quit"]
    proposal: Mapping[str, Json] = field(default_factory=dict)
    reason: str = ""


@dataclass(slots=True)
class Watched:
    """All that is on the screen. ``asking`` holds the words of a rejection while they are typed; None: nobody types."""

    url: str
    nodes: list[Json] = field(default_factory=list)
    patterns: list[Json] = field(default_factory=list)
    proposals: list[Json] = field(default_factory=list)
    efficiency: float | None = None
    spent_usd: float | None = None
    simulated: bool = False
    events: deque[Json] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    requests: deque[tuple[float, float, bool]] = field(default_factory=lambda: deque(maxlen=100_000))
    chosen: int = 0
    asking: str | None = None
    said: str = ""
    trouble: str = ""

    def hear(self, event: Mapping[str, Json]) -> None:
        """Take up one event of the stream."""
        data = event["data"] or {}
        if event["kind"] == "request":
            ok = data.get("status") in ("ok", "partial")
            self.requests.append((float(data.get("at") or 0.0), float(data.get("cost_usd") or 0.0), ok))
        self.events.append(event)

    def rates(self, now: float) -> tuple[float, float, float]:
        """Requests a second, USD an hour and the share that failed, over the last minute."""
        while self.requests and self.requests[0][0] < now - RATE_S:
            self.requests.popleft()
        n = len(self.requests)
        usd = sum(cost for _, cost, _ in self.requests)
        failed = sum(not ok for _, _, ok in self.requests)
        return n / RATE_S, usd * 3600.0 / RATE_S, failed / n if n else 0.0

    @property
    def decidable(self) -> list[Json]:
        return [each for each in self.proposals if each["status"] in DECIDABLE]

    @property
    def selected(self) -> Json | None:
        open_ = self.decidable
        self.chosen = min(max(0, self.chosen), max(0, len(open_) - 1))
        return open_[self.chosen] if open_ else None

    def press(self, key: str) -> Act | None:
        """What a key does; None where it only changes the screen."""
        if self.asking is not None:
            return self._typed(key)
        if key == "q":
            return Act(what="quit")
        if key in ("up", "k"):
            self.chosen = max(0, self.chosen - 1)
        elif key in ("down", "j"):
            self.chosen = min(max(0, len(self.decidable) - 1), self.chosen + 1)
        elif key in ("a", "s", "r") and (proposal := self.selected) is not None:
            if key == "r":
                self.asking = ""
                return None
            return Act(what="approve" if key == "a" else "snooze", proposal=proposal)
        return None

    def _typed(self, key: str) -> Act | None:
        text, self.asking = self.asking or "", None
        if key == "escape":
            return None
        if key == "enter":
            proposal = self.selected
            if text.strip() and proposal is not None:
                return Act(what="reject", proposal=proposal, reason=text.strip())
            self.said = "A rejection needs a reason."
            return None
        if key == "backspace":
            self.asking = text[:-1]
        elif len(key) == 1 and key.isprintable() and len(text) < MAX_REASON:
            self.asking = text + key
        else:
            self.asking = text
        return None


# ── the screen ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def screen(state: Watched, *, now: float, height: int) -> RenderableType:
    """Everything within ``height`` lines."""
    room = max(12, height) - 8
    lines = max(2, room // 4)
    parts: list[RenderableType] = [Text(headline(state, now), style="bold", no_wrap=True, overflow="ellipsis")]
    if state.simulated:
        parts.append(Text(tables.MADE_UP, style="yellow"))
    parts += [
        Panel(_nodes(state, lines), title="nodes", title_align="left"),
        Panel(_proposals(state, lines), title="proposals", title_align="left"),
        Panel(_patterns(state, max(2, lines - 1)), title="patterns", title_align="left"),
        Panel(_events(state, lines), title="what happens", title_align="left"),
    ]
    foot = f"Reason (Enter rejects, Esc does not): {state.asking}▏" if state.asking is not None else HELP
    parts.append(Text(tables.clip(state.trouble or state.said, 200), style="red" if state.trouble else "green"))
    parts.append(Text(foot, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def headline(state: Watched, now: float) -> str:
    """The network in one line."""
    rate, usd, failed = state.rates(now)
    live = sum(node.get("state") == "live" for node in state.nodes)
    score = "-" if state.efficiency is None else f"{state.efficiency:.0f}/100"
    spent = "" if state.spent_usd is None else f" · {tables.usd(state.spent_usd)} today"
    return (
        f"{state.url} · {live} nodes live · {rate:.1f} requests/s ({failed:.0%} failed) · {tables.usd(usd)}/h{spent} · "
        f"efficiency {score}"
    )


def _nodes(state: Watched, most: int) -> RenderableType:
    rows = [
        (
            tables.clip(str(node.get("name")), 32),
            str(node.get("role")),
            str(node.get("state") or node.get("desired") or "-"),
            str(node.get("inflight", 0)),
            str(node.get("handled", 0)),
            str(node.get("failed", 0)),
        )
        for node in sorted(state.nodes, key=lambda each: -int(each.get("handled") or 0))[:most]
    ]
    return tables.table(("node", "role", "state", "running", "handled", "failed"), rows, right=("running", "handled", "failed"))


def _proposals(state: Watched, most: int) -> RenderableType:
    if not state.proposals:
        return Text("none open", style="dim")
    selected = state.selected
    first = max(0, state.proposals.index(selected) - most + 1) if selected in state.proposals else 0
    text = Text(no_wrap=True, overflow="ellipsis")
    for each in state.proposals[first : first + most]:
        mark = "▶ " if each is selected else "  "
        line = f"{mark}{each['kind']} {each['subject']} · {each['status']} · {tables.clip(each['reason'], 160)}\n"
        text.append(tables.printable(line), style="bold" if each is selected else "")
    text.rstrip()
    return text


def _patterns(state: Watched, most: int) -> RenderableType:
    if not state.patterns:
        return Text("none found yet", style="dim")
    rows = [
        (
            tables.clip(str(row.get("called") or row["name"]), 48),
            str(row["count"]),
            f"{row['share']:.0%}",
            "-" if row.get("quality") is None else f"{row['quality']:.2f}",
            tables.seconds(row.get("latency_p50_s")),
            tables.usd(row.get("cost_usd")),
        )
        for row in state.patterns[:most]
    ]
    columns = ("pattern", "requests", "share", "quality", "median", "cost each")
    return tables.table(columns, rows, right=columns[1:])


def _events(state: Watched, most: int) -> RenderableType:
    text = Text(no_wrap=True, overflow="ellipsis")
    for event in list(state.events)[-most:]:
        text.append(f"{tables.printable(line_of(event))}\n")
    text.rstrip()
    return text


def line_of(event: Mapping[str, Json]) -> str:
    """One event in one line, for the screen and for a pipe."""
    return tables.clip(f"{event['kind']:<9} {', '.join(_fields(event['data'] or {}))}", 240)


def _fields(data: Mapping[str, Json]) -> Iterator[str]:
    for name, value in data.items():
        if name == "at" or value is None or value == "":
            continue
        if name == "cost_usd":
            yield f"cost {tables.usd(value)}"
        elif name.endswith("_s") and isinstance(value, float):
            yield f"{name[:-2]} {tables.seconds(value)}"
        elif value is True:
            yield name
        elif value is not False:
            yield f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
