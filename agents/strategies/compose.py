"""The table that runs strategies: they compose, so any of them may hold any other. Reading them from JSON is parse.py's business.

Called by the API and the configuration (parse_strategy), the daemon's choice (default_strategy) and nodes (run_strategy).
Imports no backend and nothing of runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.committee import meeting
from agents.counting import gather, needs_counting
from agents.records import Choice, Draft, Work
from agents.strategies import (
    code_augmented,
    consensus,
    parallel,
    pipeline,
    routed,
    self_dialogue,
    self_healing,
    single,
    validation,
)
from agents.strategies.form import invalid
from agents.strategies.forms import NAMES, to_json
from agents.strategies.parse import BUILTIN, MAX_DEPTH, default_strategy, parse_strategy
from agents.strategies.runner import Runner
from agents.strategy_specs import (
    CodeAugmented,
    Committee,
    Consensus,
    Parallel,
    Pipeline,
    Routed,
    SelfDialogue,
    SelfHealing,
    Single,
    StrategySpec,
    ValidationLoop,
    draws_samples,
)
from agents.toolbox import Toolbox

__all__ = ["BUILTIN", "default_strategy", "parse_strategy", "run_strategy", "strategy_name", "to_json"]

_RUNNERS: Final[Mapping[type, Runner]] = {
    Single: single.run,
    Pipeline: pipeline.run,
    Parallel: parallel.run,
    ValidationLoop: validation.run,
    Routed: routed.run,
    Consensus: consensus.run,
    SelfDialogue: self_dialogue.run,
    SelfHealing: self_healing.run,
    CodeAugmented: code_augmented.run,
    Committee: meeting.run,
}


async def run_strategy(
    work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, *, visible: bool, depth: int = 0
) -> Draft:
    """Answer ``work`` by ``spec``. Counts are split here, around the whole strategy, so that each strategy works on what one
    reply can hold; one that draws samples takes its count as it is, and its parts split it. Raises AgentError."""
    if depth > MAX_DEPTH:
        raise invalid("strategy", f"nested deeper than {MAX_DEPTH} levels")
    runner = _RUNNERS[type(spec)]

    async def child(work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, *, visible: bool) -> Draft:
        return await run_strategy(work, spec, toolbox, choice, visible=visible, depth=depth + 1)

    async def batch(part: Work) -> Draft:
        return await runner(part, spec, toolbox, choice, visible=False, run_child=child)

    if needs_counting(work, toolbox) and not draws_samples(spec):
        return await gather(work, toolbox, batch)
    return await runner(work, spec, toolbox, choice, visible=visible, run_child=child)


def strategy_name(spec: StrategySpec) -> str:
    """Its name in forms.py, as in ``single`` or ``pipeline``: bounded, used as a metric label."""
    return NAMES[type(spec)]
