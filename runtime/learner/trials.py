"""Other router settings, or a generated router, against those in force: first in the shadow of logged decisions, then on a share
of the traffic.

Owned by desk.py; asked by the operator's surface. One experiment at a time, its state in the ledger, so that one that a kill cuts
short goes on from where it was. An experiment ends with a ruling and changes nothing by itself: what won is proposed (settings by
proposing.py, routers by runtime/routers). Settings that were adopted are watched: the holdout goes on without them (lasting.py).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Protocol, get_args

from agents.records import Json
from runtime.config.routing import RoutingSettings
from runtime.learner import shadow
from runtime.learner.lasting import frozen_of, holds, looked_at, without
from runtime.learner.policy import weights_of
from runtime.learner.records import DecisionBook, Route
from runtime.learner.tuning import changed
from runtime.routing.experiment import Group, Plan, Result, State, assign, begin, extend, from_json, observe, rule, to_json
from runtime.routing.records import RoutingError

log = logging.getLogger(__name__)

Stage = Literal["shadow", "live", "won", "over", "kept"]
"""``won``: settings that are to be adopted and are no proposal yet; ``kept``: adopted, and watched."""
COUNTS: Final = frozenset({"live", "kept"})
ENDED: Final = frozenset({"won", "over"})
KEPT: Final = 200
"""So many experiments are looked through."""
SHADOW_ROWS: Final = 5_000
SHADOW_S: Final = 7 * 86_400.0
SHADOW_EVERY_S: Final = 30.0
ROUTER: Final = "router"
"""In ``changes``: the version of a generated router, which is the challenger then."""
MAX_OPEN: Final = 8192
"""Requests whose verdict may still come."""


class ExperimentBusy(RoutingError):
    """There is one already, or it is over: ``field`` names what stands in the way."""


class TrialBook(Protocol):
    """Where experiments are kept, as JSON-able rows by ``experiment_id``."""

    async def save(self, row: Mapping[str, Json]) -> None:
        """Durable on return."""
        ...

    async def load(self, *, limit: int) -> list[dict[str, Json]]:
        """The newest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One experiment. ``changes`` are the challenger's settings where they differ, ``frozen`` the champion's there; ``shadow``
    and ``ruling`` what was found."""

    plan: Plan
    changes: Mapping[str, Json]
    stage: Stage
    state: State
    shadow: Json = None
    ruling: Json = None
    note: str = ""
    updated_at: float = 0.0
    frozen: Mapping[str, Json] = field(default_factory=dict)


class Trials:
    """``settings`` gives the champion's, as they hold now."""

    def __init__(
        self,
        *,
        book: TrialBook,
        decisions: DecisionBook,
        settings: Callable[[], RoutingSettings],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._book, self._decisions, self._settings, self._wall = book, decisions, settings, wall
        self.trial: Trial | None = None
        self._challenger: RoutingSettings | None = None
        self.serves: Callable[[str], bool] = lambda router: False
        """Whether a generated router can be asked now; while it cannot, nobody is on its side."""
        self._open: OrderedDict[str, tuple[Group, float, float]] = OrderedDict()
        self._dirty = False
        self._ends, self._none_won_by = 0, -1
        """How many experiments have ended here, and by which of them the book was found without one that won."""
        self._shadowed_at = 0.0
        self.settled = False
        """Whether ``settings`` are those in force already: at a start the file's come first."""

    # ── the request path ────────────────────────────────────────────────────────────────────────────────────────────────

    def side(self, unit: str) -> tuple[str | None, Group, RoutingSettings]:
        """(experiment, group, settings) of a unit, for which it never changes."""
        trial, champion = self.trial, self._settings()
        if trial is not None and trial.stage == "kept":
            frozen = assign(trial.plan, unit) == "holdout"
            group: Group = "holdout" if frozen else "challenger"
            return trial.plan.experiment_id, group, without(champion, trial.frozen) if frozen else champion
        router = self.router
        if trial is None or trial.stage != "live" or (self._challenger is None if router is None else not self.serves(router)):
            return None, "champion", champion
        group = assign(trial.plan, unit)
        return trial.plan.experiment_id, group, (self._challenger or champion) if group == "challenger" else champion

    @property
    def router(self) -> str | None:
        """The generated router that is tried now."""
        trial = self.trial
        return None if trial is None or trial.stage != "live" else trial.changes.get(ROUTER)

    def router_of(self, unit: str) -> str | None:
        """The router under test, for units on its side; None for all others."""
        router = self.router
        return router if router is not None and self.side(unit)[1] == "challenger" else None

    def ended(self, route: Route, *, score: float | None, failed: bool, cost_usd: float, latency_s: float) -> None:
        """One request of an experiment came to its end; ``score`` None where its verdict may still come."""
        trial = self._of(route.experiment_id)
        if trial is None:
            return
        if score is None:
            self._open[route.decision.decision_id] = (route.group, cost_usd, latency_s)
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        quality = None if score is None else shadow.worth(score, cost_usd, latency_s, weights_of(self._settings(), {}))
        result = Result(quality=quality, failed=failed, cost_usd=max(0.0, cost_usd), latency_s=max(0.0, latency_s))
        self.trial = replace(trial, state=observe(trial.plan, trial.state, route.group, result))
        self._dirty = True

    def heard(self, decision_id: str, score: float) -> None:
        """A verdict that came later; the first one counts."""
        known, trial = self._open.pop(decision_id, None), self.trial
        if known is None or trial is None or trial.stage not in COUNTS:
            return
        group, cost_usd, latency_s = known
        side = trial.state.sides[group]
        worth = shadow.worth(score, cost_usd, latency_s, weights_of(self._settings(), {}))
        side = replace(side, quality=side.quality.seen(worth))
        self.trial = replace(trial, state=replace(trial.state, sides={**trial.state.sides, group: side}))
        self._dirty = True

    def _of(self, experiment_id: str | None) -> Trial | None:
        trial = self.trial
        running = trial is not None and trial.stage in COUNTS and trial.plan.experiment_id == experiment_id
        return trial if running else None

    # ── the operator ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self, changes: Mapping[str, Json], **terms: Any) -> Trial:
        """Begin one in the shadow. Raises ExperimentBusy where one runs, RoutingError (BadExperiment) naming a field that is
        wrong."""
        challenger = changed(self._settings(), changes)
        told = ", ".join(f"{key} = {value}" for key, value in sorted(changes.items()))
        trial = self._new(changes, "shadow", champion="in force", challenger=told, **terms)
        await self._make_room()
        await self._book.save(as_row(trial))
        self.trial, self._challenger = trial, challenger
        await self._look_at_the_log()
        return self.trial

    async def start_router(self, router: str, *, champion: str, **terms: Any) -> Trial:
        """Begin one with a generated router, which has been in the shadow already. Raises as ``start`` does."""
        trial = self._new({ROUTER: router}, "live", champion=champion, challenger=router, **terms)
        await self._make_room()
        await self._book.save(as_row(trial))
        self.trial, self._challenger = trial, None
        return trial

    async def _make_room(self) -> None:
        if self.trial is not None and self.trial.stage == "kept":
            await self._end(self.trial, note=f"{self.trial.note}; looked on until another experiment began")
        if self.trial is not None and self.trial.stage not in ENDED:
            raise ExperimentBusy(f"{self.trial.plan.experiment_id} runs: stop it first", field="experiment")

    def _new(self, changes: Mapping[str, Json], stage: Stage, **terms: Any) -> Trial:
        name, now = f"exp-{secrets.token_hex(4)}", self._wall()
        plan = Plan(experiment_id=name, salt=secrets.token_hex(8), began_at=now, **terms)
        frozen = {} if ROUTER in changes else frozen_of(self._settings(), changes)
        return Trial(plan=plan, changes=dict(changes), stage=stage, state=begin(plan), updated_at=now, frozen=frozen)

    async def stop(self, experiment_id: str, why: str) -> Trial | None:
        """End it now; the champion stays. None where there is no such experiment. Raises ExperimentBusy where it is over."""
        trial = self.trial
        if trial is None or trial.plan.experiment_id != experiment_id:
            known = [row for row in await self._book.load(limit=KEPT) if row["experiment_id"] == experiment_id]
            if not known:
                return None
            raise ExperimentBusy(f"{experiment_id} is over", field="experiment")
        if trial.stage in ENDED:
            raise ExperimentBusy(f"{experiment_id} is over", field="experiment")
        await self._end(trial, note=f"stopped by the operator: {why}" if why else "stopped by the operator")
        return self.trial

    async def give_up(self, router: str, why: str) -> None:
        """End the experiment with this router, if one runs: the champion stays. Raises LedgerError."""
        if self.trial is not None and self.router == router:
            await self._end(self.trial, note=f"keep: {why}")

    async def all(self) -> list[dict[str, Json]]:
        """Every experiment that is kept, the newest first; the running one as it stands now."""
        rows = await self._book.load(limit=KEPT)
        now = None if self.trial is None else as_row(self.trial)
        return [now if now is not None and row["experiment_id"] == now["experiment_id"] else row for row in rows]

    # ── what won ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def won(self) -> dict[str, Json] | None:
        """The oldest experiment on settings that was won and is no proposal yet. Raises LedgerError."""
        ends = self._ends
        if ends == self._none_won_by:
            return None
        found = next((row for row in reversed(await self._book.load(limit=KEPT)) if row["stage"] == "won"), None)
        self._none_won_by = ends if found is None else -1
        return found

    async def settle(self, experiment_id: str, what: str) -> None:
        """What became of one that was won. Idempotent. Raises LedgerError."""
        for row in await self._book.load(limit=KEPT):
            if row["experiment_id"] == experiment_id and row["stage"] == "won":
                note = f"{row['note']}; {what}"
                await self._book.save({**row, "stage": "over", "note": note, "updated_at": self._wall()})
                if self.trial is not None and self.trial.plan.experiment_id == experiment_id:
                    self.trial = replace(self.trial, stage="over", note=note)

    # ── upkeep ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def load(self) -> None:
        """Go on with what an earlier daemon left. One that cannot be read is said so, and left as it is."""
        rows = await self._book.load(limit=20)
        adopted = [row for row in rows[:1] if row["stage"] in ENDED and (row["ruling"] or {}).get("action") == "adopt"]
        for row in [*(row for row in rows if row["stage"] not in ENDED), *adopted]:
            try:
                plan = Plan(**row["plan"])
                tries = row["stage"] in ("shadow", "live") and ROUTER not in row["changes"]
                self._challenger = changed(self._settings(), row["changes"]) if tries else None
                self.trial = Trial(
                    plan=plan,
                    changes=row["changes"],
                    stage=row["stage"] if row["stage"] in get_args(Stage) else "shadow",
                    state=from_json(plan, row["state"]),
                    shadow=row["shadow"],
                    ruling=row["ruling"],
                    note=row["note"],
                    updated_at=row["updated_at"],
                    frozen=row["state"].get("frozen", {}),
                )
                return
            except (RoutingError, TypeError, KeyError) as error:
                log.error("experiment %s cannot be taken up again: %s", row["experiment_id"], error)

    async def tick(self) -> None:
        """Rule on what is running, and write down how it stands."""
        trial, now = self.trial, self._wall()
        if trial is None:
            return
        if trial.stage in ENDED or trial.stage == "kept":
            await self._watch(trial, now)
            return
        if trial.stage == "shadow":
            if now - self._shadowed_at >= SHADOW_EVERY_S:
                await self._look_at_the_log()
            return
        if not self._dirty:
            return
        found = rule(trial.plan, trial.state, now)
        trial = replace(trial, ruling=asdict(found), updated_at=now)
        if found.action == "extend":
            trial = replace(trial, state=extend(trial.plan, trial.state))
        if found.action in ("adopt", "keep", "inconclusive"):
            won = found.action == "adopt" and ROUTER not in trial.changes
            await self._end(trial, note=f"{found.action}: {found.reason}", stage="won" if won else "over")
            return
        await self._write(trial)

    async def _watch(self, trial: Trial, now: float) -> None:
        """Settings that won and are in force: whether those that go without them do worse."""
        adopted = bool(trial.frozen) and (trial.ruling or {}).get("action") == "adopt"
        if not self.settled or not adopted:
            return
        in_force = holds(self._settings(), trial.changes)
        if trial.stage == "kept" and not in_force:
            await self._end(trial, note=f"{trial.note}; taken back")
        elif trial.stage == "kept" and self._dirty:
            gain, why = looked_at(trial.plan, trial.state, now)
            trial = replace(trial, ruling={**trial.ruling, "lasting": asdict(gain)}, updated_at=now)
            if why:
                log.warning("%s: %s", trial.plan.experiment_id, why)
                await self._end(trial, note=f"{trial.note}; {why}")
            else:
                await self._write(trial)
        elif trial.stage in ENDED and in_force and "lasting" not in trial.ruling:
            # From nothing: what was seen before was by other shares, and maybe worth something else by the weights of then.
            fresh = replace(
                trial, stage="kept", state=begin(trial.plan), ruling={**trial.ruling, "lasting": None}, updated_at=now
            )
            await self._write(fresh)

    async def _write(self, trial: Trial) -> None:
        self.trial, self._dirty = trial, False
        await self._book.save(as_row(trial))

    async def _look_at_the_log(self) -> None:
        trial, challenger = self.trial, self._challenger
        if trial is None or challenger is None or trial.stage != "shadow":
            return
        now = self._shadowed_at = self._wall()
        rows = await self._decisions.newest(since=now - SHADOW_S, limit=SHADOW_ROWS)
        found = shadow.score(rows, self._settings(), challenger)
        trial = replace(self.trial or trial, shadow=None if found is None else asdict(found), updated_at=now)
        if found is not None and found.enough and found.gain.high < 0:
            await self._end(trial, note=f"keep: worse on logged decisions, its gain is at most {found.gain.high:+.3f}")
            return
        if found is not None and found.enough:
            trial = replace(trial, stage="live", plan=replace(trial.plan, began_at=now), note="")
        else:
            trial = replace(trial, note="in the shadow: the log says too little of it yet")
        await self._write(trial)

    async def _end(self, trial: Trial, *, note: str, stage: Stage = "over") -> None:
        self.trial = replace(trial, stage=stage, note=note, updated_at=self._wall())
        self._open.clear()
        await self._book.save(as_row(self.trial))
        self._ends += 1


def as_row(trial: Trial) -> dict[str, Json]:
    """As it is kept and shown."""
    return {
        "experiment_id": trial.plan.experiment_id,
        "stage": trial.stage,
        "plan": asdict(trial.plan),
        "changes": dict(trial.changes),
        "state": {**to_json(trial.state), "frozen": dict(trial.frozen)},
        "shadow": trial.shadow,
        "ruling": trial.ruling,
        "note": trial.note,
        "updated_at": trial.updated_at,
    }
