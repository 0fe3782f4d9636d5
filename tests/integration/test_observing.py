"""The network observes itself: what the control loop reads of a real ledger, and a daemon that looks, proposes and tells."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from agents.records import BackendTimeout, Choice, Event, InvalidRequest, NodeId, NodeLost, Work
from agents.strategies.compose import run_strategy
from agents.strategy_specs import Aspect, Consensus, Gate, Parallel, Pipeline, Single, Stage, StrategySpec
from runtime.jobs.records import Feedback
from runtime.ledger.jobs import JobLedger
from runtime.ledger.observing import ObservingLedger
from runtime.ledger.rows import Took
from runtime.topology.mending import rewires
from runtime.topology.observe import observe
from runtime.topology.payloads import Prune, Rewire
from runtime.topology.propose import propose
from runtime.topology.situation import Memory, Situation
from tests.fakes.outcomes import member, shape
from tests.fakes.toolbox import FakeToolbox
from tests.integration.daemon_process import Running, running_daemon
from tests.integration.ledger_file import answer, call, finish, open_ledger, request

pytestmark = pytest.mark.integration

SETTINGS = """
[observe]
every_requests = 20
every_s = 3600
[topology]
round_s = 0.1
"""


async def test_outcomes_are_read_as_columns_with_who_failed_and_what_people_said(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "ledger.sqlite")
    fields: dict[str, Any] = {"calls": (), "events": (), "at": 101.0, "latency_s": 2.0, "overhead_s": 0.1}
    checked = (
        Event(kind="stage", at=100.9, data={"name": "validate", "attempt": 0, "issues": ["too short"]}),
        Event(kind="stage", at=101.0, data={"name": "validate", "attempt": 1, "issues": []}),
    )
    for name in ("r1", "r2", "chore", "bad", "gone"):
        await ledger.accept(request(name, **({"source": "registry"} if name == "chore" else {})), at=100.0)
    finish(ledger, "r1", call(simulated=True), events=checked, text="the answer")
    took = Took(node="specialist", strategy="pipeline")
    ledger.finish("r2", answer=None, error=NodeLost("it died"), took=took, **fields)
    finish(ledger, "chore", call())
    finish(ledger, "bad", error=InvalidRequest("nobody's fault"))
    finish(ledger, "slow", error=BackendTimeout("slow"))
    await ledger.flush()
    await JobLedger(ledger).feedback("r1", None, Feedback(score=0.25, comment="", at=102.0))
    reads = ObservingLedger(ledger, patterns_of=lambda ids: {"r1": "p1"})
    assert await reads.first(since=0.0) == 0
    assert await reads.first(since=1e12) >= 4
    keys, found = await reads.after(0, locale_of={"specialist": "law"})
    assert len(keys) == len(found) == 3
    assert found.ok.tolist() == [True, False, False]
    assert found.fault.tolist() == [False, True, False]
    assert found.score[0] == 0.25
    assert found.simulated.tolist() == [True, False, False]
    assert found.names["node"] == ("root", "specialist")
    assert found.names["locale"] == ("law",)
    assert found.names["pattern"] == ("p1",)
    assert found.codes["strategy"].tolist() == [0, 1, -1]
    again, rest = await reads.after(keys[0], locale_of={}, limit=1)
    assert (again, len(rest)) == ([keys[1]], 1)
    (check,) = await reads.checks(0)
    assert (check.node, check.kind, check.runs, check.found) == ("root", "validation", 1, 1)
    assert check.seconds == pytest.approx(0.4)
    assert await reads.answers("root", 0) == [("", "world"), ("p1", "the answer")]
    assert answer("r1").node == "root"
    await ledger.close()


MEMBERS = tuple(Single(backend=name) for name in ("cheap", "dear", "odd"))
SAYS = {"cheap": "23 metres", "dear": "It is 23 metres", "odd": "blue"}
PARTS: dict[str, tuple[StrategySpec, str, StrategySpec]] = {
    "stage": (
        Pipeline(
            stages=(Stage(name="draft", strategy=Single(tier="cheap")), Stage(name="polish", strategy=Single(tier="cheap")))
        ),
        "stage 'polish'",
        Pipeline(stages=(Stage(name="draft", strategy=Single(tier="cheap")),)),
    ),
    "gate": (
        Pipeline(
            stages=(Stage(name="draft", strategy=Single(tier="cheap"), gate=Gate()), Stage(name="end", strategy=MEMBERS[2]))
        ),
        "the gate of stage 'draft'",
        Pipeline(stages=(Stage(name="draft", strategy=Single(tier="cheap")), Stage(name="end", strategy=MEMBERS[2]))),
    ),
    "aspect": (
        Parallel(aspects=(Aspect(name="one", strategy=MEMBERS[0]), Aspect(name="other", strategy=MEMBERS[1])), merge="vote"),
        "aspect 'other'",
        Parallel(aspects=(Aspect(name="one", strategy=MEMBERS[0]),), merge="vote"),
    ),
    "member": (Consensus(members=MEMBERS), "member '2'", Consensus(members=(MEMBERS[0], MEMBERS[2]))),
}


@pytest.mark.parametrize("part", PARTS)
async def test_a_part_that_changes_no_answer_is_found_in_the_traces_and_dropped(tmp_path: Path, part: str) -> None:
    """The strategies themselves say what their parts were good for; the rule reads it of the ledger."""
    strategy, named, left = PARTS[part]
    box = FakeToolbox(lambda request, choice: SAYS[choice.backend or "cheap"])
    work = Work(messages=({"role": "user", "content": "How high is the tower?"},))
    await run_strategy(work, strategy, box, Choice(), visible=False)
    events = tuple(Event(kind="stage", at=100.5, data=data) for kind, data in box.notes if kind == "stage")
    ledger = await open_ledger(tmp_path / "ledger.sqlite")
    for number in range(220):
        await ledger.accept(request(f"r{number}"), at=100.0)
        finish(ledger, f"r{number}", call(), events=events)
    await ledger.flush()
    reads = ObservingLedger(ledger)
    _, outcomes = await reads.after(0, locale_of={})
    topology = shape(member("root", strategy=strategy))
    situation = Situation(window=observe(outcomes, number=2), topology=topology, checks=await reads.checks(0))
    (wish,) = rewires(situation)
    assert isinstance(wish.draft.payload, Rewire)
    assert wish.draft.payload.spec.strategy == left
    assert (
        wish.draft.reason
        == f"{named} of root {'found something' if part == 'gate' else 'changed the answer'} in 0 of 220 cases: drop it"
    )
    await ledger.close()


async def test_what_went_on_without_a_specialist_is_held_against_what_it_took(tmp_path: Path) -> None:
    """Claims as the request path notes them, their outcomes, and the rules: nobody is better off with it, so it goes."""
    ledger = await open_ledger(tmp_path / "ledger.sqlite")
    reads = ObservingLedger(ledger)
    for number in range(900):
        name, held = f"r{number}", number % 3 == 0
        await ledger.accept(request(name), at=100.0)
        reads.claim(name, "root", at=100.0, held=held)
        finish(ledger, name, call())
    reads.claim("r-unfinished", "root", at=100.0, held=True)
    reads.claim("r0-of-another", "alone", at=100.0, held=False)
    await ledger.flush()
    claims = await reads.claims(0.0)
    assert {node: (both.taken.count, both.held.count) for node, both in claims.items()} == {"root": (600, 300)}
    assert claims["root"].held.answered == 300
    assert claims["root"].held.latency_s == pytest.approx(0.6)
    assert await reads.claims(101.0) == {}
    _, outcomes = await reads.after(0, locale_of={})
    memory, found = Memory(), []
    topology = shape(member(), member("root", "specialist", patterns=["p1"]))
    for window in range(1, 5):
        seen = Situation(
            window=observe(outcomes, number=window), topology=topology, claims=claims, memory=memory, now=1000.0 * window
        )
        look = propose(seen)
        memory, found = look.memory, [*found, *look.drafts]
    assert [draft.payload for draft in found] == [Prune(node=NodeId("id-root"))]
    assert "300 that went on without it by chance were answered as well" in found[0].reason
    await ledger.act(lambda connection: connection.execute("DELETE FROM requests") and None)
    assert not list(await ledger.reader.execute_fetchall("SELECT 1 FROM claims WHERE request_id LIKE 'r_'"))
    await ledger.close()


def events(daemon: Running, count: int, *, last: int | None = None) -> list[dict[str, Any]]:
    """The next ``count`` events."""
    query = "?from_seq=0" if last is None else ""
    stream = urllib.request.Request(f"{daemon.url}/v1/events{query}", headers={"authorization": f"Bearer {daemon.operator_key}"})
    if last is not None:
        stream.add_header("last-event-id", str(last))
    found: list[dict[str, Any]] = []
    with urllib.request.urlopen(stream, timeout=20) as lines:
        fields: dict[str, str] = {}
        while len(found) < count:
            name, _, value = lines.readline().decode().rstrip("\n").partition(": ")
            if name in ("id", "event", "data"):
                fields[name] = value
            elif not name and fields:
                found.append({"seq": int(fields["id"]), "kind": fields["event"], "data": json.loads(fields["data"])})
                fields = {}
    return found


def test_a_daemon_looks_at_itself_tells_of_it_and_says_what_a_proposal_would_have_done(tmp_path: Path) -> None:
    with running_daemon(tmp_path, SETTINGS, lean=True) as daemon:
        for number in range(20):
            status, body, _ = daemon.call("POST", "/v1/requests", {"prompt": f"Name {number} rivers"})
            assert status == 200, body
        told = events(daemon, 22)
        assert told[0]["kind"] == "gap"
        requests = [each for each in told if each["kind"] == "request"]
        assert len(requests) == 20
        assert requests[0]["data"]["node"] == "generalist"
        assert requests[0]["data"]["status"] == "ok"
        (look,) = [each for each in told if each["kind"] == "look"]
        assert look["data"]["requests"] == 20
        again = events(daemon, 2, last=told[-3]["seq"])
        assert [each["seq"] for each in again] == [each["seq"] for each in told[-2:]]

        status, found, headers = daemon.call("GET", "/v1/topology/analysis", operator=True)
        assert status == 200
        assert found["simulated"]
        assert headers["x-morphogen-simulated"] == "true"
        assert found["window"]["requests"] == 20
        assert 0 <= found["efficiency"]["score"] <= 100
        assert found["measures"]["nodes"][0]["name"] == "generalist"
        assert "morphogen_looks_total 1.0" in str(daemon.call("GET", "/metrics")[1])

        wish = {"kind": "spawn", "name": "rivers", "speciality": "rivers", "reason": "to see"}
        status, made, _ = daemon.call("POST", "/v1/proposals", wish, operator=True)
        assert status == 201, made
        status, would, _ = daemon.call("POST", f"/v1/proposals/{made['id']}/simulate", operator=True)
        assert status == 200, would
        assert would["requests"] == 20
        assert would["limits"]
        seq = told[-1]["seq"]
        assert any(each["kind"] == "proposal" and each["data"]["id"] == made["id"] for each in events(daemon, 1, last=seq))
