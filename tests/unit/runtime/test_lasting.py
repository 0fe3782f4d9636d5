"""After an adoption a frozen part of the conversations goes without what won, and shows whether it is still worth it."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config.routing import RoutingSettings
from runtime.learner.trials import Trials
from runtime.routing.experiment import BadExperiment, assign
from tests.fakes.routing import MemoryBook, MemoryTrials
from tests.unit.runtime.test_learner_trials import FAST, live, logged

GOOD = {"champion": 0.4, "challenger": 0.9, "holdout": 0.4}


class Daemon:
    """Experiments over settings that may be changed; ``now`` is the clock."""

    def __init__(self, kept: MemoryTrials | None = None, **settings: Any) -> None:
        self.kept, self.settings, self.now = kept or MemoryTrials(), RoutingSettings(cost_weight=2.0, **settings), 1000.0
        book: MemoryBook = logged(400, cheap=0.5, dear=0.5)
        self.trials = Trials(book=self.kept, decisions=book, settings=lambda: self.settings, wall=lambda: self.now)

    async def won(self) -> str:
        trial = await self.trials.start({"cost_weight": 3.0}, **FAST)
        live(self.trials, 4000, GOOD)
        await self.trials.tick()
        assert self.trials.trial is not None
        assert self.trials.trial.stage == "won"
        return trial.plan.experiment_id

    def adopt(self) -> None:
        self.settings = self.settings.model_copy(update={"cost_weight": 3.0})
        self.trials.settled = True

    @property
    def stage(self) -> str:
        assert self.trials.trial is not None
        return self.trials.trial.stage


async def test_the_holdout_goes_on_without_what_was_adopted() -> None:
    daemon = Daemon()
    name = await daemon.won()
    frozen = {f"u{n}" for n in range(400) if _side_of(daemon, f"u{n}") == "holdout"}
    await daemon.trials.tick()
    assert daemon.stage == "won", "it is not in force"
    assert daemon.trials.side("u1") == (None, "champion", daemon.settings)
    daemon.adopt()
    await daemon.trials.tick()
    assert daemon.stage == "kept"
    for number in range(400):
        experiment, group, settings = daemon.trials.side(f"u{number}")
        assert experiment == name
        assert group == ("holdout" if f"u{number}" in frozen else "challenger"), "its members never change"
        assert settings.cost_weight == (2.0 if group == "holdout" else 3.0)
    assert daemon.trials.trial is not None
    assert not any(side.requests for side in daemon.trials.trial.state.sides.values()), "before it was in force counts no more"
    live(daemon.trials, 4000, GOOD, seed=8)
    await daemon.trials.tick()
    (row,) = await daemon.trials.all()
    assert row["stage"] == "kept"
    assert 0 < row["ruling"]["lasting"]["low"] < 0.5 < row["ruling"]["lasting"]["high"]


def _side_of(daemon: Daemon, unit: str) -> str:
    assert daemon.trials.trial is not None
    return assign(daemon.trials.trial.plan, unit)


async def test_what_is_worth_it_no_more_is_said_so() -> None:
    daemon = Daemon()
    await daemon.won()
    daemon.adopt()
    await daemon.trials.tick()
    for seed in range(30, 40):
        live(daemon.trials, 2000, {"champion": 0.0, "challenger": 0.1, "holdout": 0.9}, seed=seed)
        await daemon.trials.tick()
        if daemon.stage == "over":
            break
    (row,) = await daemon.trials.all()
    assert row["stage"] == "over"
    assert "worth it no more" in row["note"]
    assert daemon.trials.side("u1")[0] is None
    await daemon.trials.tick()
    assert daemon.stage == "over", "it does not begin again"


async def test_a_restart_goes_on_and_settings_of_the_file_alone_end_nothing() -> None:
    before = Daemon()
    name = await before.won()
    before.adopt()
    await before.trials.tick()
    after = Daemon(before.kept)
    await after.trials.load()
    await after.trials.tick()
    assert after.stage == "kept", "what is in force is not known yet"
    after.adopt()
    await after.trials.tick()
    assert [after.trials.side(f"u{n}")[:2] for n in range(60)] == [before.trials.side(f"u{n}")[:2] for n in range(60)]
    after.settings = after.settings.model_copy(update={"cost_weight": 2.0})
    await after.trials.tick()
    (row,) = await after.trials.all()
    assert (row["experiment_id"], row["stage"]) == (name, "over")
    assert row["note"].endswith("taken back")


async def test_one_that_won_before_a_restart_is_watched_once_adopted() -> None:
    before = Daemon()
    await before.won()
    after = Daemon(before.kept)
    await after.trials.load()
    after.adopt()
    await after.trials.tick()
    assert after.stage == "kept"


async def test_another_experiment_ends_the_watch_and_a_bad_one_does_not() -> None:
    daemon = Daemon()
    name = await daemon.won()
    daemon.adopt()
    await daemon.trials.tick()
    with pytest.raises(BadExperiment):
        await daemon.trials.start({"cost_weight": 5.0}, share=0.9, holdout=0.5)
    assert daemon.stage == "kept"
    second = await daemon.trials.start({"cost_weight": 5.0}, **FAST)
    rows = {row["experiment_id"]: row for row in await daemon.trials.all()}
    assert rows[name]["stage"] == "over"
    assert "another experiment began" in rows[name]["note"]
    assert rows[second.plan.experiment_id]["stage"] == "live"
