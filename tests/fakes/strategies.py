"""A strategy run over a fake toolbox, and works for it to do."""

from __future__ import annotations

from typing import Any

from agents.records import Choice, Json, Work
from agents.shaping import ShapeLimits, parse_shape
from agents.strategies.compose import run_strategy
from agents.strategy_specs import Pipeline, Single, Stage, StrategySpec
from tests.fakes.toolbox import Answer, FakeToolbox

ANY = Choice()
ASK = ({"role": "user", "content": "Describe the ferry to Inis Oirr"},)
STAGES = Pipeline(
    stages=(
        Stage(name="draft", strategy=Single(tier="cheap")),
        Stage(name="enrich", strategy=Single(tier="quality"), prompt="Add the timetable"),
        Stage(name="check", strategy=Single(tier="premium")),
    )
)


def shaped(shape: Json, **more: Any) -> Work:
    return Work(messages=ASK, schema=parse_shape(shape, limits=ShapeLimits()), **more)


async def run(
    work: Work, spec: StrategySpec, answer: Answer, choice: Choice = ANY, visible: bool = True, **more: Any
) -> tuple[Any, FakeToolbox]:
    box = FakeToolbox(answer, **more)
    return await run_strategy(work, spec, box, choice, visible=visible), box


def says(value: Json) -> Answer:
    return lambda request, choice: value
