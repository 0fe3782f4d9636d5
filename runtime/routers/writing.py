"""What a model is told when it is to write a better router, and how its answer is read. Pure; called by evolve.py and the bench.

Everything of the log goes into one block of JSON, marked as data: texts of clients are in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agents.llm.prompts import render
from agents.records import Json
from runtime.routing.generated import FEATURES
from runtime.routing.lessons import Lessons, example, told
from runtime.routing.records import RoutingError
from runtime.routing.steps import MAX_EDITS, Step

MAX_GUIDANCE_CHARS: Final = 4_000
MAX_OUTCOMES: Final = 20
MAX_FAILED: Final = 12

GUIDANCE_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "guidance": {
            "type": "array",
            "minItems": 2,
            "maxItems": 10,
            "items": {"type": "string", "minLength": 10, "maxLength": 300},
        }
    },
    "required": ["guidance"],
    "additionalProperties": False,
}


class _Guidance(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    guidance: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=10, max_length=300)], ...], Field(min_length=2, max_length=10)
    ]


def measured(found: Lessons, steps: Sequence[Step], failed: Sequence[str]) -> dict[str, Json]:
    """The router as it is, what is wrong with it, and which edits of it (as ``Edit.told``) were no better, as JSON."""
    by_step = {group.test.value: told(group) for group in found.steps}
    return {
        "judged_requests": found.requests,
        "worth_now": round(found.now, 3),
        "worth_of_each_arm_for_all": {
            f"{strategy} x {backend}": round(value, 3) for (strategy, backend), value in found.arms.items()
        },
        "steps": [
            {"name": step.name, "why": step.why, "source": step.source, "measured": by_step.get(step.name)} for step in steps
        ],
        "mistakes": [told(group) for group in found.groups],
        "tried_without_success": list(failed[-MAX_FAILED:]),
        "worst_choices": [example(each) for each in found.worst],
    }


def task(
    found: Lessons, steps: Sequence[Step], arms: Sequence[Mapping[str, Any]], guidance: str, failed: Sequence[str] = ()
) -> str:
    """The question for a model that can write code. ``arms`` as ``generated.offered`` gives them."""
    return render(
        "router_write",
        features="\n".join(f'- request["{name}"]: {what}' for name, what in FEATURES.items()),
        arms="\n".join(f"- {_arm(each)}" for each in arms),
        guidance=guidance[:MAX_GUIDANCE_CHARS],
        most=str(MAX_EDITS),
        measured=json.dumps(measured(found, steps, failed), ensure_ascii=False, indent=1),
    )


def reflection(guidance: str, outcomes: Sequence[str]) -> str:
    """The question for better guidance. ``outcomes`` are sentences, the newest first."""
    listed = "\n".join(f"- {each[:300]}" for each in outcomes[:MAX_OUTCOMES])
    return render("router_reflect", guidance=guidance[:MAX_GUIDANCE_CHARS], outcomes=listed)


def guidance_of(data: Json) -> str:
    """New guidance, as it is kept. Raises RoutingError naming the field."""
    try:
        lines = _Guidance.model_validate(data).guidance
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise RoutingError(str(first["msg"])[:300], field=".".join(map(str, first["loc"])) or "guidance") from None
    return "".join(f"- {' '.join(line.split())}\n" for line in lines)


def _arm(each: Mapping[str, Any]) -> str:
    price = each["usd_per_1m"]
    return f"backend {each['backend']}, strategy {each['strategy']}, price {'unknown' if price is None else f'{price:g}'}"
