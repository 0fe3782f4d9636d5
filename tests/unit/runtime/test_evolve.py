"""How routers get better: what a model is told, what becomes of its edits, who lets it come into force, what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agents.llm.chat import BackendSpec
from agents.records import Refused
from registry.artifacts import Registry
from registry.records import NewVersion, Review, VersionId
from runtime.config.routers import RoutersSettings
from runtime.controlling.checks import check_draft
from runtime.learner.desk import Router
from runtime.learner.records import DecisionRow, Route
from runtime.learner.trials import ExperimentBusy
from runtime.routers.desk import ROUTER, RouterDesk
from runtime.routers.evolve import Evolution
from runtime.routers.prompting import GUIDANCE, choose, rewards, to_improve
from runtime.routers.proposing import KEY, RouterSource
from runtime.routers.records import Round
from runtime.routers.views import prompts_of, versions_of
from runtime.routing.records import Arm, Candidate, Decision
from runtime.topology.payloads import AdoptRouter
from sandbox.records import Case
from tests.fakes.registry import World as Shelf
from tests.fakes.routers import Clock, MemoryRounds, OpenDesk, OpenSandbox, Writer
from tests.fakes.routing import MemoryBook, MemoryTrials, no_judge
from tests.fakes.service import fake_settings

NAMES = ("cheap", "dear")
RIGHT = 'def step(request):\n    name = "dear" if "orchard" in request["text"] else "cheap"\n'
RIGHT += '    return {"backend": name, "confidence": 0.9}\n'
WRONG = RIGHT.replace('"dear" if', '"cheap" if').replace('else "cheap"', 'else "dear"')


def inserts(source: str, name: str = "fruit") -> dict[str, Any]:
    return {"edits": [{"op": "insert", "name": name, "before": None, "source": source, "why": "orchards grow fruit"}]}


def logged(book: MemoryBook, n: int, *, at: float = 1_000_000.0, seed: int = 1, start: int = 0, fruit: str = "orchard") -> None:
    """``n`` fair choices: those with ``fruit`` are dear's, others cheap's, and the learner cannot tell which is which."""
    rng = np.random.default_rng(seed)
    for number in range(start, start + n):
        word, backend = ("orchard", "harbour")[number % 2], NAMES[int(rng.integers(2))]
        good = backend == ("dear" if word == fruit else "cheap")
        features = {"text": f"tell me of the {word} at noon", "words": 7, "numbers": 0, "complexity": 0.5, "schema": False}
        offers = [
            {"backend": name, "strategy": "single", "usd_per_1m": price} for name, price in zip(NAMES, (1.0, 2.0), strict=True)
        ]
        book.rows.append(
            DecisionRow(
                decision_id=f"d{number}",
                request_id=f"r{number}",
                at=at + number / 1000,
                strategy="single",
                node="n",
                backend=backend,
                propensity=0.5,
                way="drawn",
                reason="",
                per_usd=0.0,
                regret=0.0,
                candidates=[["single", "n", name, 0.5, 0.4, 0.6, 0.0, 0.0, 0.5, 0.5, 9.0] for name in NAMES],
                status="ok",
                served_by=backend,
                features={**features, "arms": offers},
            )
        )
        book.heard(f"d{number}", score=0.9 if good else 0.1, weight=1.0, source="feedback")


class Organism:
    """Everything that evolution works with, over memory; ``says`` is what the model answers."""

    def __init__(self, folder: Path, says: Callable[[str], Any], **settings: Any) -> None:
        self.folder, self.settings = folder, RoutersSettings(**{"least_judged": 20, "min_requests": 20, **settings})
        self.clock, self.shelf, self.rounds = Clock(2_000_000.0), Shelf(), MemoryRounds()
        self.book, self.trial_book, self.asks = MemoryBook(), MemoryTrials(), Writer(says)
        self.registry: Registry

    async def open(self) -> Organism:
        """Begin, or begin again with what is kept: as after a kill."""
        self.registry = await self.shelf.open()
        self.router = Router(
            settings=fake_settings(data={"dir": self.folder}),
            backends=lambda: [BackendSpec(name=name) for name in NAMES],
            health=dict,
            nodes=lambda: (),
            book=self.book,
            trial_book=self.trial_book,
            folder=self.folder / "routing",
            ask=no_judge,
            wall=self.clock,
        )
        await self.router.trials.load()
        sandbox, desk, asks = OpenSandbox(), OpenDesk(self.registry), self.asks
        parts: dict[str, Any] = {"registry": desk, "sandbox": sandbox}
        self.desk = RouterDesk(
            **parts,
            settings=self.settings,
            backends=lambda: [BackendSpec(name=name) for name in NAMES],
            tried=lambda: self.router.trials.router,
            on_unfit=self.router.trials.give_up,
        )
        self.router.trials.serves = self.desk.serves
        anybody: Any = asks
        self.evolution = Evolution(
            **parts,
            book=self.rounds,
            router=self.router,
            desk=self.desk,
            asks=anybody,
            settings=lambda: self.settings,
            reviews=False,
            rng=np.random.default_rng(1),
            clock=self.clock,
        )
        self.evolution.approvals = Words(self)
        return self

    async def tried(self, requests: int, *, gain: float = 0.8) -> None:
        """So many requests of each side: the challenger's are worth ``gain`` more."""
        trial = self.router.trials.trial
        assert trial is not None
        for number in range(requests):
            for group, score in (("champion", 0.1), ("challenger", 0.1 + gain)):
                route = a_route(trial.plan.experiment_id, group, f"{group}{number}")
                self.router.trials.ended(route, score=score, failed=False, cost_usd=0.0, latency_s=0.1)
        await self.router.trials.tick()

    async def won(self, source: str = RIGHT) -> Round:
        """As far as waiting for approval."""
        logged(self.book, 300)
        made = await self.evolution.write_now()
        assert made is not None
        assert made.stage == "reviewing", made.note
        await self.evolution.tick()
        await self.desk.look()
        await self.tried(60)
        await self.evolution.tick()
        return self.rounds.last


class Words:
    """``runtime.routers.records.Approvals``: an operator whose word is carried out at once."""

    def __init__(self, organism: Organism) -> None:
        self._organism, self.no = organism, False

    async def approve(self, version: str | None, reason: str) -> None:
        await self._organism.evolution.put(version)

    async def reject(self, version: str, reason: str) -> None:
        self.no = True

    def held_back(self, now: float) -> bool:
        return self.no


def a_route(experiment_id: str, group: Any, name: str) -> Route:
    arm = Arm(strategy="single", node="n", backend="cheap")
    candidate = Candidate(
        arm=arm, quality=0.5, low=0.4, high=0.6, cost_usd=None, latency_s=None, utility=0.5, share=1.0, seen=1.0
    )
    decision = Decision(
        decision_id=name, arm=arm, propensity=1.0, way="router", reason="", at=0.0, candidates=(candidate,), per_usd=0.0
    )
    return Route(decision=decision, backend="cheap", strategy=None, nodes=("n",), experiment_id=experiment_id, group=group)


@pytest.fixture
async def organism(tmp_path: Path) -> Organism:
    return await Organism(tmp_path, lambda text: inserts(RIGHT)).open()


# ── one attempt ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_model_is_shown_what_is_wrong_and_its_edit_wins_and_waits_for_an_operator(organism: Organism) -> None:
    each = await organism.won()
    (asked,) = organism.asks.asked
    measured = json.loads(asked.partition("```json\n")[2].partition("\n```")[0])
    told = {(group["value"], group["best"]["backend"]) for group in measured["mistakes"] if group["op"] == "has"}
    assert ("orchard", "dear") in told
    assert (each.stage, each.version, each.parent) == ("won", "router@1.0.0", "")
    assert organism.desk.champion is None
    await organism.evolution.tick()
    assert organism.registry.catalog.artifact(ROUTER).champion is None
    found = await organism.evolution.adopt("router@1.0.0")
    assert found is not None
    assert organism.desk.champion == "router@1.0.0"
    await organism.evolution.tick()
    assert organism.rounds.last.stage == "adopted"
    features = {"text": "an orchard", "words": 2}
    told_ = await organism.desk.advise(None, features, [Arm(strategy="single", node="n", backend=name) for name in NAMES])
    assert told_.arm is not None
    assert (told_.arm.backend, told_.step) == ("dear", "fruit")


async def test_what_a_controller_approved_is_adopted_and_what_it_rejected_is_declined(organism: Organism) -> None:
    each = await organism.won()
    source: Any = RouterSource(organism.evolution)
    shape: Any = None
    (draft,) = await source.propose(shape, open_keys=frozenset(), held_back=frozenset(), now=organism.clock.now)
    assert draft.payload == AdoptRouter(version=each.version)
    assert (draft.origin, draft.simulated, 0 < draft.share <= 1) == ("model", True, True)
    assert draft.evidence[0].value > 0.3
    hands: Any = SimpleNamespace(adopt=organism.evolution.put)
    check_draft(draft, hands)
    for known, held in (({KEY}, set()), (set(), {KEY})):
        asked = source.propose(shape, open_keys=frozenset(known), held_back=frozenset(held), now=0.0)
        assert not await asked
    rejected: Any = organism.evolution.approvals
    rejected.no = True
    await organism.evolution.tick()
    assert organism.rounds.last.stage == "declined"
    await organism.rounds.save(each)
    rejected.no = False
    await organism.evolution.put(each.version)
    await organism.evolution.tick()
    assert organism.rounds.last.stage == "adopted"
    with pytest.raises(Refused):
        await organism.evolution.put("router@9.9.9")


@pytest.mark.parametrize(
    ("answer", "stage", "note"),
    [
        ({"edits": "all of them"}, "unusable", "edits"),
        ({"edits": [{"op": "remove", "name": "nobody", "why": ""}]}, "unusable", "name"),
        (inserts("def step(request):\n    return {'backend': 'gpt-nobody', 'confidence': 1.0}\n"), "refused", "unknown_arm"),
        (inserts("def step(request):\n    while True: pass\n"), "refused", "timed_out"),
        (inserts("def step(request):\n    raise MemoryError\n"), "refused", "out_of_memory"),
        (inserts("def step(request):\n    return {'backend': 'dear', 'confidence': 1.0}\n"), "refused", "dearest"),
        (inserts("SEEN = []\ndef step(request):\n    SEEN.append(1)\n    n = len(SEEN) % 3\n"
                 "    return {'backend': ['cheap', 'dear', 'dear'][n], 'confidence': 0.9}\n"), "refused", "deterministic"),
        (inserts("def step(request):\n    return None\n"), "refused", "decides on 0"),
        (inserts(WRONG), "refused", "no better on logged choices"),
    ],
)  # fmt: skip
async def test_each_sort_of_bad_answer_ends_its_round_with_the_reason(tmp_path: Path, answer: Any, stage: str, note: str) -> None:
    organism = await Organism(tmp_path, lambda text: answer).open()
    logged(organism.book, 300)
    made = await organism.evolution.write_now()
    assert made is not None
    assert (made.stage, note in made.note) == (stage, True), made.note
    assert ROUTER not in organism.registry.catalog.artifacts
    assert organism.router.trials.trial is None


async def test_a_model_that_is_not_there_costs_no_round(tmp_path: Path) -> None:
    organism = await Organism(tmp_path, lambda text: None).open()
    logged(organism.book, 300)
    assert await organism.evolution.write_now() is None
    assert organism.evolution.why == "the bounds are reached"
    assert not organism.rounds.kept


async def test_too_little_evidence_asks_nobody(organism: Organism) -> None:
    logged(organism.book, 10)
    assert await organism.evolution.write_now() is None
    assert "10 judged choices" in organism.evolution.why
    assert not organism.asks.asked


async def test_one_attempt_at_a_time_and_what_was_tried_in_vain_is_told(tmp_path: Path) -> None:
    organism = await Organism(tmp_path, lambda text: inserts(WRONG)).open()
    logged(organism.book, 300)
    await organism.evolution.write_now()
    logged(organism.book, 200, at=3_000_000.0, start=300)
    organism.clock.now = 3_000_100.0
    await organism.evolution.write_now()
    assert "insert fruit: orchards grow fruit" in organism.asks.asked[-1].partition("tried_without_success")[2]
    organism.asks.says = lambda text: inserts(RIGHT)
    logged(organism.book, 200, at=4_000_000.0, start=600)
    organism.clock.now = 4_000_100.0
    made = await organism.evolution.write_now()
    assert made is not None
    assert made.stage == "reviewing"
    assert await organism.evolution.write_now() is None
    assert "on its way" in organism.evolution.why


# ── experiments, kills, hands ───────────────────────────────────────────────────────────────────────────────────────────


async def test_one_that_loses_its_experiment_never_serves(organism: Organism) -> None:
    logged(organism.book, 300)
    await organism.evolution.write_now()
    await organism.evolution.tick()
    await organism.desk.look()
    await organism.tried(400, gain=-0.1)
    await organism.evolution.tick()
    assert organism.rounds.last.stage == "lost"
    await organism.desk.look()
    assert not organism.desk.serves("router@1.0.0")


async def test_a_kill_in_the_middle_of_an_experiment_leaves_all_as_it_was(organism: Organism) -> None:
    logged(organism.book, 300)
    await organism.evolution.write_now()
    await organism.evolution.tick()
    await organism.desk.look()
    await organism.tried(10)
    before = organism.router.trials.trial
    assert before is not None

    again = await organism.open()
    trial = again.router.trials.trial
    assert trial is not None
    assert trial.plan == before.plan
    assert trial.state.sides["challenger"].requests == 10
    # While its code is not in service yet, nobody is on its side.
    assert again.router.trials.side("anybody") == (None, "champion", again.router.settings)
    await again.evolution.tick()
    assert again.rounds.last.stage == "trying"
    await again.desk.look()
    assert again.router.trials.side("anybody")[0] == before.plan.experiment_id
    await again.tried(60)
    await again.evolution.tick()
    assert again.rounds.last.stage == "won"


async def test_a_kill_between_the_experiments_begin_and_its_note_begins_no_second_one(organism: Organism) -> None:
    logged(organism.book, 300)
    made = await organism.evolution.write_now()
    assert made is not None
    await organism.evolution.tick()
    await organism.rounds.save(replace(organism.rounds.last, stage="reviewing"))
    again = await organism.open()
    await again.evolution.tick()
    assert len(again.trial_book.rows) == 1
    assert again.rounds.last.stage == "trying"


async def test_one_that_fails_in_its_experiment_is_given_up(organism: Organism) -> None:
    logged(organism.book, 300)
    await organism.evolution.write_now()
    await organism.evolution.tick()
    await organism.desk.look()
    for _ in range(3):
        await organism.desk.advise("router@1.0.0", {"text": 5}, [Arm(strategy="single", node="n", backend="cheap")])
    await organism.desk.look()
    await organism.evolution.tick()
    assert organism.rounds.last.stage == "rejected"
    assert "TypeError" in organism.rounds.last.note
    assert organism.router.trials.router is None


async def test_what_reviewers_of_a_rejected_router_want_is_told_to_the_next_author(organism: Organism) -> None:
    logged(organism.book, 300)
    await organism.evolution.write_now()
    refused, objection = organism.rounds.last, {"role": "security", "opinion": "reject", "score": 0.2, "at": 1.0}
    review = Review(version_id=VersionId(refused.version), reviewer="r", required_changes=("ask for no key",), **objection)
    organism.registry.catalog.put(review)
    rounds = [replace(refused, stage="rejected"), replace(refused, stage="lost", data={"edits": ["add a step"]})]
    tried = organism.evolution._guiding.tried(rounds)
    assert tried[-1] == "reviewers want: ask for no key"
    assert "add a step" in tried


async def test_two_that_won_against_the_same_are_not_both_adopted(organism: Organism) -> None:
    first = await organism.won()
    other = await organism.registry.publish(
        NewVersion(name=ROUTER, kind="router", content="def run(r):\n    return None\n", problem="route", author="nora"), [Case()]
    )
    await organism.rounds.save(replace(first, round_id="round-b", version=other.version_id))
    assert await organism.evolution.adopt(first.version) is not None
    with pytest.raises(ExperimentBusy):
        await organism.evolution.adopt(other.version_id)
    assert organism.rounds.kept["round-b"].stage == "superseded"
    assert organism.desk.champion == first.version


async def test_what_is_deleted_by_hand_ends_its_round_and_the_learner_goes_on(organism: Organism) -> None:
    each = await organism.won()
    await organism.evolution.adopt(each.version)
    await organism.evolution.tick()
    await organism.registry.move(each.version, "archived", by="operator", reason="deleted by hand")
    await organism.desk.look()
    assert organism.desk.champion is None
    logged(organism.book, 60, at=organism.clock.now, start=300)
    made = await organism.evolution.write_now()
    assert made is not None
    assert made.parent == ""


async def test_an_operator_declines_goes_back_and_lets_expire(organism: Organism) -> None:
    each = await organism.won()
    assert await organism.evolution.decline("router@9.9.9", "") is None
    declined = await organism.evolution.decline(each.version, "not now")
    assert declined is not None
    assert (declined.stage, "not now" in declined.note) == ("declined", True)
    await organism.rounds.save(each)
    said: Any = organism.evolution.approvals
    said.no = False
    organism.clock.now += 31 * 86_400.0
    await organism.evolution.tick()
    assert organism.rounds.last.stage == "expired"
    await organism.registry.point(ROUTER, "champion", "1.0.0")
    await organism.desk.look()
    assert organism.desk.champion == each.version
    assert await organism.evolution.back() == (each.version, None)
    assert organism.desk.champion is None
    assert await organism.evolution.back() is None


async def test_a_second_version_is_made_of_the_first_and_shown_with_its_lineage(organism: Organism) -> None:
    each = await organism.won()
    await organism.evolution.adopt(each.version)
    await organism.evolution.tick()
    organism.asks.says = lambda text: {
        "edits": [{"op": "remove", "name": "fruit", "why": ""}, *inserts(RIGHT.replace("orchard", "harbour"), "garden")["edits"]]
    }
    logged(organism.book, 1500, at=organism.clock.now + 10, start=300, fruit="harbour")
    organism.clock.now += 20
    made = await organism.evolution.write_now()
    assert made is not None
    assert (made.parent, made.stage) == ("router@1.0.0", "reviewing")
    newest, oldest = versions_of(organism.registry, organism.desk, None)
    assert (newest["version"], newest["parents"], newest["steps"]) == ("router@1.1.0", ["router@1.0.0"], ["garden"])
    assert (oldest["place"], oldest["serves"], newest["simulated"]) == ("in force", True, True)


# ── prompts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rounds_of(prompt: str, *stages: Any) -> list[Round]:
    return [Round(round_id=f"{prompt}{n}", at=float(n), stage=stage, prompt=prompt) for n, stage in enumerate(stages)]


def test_prompts_are_drawn_by_how_far_their_routers_came() -> None:
    rounds = rounds_of("g@1", "refused", "unusable", "lost", "refused", "refused") + rounds_of(
        "g@2", "adopted", "won", "won", "trying"
    )
    assert rewards(rounds) == {"g@1": [0.0, 0.0, 0.2, 0.0, 0.0], "g@2": [1.0, 1.0, 1.0]}
    rng = np.random.default_rng(3)
    drawn = [choose(["g@1", "g@2"], rounds, rng) for _ in range(200)]
    assert 0.8 < drawn.count("g@2") / 200 < 1.0
    assert to_improve("g@1", rounds)
    assert not to_improve("g@2", rounds)
    assert not to_improve("g@3", rounds)


async def test_a_prompt_whose_routers_fail_is_rewritten_and_both_are_compared(tmp_path: Path) -> None:
    advice = ["Name only what is on the list of backends.", "Change one step at a time, the worst one first."]

    def says(text: str) -> Any:
        return {"guidance": advice} if "What came of the routers" in text else {"edits": []}

    organism = await Organism(tmp_path, says).open()
    for number in range(5):
        logged(organism.book, 100, at=organism.clock.now, start=100 * number)
        organism.clock.now += 100
        await organism.evolution.write_now()
    newest = organism.registry.find(f"{GUIDANCE}@latest")
    assert newest.parents == (f"{GUIDANCE}@1.0.0",)
    assert advice[0] in (await organism.registry.content(newest.version_id)).content
    known = prompts_of(organism.registry, list(organism.rounds.kept.values()))
    first = next(each for each in known if each["version"].endswith("1.0.0"))
    assert (first["routers"] >= 4, first["reward"]) == (True, 0.0)
