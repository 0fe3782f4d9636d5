"""Aspects asked at once, then merged into one answer.

Called through compose.py. An aspect without fields of its own is asked for everything; where no aspects are given, the schema's
fields are dealt out, or for free text two points of view are asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson

from agents.records import (
    AgentError,
    Aspect,
    BackendError,
    Choice,
    Draft,
    Json,
    Parallel,
    Refused,
    Single,
    StructuredFailed,
    Work,
)
from agents.schema_check import compile_schema
from agents.shaping import merge_deep, sub_schema
from agents.strategies.running import RunChild, say
from agents.toolbox import Toolbox

MAX_PARTS = 3
VIEWS = (
    ("answer", "Answer the question directly and concretely."),
    ("limits", "Name only what such an answer leaves out: exceptions, risks and conditions."),
)


async def run(
    work: Work, spec: Parallel, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild
) -> Draft:
    """See ``running.Runner``. Raises the first aspect's error when every aspect failed."""
    aspects = spec.aspects or _dealt(work)
    slots = asyncio.Semaphore(toolbox.max_parallel)

    async def ask(aspect: Aspect) -> Draft | AgentError:
        async with slots:
            toolbox.note("stage", name=aspect.name, strategy="parallel", fields=list(aspect.fields))
            try:
                return await run_child(_part(work, aspect), aspect.strategy, toolbox, choice, visible=False)
            except (BackendError, StructuredFailed, Refused) as error:
                return error

    tasks = [asyncio.ensure_future(ask(aspect)) for aspect in aspects]
    try:
        results = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    answered = [(aspect, result) for aspect, result in zip(aspects, results, strict=True) if isinstance(result, Draft)]
    if not answered:
        raise next(result for result in results if isinstance(result, AgentError))
    issues = [
        f"aspect {aspect.name!r} failed ({result.code})"
        for aspect, result in zip(aspects, results, strict=True)
        if isinstance(result, AgentError)
    ]
    merge = "concatenate" if work.schema is None and spec.merge == "deep" else spec.merge
    return _merged(work, merge, answered, issues)


def _dealt(work: Work) -> tuple[Aspect, ...]:
    """Aspects where none were given."""
    if work.schema is None:
        return tuple(Aspect(name=name, strategy=Single(), prompt=prompt) for name, prompt in VIEWS)
    names = list(work.schema.get("properties", {}))
    parts = min(MAX_PARTS, len(names)) or 1
    groups = [tuple(names[start::parts]) for start in range(parts)]
    return tuple(
        Aspect(name=f"part {number}", strategy=Single(), fields=fields) for number, fields in enumerate(groups, 1)
    )


def _part(work: Work, aspect: Aspect) -> Work:
    if work.schema is not None and aspect.fields:
        work = replace(work, schema=sub_schema(work.schema, aspect.fields), count=None)
    return say(work, aspect.prompt) if aspect.prompt else work


def _merged(work: Work, merge: str, answered: list[tuple[Aspect, Draft]], issues: list[str]) -> Draft:
    issues.extend(issue for _, draft in answered for issue in draft.issues)
    failed = bool(issues)
    if merge == "concatenate" and work.schema is None:
        text = "\n\n".join(draft.text for _, draft in answered)
        return Draft(text=text, issues=tuple(issues), complete=not failed)
    values = [(aspect, draft.data if draft.data is not None else draft.text) for aspect, draft in answered]
    data: Json
    if merge == "by_key":
        data = {aspect.name: value for aspect, value in values}
    elif merge == "concatenate":
        data = [item for _, value in values for item in (value if isinstance(value, list) else [value])]
    else:
        data = values[0][1]
        for aspect, value in values[1:]:
            clashes: list[str] = []
            data = merge_deep(data, value, clashes=clashes)
            issues.extend(f"aspect {aspect.name!r}: {clash}" for clash in clashes)
    if work.schema is not None and merge == "deep":
        issues.extend(compile_schema(work.schema).errors(data))
    unique = tuple(dict.fromkeys(issues))
    return Draft(text=orjson.dumps(data).decode(), data=data, issues=unique, complete=not unique)
