"""A stage that works on the items of a list one by one: "enrich only every tenth".

Called by pipeline.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from agents.counting import bounded
from agents.llm.prompts import render
from agents.quality.statistical_constraints import STATISTICAL
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, InvalidRequest, Json, Work
from agents.shaping import array_path, array_schema
from agents.strategies.gates import names_of, wanted
from agents.strategies.runner import RunChild, inner, joined_issues, to_text, with_user
from agents.strategy_specs import Stage
from agents.toolbox import Toolbox
from agents.verdicts import Constraint

MAX_ITEMS: Final = 500
"""Of a longer list (counts are split long before) the rest stays as it is, and an issue says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The one list of a draft: where it is, its items, and the schema of one."""

    path: tuple[str, ...]
    items: tuple[Json, ...]
    schema: Mapping[str, Json]


def listed(work: Work, known: Draft) -> Listed | None:
    """The list that a per-item stage walks through; None where the answer is not one. Pure."""
    path = array_path(work.schema) if work.schema is not None else None
    if work.schema is None or path is None:
        return None
    found = known.data.get(path[0]) if path and isinstance(known.data, dict) else known.data
    items = array_schema(work.schema, path).get("items")
    if not isinstance(found, list) or not isinstance(items, Mapping):
        return None
    definitions = {key: work.schema[key] for key in ("$defs", "definitions") if key in work.schema}
    return Listed(path=path, items=tuple(found), schema={**definitions, **items})


def constraints_of_item(constraints: tuple[Constraint, ...], path: tuple[str, ...]) -> tuple[Constraint, ...]:
    """The constraints that one item can be held against, with their fields as seen from it. Pure."""
    prefix = f"{path[0]}[]" if path else "[]"
    alone = [one for one in constraints if one.kind != "unique" and one.kind not in STATISTICAL]
    seen = [(one, one.field if path else one.field.removeprefix("items")) for one in alone]
    return tuple(
        replace(one, field=field.removeprefix(prefix).removeprefix("."))
        for one, field in seen
        if field == prefix or field.startswith((f"{prefix}.", f"{prefix}["))
    )


async def run_items(
    stage: Stage, work: Work, known: Draft, found: Listed, toolbox: Toolbox, choice: Choice, run_child: RunChild
) -> Draft:
    """``known`` with those items worked on of which ``stage.when`` holds, at most ``toolbox.max_parallel`` at once.

    An item whose work fails stays as it was, and an issue says so; when time or money ends, so do the rest. Raises the first
    error when every item fails.
    """
    items, issues = list(found.items), list(known.issues)
    failures: list[AgentError] = []
    chosen = _chosen(stage, work, found, issues)

    async def one(place: int) -> None:
        if failures and isinstance(failures[-1], DeadlineExceeded | BudgetExceeded):
            issues.append(f"item {work.first_item + place}: {stage.name!r} was not reached ({failures[-1].code})")
            return
        try:
            draft = await run_child(_given(stage, work, found, place), stage.strategy, toolbox, choice, visible=False)
        except InvalidRequest:
            raise
        except AgentError as error:
            failures.append(error)
            issues.append(f"item {work.first_item + place}: {stage.name!r} failed: {error.code}: {error.message}")
            return
        items[place] = draft.data
        issues.extend(f"item {work.first_item + place}: {issue}" for issue in draft.issues)

    await bounded(chosen, toolbox.max_parallel, one)
    if failures and len(failures) == len(chosen):
        raise failures[0]
    toolbox.note("stage", name=stage.name, state="items", worked_on=len(chosen), of=len(items), failed=len(failures))
    data: Json = {**known.data, found.path[0]: items} if found.path and isinstance(known.data, dict) else items
    whole = known.complete and not failures
    return replace(known, text=to_text(data), data=data, issues=joined_issues(issues), complete=whole, backend="")


def _chosen(stage: Stage, work: Work, found: Listed, issues: list[str]) -> list[int]:
    chosen = []
    path = constraints_of_item(work.constraints, found.path)
    for place, item in enumerate(found.items[:MAX_ITEMS]):
        own = replace(work, schema=found.schema, constraints=path, index=work.first_item + place)
        run, problem = wanted(stage.when, names_of(own, Draft(text="", data=item)) if stage.when is not None else {})
        if problem is not None:
            issues.append(f"item {own.index}: {problem}")
        if run:
            chosen.append(place)
    if len(found.items) > MAX_ITEMS:
        issues.append(f"{stage.name!r} works on at most {MAX_ITEMS} items; the others are as they were")
    return chosen


def _given(stage: Stage, work: Work, found: Listed, place: int) -> Work:
    number = work.first_item + place
    text = render(
        "stage_item",
        name=stage.name,
        number=str(number),
        instruction=stage.prompt or "",
        item=to_text(found.items[place]),
    )
    own = replace(inner(work), schema=found.schema, count=None, index=number, first_item=number)
    return with_user(replace(own, constraints=constraints_of_item(work.constraints, found.path)), text)
