"""Settings that won an experiment, as a proposal to route by them: a source of the controller.

Built by build.py. What a proposal is and who approves it are runtime/topology's; it is carried out by ``Router.tune``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agents.records import Json
from runtime.controlling.controller import Controller
from runtime.learner.trials import Trials
from runtime.learner.tuning import written
from runtime.topology.payloads import Kind, Tune
from runtime.topology.records import Draft, Evidence, Prediction
from runtime.topology.shape import Topology

KEY: Final = f"{Kind.TUNE}:routing"
WAITS_S: Final = 30 * 86_400.0
"""So long a ruling may wait to become a proposal: another change of the settings may be open."""
MAY_FAIL_MORE: Final = 0.05
"""Share of the requests that may fail beyond what did before, in the probation of adopted settings."""
COST_MARGIN: Final = 0.5
"""And so much dearer than the challenger was on its side of the experiment, as a share of that, the mean request may become."""
NEWEST: Final = 50


def draft_of(row: Mapping[str, Json], tuned: Sequence[str], *, simulated: bool) -> Draft:
    """The proposal to route by what won. ``row`` is the experiment, ``tuned`` what holds over the configuration now. Pure."""
    plan, ruling, sides = row["plan"], row["ruling"], row["state"]["sides"]
    gain, means = ruling["gain"], ruling["intervals"]
    judged = int(sides["challenger"]["quality"]["n"]) + int(sides["champion"]["quality"]["n"])
    evidence = Evidence(
        metric="worth",
        value=float(gain["mean"]),
        units="score",
        count=judged,
        since=float(plan["began_at"]),
        until=max(float(row["updated_at"]), float(plan["began_at"])),
        source=row["experiment_id"],
        note=f"gain over what is in force, at least {float(gain['low']):+.3f}: quality less cost and time, as weighed now",
    )
    return Draft(
        payload=Tune(settings=written(tuned, row["changes"])),
        reason=f"{plan['challenger']} won {row['experiment_id']}: {row['note']}"[:1000],
        evidence=(evidence,),
        predictions=tuple(_predictions(means, float(plan["cost_cap_usd"]))),
        share=1.0,
        simulated=simulated,
    )


def _predictions(means: Mapping[str, Any], cap_usd: float) -> list[Prediction]:
    """Failures and costs stay what they were on the challenger's side."""
    failed = {side: min(max(float(means[f"failed.{side}"]["mean"]), 0.0), 1.0) for side in ("champion", "challenger")}
    cost = {side: min(max(float(means[f"cost.{side}"]["mean"]), 0.0), 1.0) * cap_usd for side in ("champion", "challenger")}
    expected = min(failed["champion"], failed["challenger"])
    found = [Prediction(metric="failure", baseline=failed["champion"], expected=expected, margin=MAY_FAIL_MORE)]
    if cost["challenger"] > 0:
        margin = COST_MARGIN * max(cost.values())
        found.append(
            Prediction(metric="cost_usd", baseline=cost["champion"], expected=cost["challenger"], margin=margin, bound=cap_usd)
        )
    return found


class TuneSource:
    """``runtime.controlling.ports.Source``: the experiment on settings that was won and is not a proposal yet."""

    def __init__(self, trials: Trials, controller: Controller, *, simulated: Callable[[], bool]) -> None:
        self._trials, self._controller, self._simulated = trials, controller, simulated

    async def propose(
        self, topology: Topology, *, open_keys: frozenset[str], held_back: frozenset[str], now: float
    ) -> Sequence[Draft]:
        row = await self._trials.won()
        if row is None:
            return ()
        name, settings = row["experiment_id"], written(topology.tuned, row["changes"])
        cases = await self._controller.tools.book.cases(status=None, limit=NEWEST)
        known = (case.proposal for case in cases if any(each.source == name for each in case.proposal.draft.evidence))
        if (taken := next(known, None)) is not None:
            await self._trials.settle(name, f"proposal {taken.proposal_id}")
        elif settings == topology.tuned:
            await self._trials.settle(name, "in force already")
        elif KEY in held_back:
            await self._trials.settle(name, "not proposed: an operator rejected such a change lately")
        elif now - row["updated_at"] > WAITS_S:
            await self._trials.settle(name, "not proposed: another change of the settings was open all the time")
        elif KEY not in open_keys:
            return (draft_of(row, topology.tuned, simulated=self._simulated()),)
        return ()
