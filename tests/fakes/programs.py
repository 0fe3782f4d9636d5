"""Scripted models that write programs, and a scripted sandbox that runs them."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.calls import Usage
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.quality.constraints import parse_constraints
from agents.records import Choice, Json, Work
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape
from agents.strategies.compose import default_strategy, run_strategy
from agents.strategy_specs import CodeAugmented
from sandbox.records import RunResult
from tests.fakes.toolbox import FakeToolbox

CODER = BackendSpec(name="coder", output_usd_per_mtok=2.0, capabilities=frozenset({"words", "code", "json_schema"}))
MASTER = BackendSpec(name="master", output_usd_per_mtok=20.0, capabilities=frozenset({"words", "code", "json_schema"}))
PLAIN = BackendSpec(name="plain", capabilities=frozenset({"words", "json_schema"}))
PROGRAM = '```json\n{"parameters": {"mean": 40}}\n```\n```python\ndef run(inputs):\n    return {}\n```'
AGES = {"distribution": {"family": "normal", "mean": 40, "std": 10, "clip": [18, 90], "round": True}}


def work(prompt: str, shape: Json = None, count: int | None = None, constraints: Json = None) -> Work:
    schema = None if shape is None else parse_shape(shape, limits=ShapeLimits())
    messages = ({"role": "user", "content": prompt},)
    return Work(messages=messages, schema=schema, count=count, constraints=parse_constraints(constraints), index=5)


def ok(result: Json, **checks: bool) -> RunResult:
    return RunResult(value={"result": result, "checks": checks or {"held": True}})


def ages(seed: int = 1, n: int = 300, mean: float = 40, clip: tuple[int, int] = (18, 90)) -> list[Json]:
    drawn = np.clip(np.round(np.random.default_rng(seed).normal(mean, 10, n)), *clip)
    return [{"age": int(age)} for age in drawn]


def scripted(runs: list[RunResult], said: Any = PROGRAM, backends: Any = (PLAIN, CODER, MASTER)) -> FakeToolbox:
    """Models that answer programs and words; the sandbox answers ``runs`` in turn, the last one again and again."""
    left = list(runs)

    def answer(request: ChatRequest, choice: Choice) -> Json:
        if request.schema_name == "constraints":
            return {"constraints": []}
        if request.schema_name == "kind_of_problem":
            return {"kind": "computational", "reason": "it counts"}
        if request.schema is not None:
            items = request.schema.get("minItems")
            one = {name: f"a {name}" for name in (request.schema.get("items") or request.schema).get("properties", {})}
            return [dict(one) for _ in range(items)] if items is not None else one
        name = choice.backend or "coder"
        if isinstance(said, dict) and isinstance(said.get(name), Exception):
            return said[name]
        return ChatReply(text=said if isinstance(said, str) else said[name], model="m", usage=Usage(), backend=name)

    def runner(code: str, inputs: Json) -> RunResult:
        return left.pop(0) if len(left) > 1 else left[0]

    return FakeToolbox(answer=answer, backends=backends, runner=runner)


async def run(box: FakeToolbox, asked: Work, spec: CodeAugmented | None = None) -> Any:
    return await run_strategy(asked, spec or default_strategy("code_augmented"), box, Choice(), visible=False)


def steps(box: FakeToolbox) -> list[str]:
    return [data["step"] for kind, data in box.notes if kind == "code" and "step" in data]
