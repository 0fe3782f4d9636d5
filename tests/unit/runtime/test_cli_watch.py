"""``morphogen watch``: what it knows, what its keys do, and that nothing a model wrote drives the terminal."""

import io
from typing import Any

from rich.console import Console

from runtime.cli.watch_view import Act, Watched, headline, line_of, screen

Json = Any


def proposal(name: str, status: str = "proposed", reason: str = "why") -> Json:
    return {"id": name, "kind": "spawn", "subject": f"p-{name}", "status": status, "reason": reason, "hash": "0" * 64}


def watched(*proposals: Json) -> Watched:
    return Watched(url="http://here", proposals=list(proposals))


def shown(state: Watched, height: int = 40) -> str:
    console = Console(width=120, height=height, record=True, file=io.StringIO())
    console.print(screen(state, now=100.0, height=height))
    return console.export_text()


def test_keys_choose_and_decide() -> None:
    state = watched(proposal("one"), proposal("busy", "applying"), proposal("two"))
    assert state.press("a") == Act(what="approve", proposal=state.proposals[0])
    assert state.press("down") is None
    assert state.press("s") == Act(what="snooze", proposal=state.proposals[2])
    state.press("down")
    assert state.selected is state.proposals[2]
    state.press("up")
    assert state.selected is state.proposals[0]
    assert state.press("q") == Act(what="quit")
    assert state.press("x") is None


def test_a_rejection_asks_for_a_reason() -> None:
    state = watched(proposal("one"))
    assert state.press("r") is None
    for key in ("n", "o", "q", "backspace", "!"):
        assert state.press(key) is None
    assert state.asking == "no!"
    assert "no!" in shown(state)
    assert state.press("enter") == Act(what="reject", proposal=state.proposals[0], reason="no!")
    assert state.asking is None
    state.press("r")
    assert state.press("enter") is None
    assert state.said == "A rejection needs a reason."
    state.press("r")
    state.press("n")
    assert state.press("escape") is None
    assert state.asking is None


def test_without_proposals_keys_decide_nothing() -> None:
    state = watched(proposal("done", "applying"))
    assert [state.press(key) for key in ("a", "r", "s", "up", "down")] == [None] * 5
    assert state.asking is None


def test_rates_are_those_of_the_last_minute() -> None:
    state = watched()
    for at, status in ((10.0, "ok"), (90.0, "ok"), (99.0, "error")):
        state.hear({"kind": "request", "data": {"at": at, "cost_usd": 0.01, "status": status}})
    rate, usd, failed = state.rates(100.0)
    assert rate == 2 / 60
    assert usd == 0.02 * 60
    assert failed == 0.5
    assert "0.0 requests/s (50% failed)" in headline(state, 100.0)


def test_the_screen_shows_what_there_is_and_fits_small_terminals() -> None:
    state = watched(proposal("one", reason="a pattern \x1b[2J that is answered badly"))
    state.nodes = [{"name": f"n{i}", "role": "specialist", "state": "live", "handled": i, "failed": 0} for i in range(50)]
    row = {"name": "p1", "called": "Legal", "count": 80, "share": 0.4, "quality": None, "latency_p50_s": 1.0, "cost_usd": 0.001}
    state.patterns, state.efficiency, state.simulated = [row], 68.4, True
    state.hear({"kind": "node", "data": {"name": "n1", "state": "live", "at": 1.0}})
    text = shown(state)
    for part in ("n49", "p-one", "Legal", "68/100", "SIMULATED", "name n1", "approve"):
        assert part in text
    assert "\x1b[2J" not in text
    assert len(shown(state, height=5).splitlines()) < 40


def test_a_line_tells_an_event() -> None:
    event = {
        "kind": "request",
        "data": {"id": "r1", "status": "ok", "latency_s": 0.5, "cost_usd": 0.002, "at": 5.0, "node": None},
    }
    assert line_of(event) == "request id r1, status ok, latency 0.50 s, cost $0.0020"
    assert line_of({"kind": "gap", "data": None}) == "gap"
