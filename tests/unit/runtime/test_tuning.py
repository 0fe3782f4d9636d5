"""Settings of routing that won an experiment: proposed, approved, in force, taken back; and the shape that follows an alias."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.routing import RoutingSettings
from runtime.config.settings import Settings
from runtime.controlling.book import Added, Case, Entry, Moved
from runtime.controlling.checks import check_draft
from runtime.controlling.controller import Controller
from runtime.learner.build import join
from runtime.learner.desk import Router
from runtime.learner.proposing import KEY
from runtime.learner.records import Route
from runtime.learner.tuning import laid_over, read, written
from runtime.routers.proposing import ShapeFollows
from runtime.routing.experiment import Group, Result, begin, observe, rule
from runtime.routing.records import Arm, Decision, RoutingError
from runtime.topology.first import first_steps
from runtime.topology.payloads import AdoptRouter, Tune
from runtime.topology.records import BadProposal, Draft
from runtime.topology.shape import ProposalId
from tests.fakes.cluster import ScriptedCluster
from tests.fakes.routing import idle_router
from tests.fakes.topology_port import EmptyBook, NoSamples


class Remembering(EmptyBook):
    """Keeps proposals, the newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[ProposalId, Case] = {}

    async def write(self, *entries: Entry) -> bool:
        for entry in entries:
            if isinstance(entry, Added | Moved):
                self.kept[entry.case.proposal.proposal_id] = entry.case
        return await super().write(*entries)

    async def cases(self, *, status: str | None, limit: int, before: float | None = None) -> list[Case]:
        return list(reversed(self.kept.values()))[:limit]


class Organism:
    """A learner and a controller that were joined, without nodes."""

    def __init__(self, **routing: Any) -> None:
        self.settings = Settings.model_validate({"routing": routing})
        self.now = 1_700_000_000.0
        self.router: Router = idle_router(self.settings, wall=lambda: self.now)
        cluster: Any = ScriptedCluster()
        self.controller = Controller(
            book=Remembering(), cluster=cluster, samples=NoSamples(), settings=self.settings, wall=lambda: self.now
        )
        join(self.router, self.controller, lambda: ())

    async def open(self) -> Organism:
        await self.controller.start(lambda topology: first_steps(topology, self.settings.cluster, now=self.now))
        return self

    async def win(self, changes: dict[str, Any]) -> str:
        """An experiment whose challenger was better by far ends."""
        trials, sides = self.router.trials, tuple[tuple[Group, float], ...]((("champion", 0.3), ("challenger", 0.9)))
        trial = await trials.start(changes, min_requests=30, min_dwell_s=0.0)
        plan, state = trial.plan, begin(trial.plan)
        for number in range(300):
            for group, good in sides:
                quality = float(number % 10 < 10 * good)
                state = observe(plan, state, group, Result(quality=quality, cost_usd=0.001, latency_s=1.0))
        assert rule(plan, state, self.now).action == "adopt"
        trials.trial = replace(trial, stage="live", state=state)
        _, group, _ = trials.side("somebody")
        trials.ended(a_route(plan.experiment_id, group), score=0.5, failed=False, cost_usd=0.001, latency_s=1.0)
        await trials.tick()
        return plan.experiment_id

    @property
    def open_cases(self) -> list[Case]:
        return list(self.controller.tools.state.cases.values())

    async def approve(self, case: Case) -> None:
        await self.controller.decisions.approve(case.proposal.proposal_id, case.proposal.digest, who="op")
        await self.controller.look()


def a_route(experiment_id: str, group: Group) -> Route:
    arm = Arm(strategy="single", node="n", backend="a")
    decision = Decision(decision_id="d", arm=arm, propensity=1.0, way="best", reason="", at=0.0, candidates=(), per_usd=0.0)
    return Route(decision=decision, backend="a", strategy=None, nodes=("n",), experiment_id=experiment_id, group=group)


async def test_what_won_is_proposed_once_approved_in_force_and_taken_back() -> None:
    organism = await Organism(cost_weight=2.0).open()
    router, controller = organism.router, organism.controller
    name = await organism.win({"cost_weight": 20.0})
    (row,) = await router.trials.all()
    assert (row["stage"], row["note"][:6]) == ("won", "adopt:")
    assert router.settings.cost_weight == 2.0, "nothing changes without a word"
    await controller.ask()
    (case,) = organism.open_cases
    assert case.proposal.draft.payload == Tune(settings=("cost_weight=20.0",))
    assert (case.proposal.status, case.proposal.draft.evidence[0].source) == ("proposed", name)
    assert case.proposal.draft.evidence[0].value > 0.4
    await controller.ask()
    assert len(organism.open_cases) == 1
    assert (await router.trials.all())[0]["stage"] == "over"
    assert case.proposal.proposal_id in (await router.trials.all())[0]["note"]

    await organism.approve(case)
    assert controller.topology.tuned == ("cost_weight=20.0",)
    assert router.settings.cost_weight == 20.0
    router.renew(Settings.model_validate({"routing": {"cost_weight": 3.0, "judge_share": 0.5}}))
    assert (router.settings.cost_weight, router.settings.judge_share) == (20.0, 0.5), "the file's other settings still count"
    with pytest.raises(RoutingError):
        await router.trials.start({"cost_weight": 20.0})

    await controller.decisions.undo(case.proposal.proposal_id, "no", who="op")
    await controller.look()
    assert controller.topology.tuned == ()
    assert router.settings.cost_weight == 3.0
    await controller.ask()
    assert organism.open_cases == [], "what was taken back is not proposed again"


async def test_a_rejection_and_a_kill_between_ruling_and_proposal_lose_nothing() -> None:
    organism = await Organism().open()
    name = await organism.win({"latency_weight": 1.0})
    organism.router.trials.trial = None  # as after a restart
    await organism.router.trials.load()
    assert organism.router.trials.trial is not None
    await organism.controller.ask()
    (case,) = organism.open_cases
    await organism.controller.decisions.reject(case.proposal.proposal_id, "never", who="op")
    await organism.controller.ask()
    assert organism.open_cases == []
    (row,) = await organism.router.trials.all()
    assert (row["experiment_id"], row["stage"]) == (name, "over")
    assert KEY in organism.controller.tools.state.held_back(organism.now)
    again = await organism.win({"cost_weight": 9.0})
    await organism.controller.ask()
    rows = {row["experiment_id"]: row for row in await organism.router.trials.all()}
    assert "rejected" in rows[again]["note"]


async def test_an_operator_may_set_and_unset_by_hand_and_nonsense_is_refused() -> None:
    organism = await Organism().open()
    decisions = organism.controller.decisions
    for wrong in (
        ("enabled=false",),
        ("cost_weight",),
        ("cost_weight=-1",),
        ("cost_weight=1", "cost_weight=2"),
        ("objective=best",),
    ):
        with pytest.raises(BadProposal) as caught:
            await decisions.submit(Draft(payload=Tune(settings=wrong), reason="x", origin="operator"), who="op")
        assert caught.value.param == "payload.settings"
    case = await decisions.submit(Draft(payload=Tune(settings=("objective=ratio",)), reason="x", origin="operator"), who="op")
    await organism.approve(case)
    assert organism.router.settings.objective == "ratio"
    unheld: Any = SimpleNamespace(tune=None, adopt=None, pool=None)
    draft = Draft(payload=Tune(settings=()), reason="x", origin="operator")
    with pytest.raises(BadProposal):
        check_draft(draft, unheld)


def test_settings_are_read_as_they_are_written() -> None:
    both = written(("cost_weight=1", "objective=ratio"), {"cost_weight": 2.5})
    assert both == ("cost_weight=2.5", 'objective="ratio"')
    assert written(both, {}) == both
    assert read(both) == {"cost_weight": 2.5, "objective": "ratio"}
    assert laid_over(RoutingSettings(switch_margin=0.3), both) == RoutingSettings(
        switch_margin=0.3, cost_weight=2.5, objective="ratio"
    )


async def test_the_shape_follows_an_alias_that_was_moved_by_hand_but_not_while_a_change_of_it_is_under_way() -> None:
    organism = await Organism().open()
    controller, put = organism.controller, list[str | None]()

    async def adopt(version: str | None) -> None:
        put.append(version)
        await follow(version)  # as the desk does when it looks, which must not wait for the shape's lock

    controller.tools.hands.adopt, follow = adopt, ShapeFollows(controller)
    revision = controller.topology.revision
    await follow("router@1.0.0")
    await follow("router@1.0.0")
    assert (controller.topology.router, controller.topology.revision) == ("router@1.0.0", revision + 1)
    draft = Draft(payload=AdoptRouter(version="router@2.0.0"), reason="x", origin="operator")
    case = await controller.decisions.submit(draft, who="op")
    await organism.approve(case)
    assert (controller.topology.router, put) == ("router@2.0.0", ["router@2.0.0"])
    await follow(None)
    assert controller.topology.router == "router@2.0.0", "its probation decides first"
    organism.now += 10 * 3600
    for _ in range(4):
        await controller.look()
        organism.now += 10 * 3600
    assert controller.tools.state.cases == {}
    await follow(None)
    assert controller.topology.router is None
