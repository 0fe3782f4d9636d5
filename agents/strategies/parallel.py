"""Aspects of one request asked at once and put together: each model does the part that it is for.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import orjson

from agents.counting import bounded
from agents.llm.prompts import render
from agents.quality.constraints import of_parts
from agents.records import AgentError, Choice, Draft, InvalidRequest, Json, StructuredFailed, Work
from agents.shaping import array_path, array_schema, compile_schema, conform, sub_schema, with_count
from agents.strategies.agreement import agreement
from agents.strategies.merging import Merge, same_answer
from agents.strategies.runner import RunChild, inner, joined_issues, to_text, with_user
from agents.strategy_specs import Aspect, Parallel, Single, Tier
from agents.toolbox import Toolbox

_TIERS: Final[tuple[Tier, ...]] = ("cheap", "quality", "quality")
_SIDES: Final = (
    Aspect(name="essentials", strategy=Single(tier="quality"), prompt="Give the direct answer and what it rests on."),
    Aspect(name="details", strategy=Single(tier="cheap"), prompt="Give examples, exceptions and what is easily overlooked."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What came of one aspect: a draft or an error."""

    aspect: Aspect
    draft: Draft | None = None
    error: AgentError | None = None


async def run(work: Work, spec: Parallel, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """Ask every aspect at once, at most ``toolbox.max_parallel`` at a time, and merge in the order of the aspects.

    Aspects that are not given are made of the schema's fields. With a schema each aspect is asked for its own fields only. Where
    two aspects clash in type the conflict rule decides and an issue says so; a failed aspect is an issue, and the draft is
    incomplete unless the others fill its fields. Raises the first aspect's error when all of them fail, StructuredFailed
    (``partial``: the merge by which the first one wins) where values differ and the rule is ``fail``.
    """
    aspects = spec.aspects or default_aspects(work.schema)
    if not aspects:
        return await run_child(work, Single(), toolbox, choice, visible=visible)
    works = _works(work, spec.merge, aspects)

    async def one(job: tuple[Aspect, Work]) -> _Part:
        aspect, given = job
        toolbox.note("stage", name=aspect.name, state="begun", fields=list(aspect.fields))
        try:
            draft = await run_child(given, aspect.strategy, toolbox, choice, visible=False)
        except InvalidRequest:
            raise
        except AgentError as error:
            toolbox.note("stage", name=aspect.name, state="failed", error=error.code)
            return _Part(aspect=aspect, error=error)
        toolbox.note("stage", name=aspect.name, state="done", issues=list(draft.issues))
        return _Part(aspect=aspect, draft=draft)

    parts = await bounded(list(zip(aspects, works, strict=True)), toolbox.max_parallel, one)
    errors = [part.error for part in parts if part.error is not None]
    if len(errors) == len(parts):
        raise errors[0]
    draft = _joined(work, spec, parts)
    if spec.aspects and len(parts) > 1:
        toolbox.note("stage", name="merge", state="done", useful=_useful(work, spec, parts, draft))
    return draft


def _useful(work: Work, spec: Parallel, parts: list[_Part], draft: Draft) -> dict[str, bool]:
    """Of each aspect, whether the answer would have been another one without it."""
    found = {}
    for place, part in enumerate(parts):
        others = [*parts[:place], *parts[place + 1 :]]
        try:
            same = same_answer(_joined(work, spec, others), draft)
        except AgentError:
            same = False
        found[f"aspect:{part.aspect.name}"] = not same and part.draft is not None
    return found


def default_aspects(schema: Mapping[str, Json] | None) -> tuple[Aspect, ...]:
    """Two or three aspects that split the schema's fields (of its items, where it is a list of known length); for free text
    two points of view; none where there is nothing to split."""
    if schema is None:
        return _SIDES
    fields = list(schema.get("properties", {}))
    if len(fields) < 2:
        path = array_path(schema)
        array = array_schema(schema, path) if path is not None else {}
        items = array.get("items", {})
        # Lists of different lengths cannot be put together item by item.
        known = array.get("minItems") is not None and array.get("minItems") == array.get("maxItems")
        fields = list(items.get("properties", {})) if known and isinstance(items, Mapping) else []
    groups = 3 if len(fields) >= 6 else 2
    if len(fields) < 2:
        return ()
    size = -(-len(fields) // groups)
    return tuple(
        Aspect(
            name=f"fields {place // size + 1}",
            strategy=Single(tier=_TIERS[place // size]),
            fields=tuple(fields[place : place + size]),
        )
        for place in range(0, len(fields), size)
    )


def _works(work: Work, merge: str, aspects: tuple[Aspect, ...]) -> list[Work]:
    shares = _shares(work, len(aspects)) if merge == "concatenate" else None
    works = []
    for place, aspect in enumerate(aspects):
        schema = _schema_of(work.schema, merge, aspect)
        if shares is not None and schema is not None:
            schema = with_count(_unbounded(schema), shares[place])
        told = f" (the fields {', '.join(aspect.fields)})" if aspect.fields else ""
        text = render("aspect", name=aspect.name, fields=told, instruction=aspect.prompt or "")
        # Under another key a field is another field, and of a part of the items not all can be said.
        constraints = {"by_key": (), "concatenate": of_parts(work.constraints)}.get(merge, work.constraints)
        works.append(replace(with_user(inner(work), text), schema=schema, constraints=constraints))
    return works


def _shares(work: Work, parts: int) -> list[int] | None:
    """How many items each aspect gives when their lists are put behind each other and the length is fixed."""
    path = array_path(work.schema) if work.schema is not None else None
    if work.schema is None or path is None:
        return None
    array = array_schema(work.schema, path)
    total = array.get("minItems")
    if total is None or total != array.get("maxItems") or total < parts:
        return None
    return [total // parts + (place < total % parts) for place in range(parts)]


def _unbounded(schema: Mapping[str, Json]) -> dict[str, Json]:
    path = array_path(schema)
    if path is None:
        return dict(schema)
    array = {key: value for key, value in array_schema(schema, path).items() if key not in ("minItems", "maxItems")}
    if not path:
        return {**{key: schema[key] for key in ("$defs", "definitions") if key in schema}, **array}
    return {**schema, "properties": {**schema["properties"], path[0]: array}}


def _schema_of(schema: Mapping[str, Json] | None, merge: str, aspect: Aspect) -> dict[str, Json] | None:
    if schema is None:
        return None
    named = schema.get("properties", {}).get(aspect.name) if merge == "by_key" else None
    if isinstance(named, Mapping):
        found = {**{key: schema[key] for key in ("$defs", "definitions") if key in schema}, **named}
        return sub_schema(found, aspect.fields) if aspect.fields else found
    return sub_schema(schema, aspect.fields) if aspect.fields else dict(schema)


# ── merging ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _joined(work: Work, spec: Parallel, parts: list[_Part]) -> Draft:
    issues = [f"aspect {part.aspect.name!r} failed: {part.error.code}: {part.error.message}" for part in parts if part.error]
    good = [(part.aspect, part.draft) for part in parts if part.draft is not None]
    issues += [f"{aspect.name}: {issue}" for aspect, draft in good for issue in draft.issues]
    failed = len(good) < len(parts)
    values = [draft.data if work.schema is not None else _parsed(draft.text) for _, draft in good]
    fields = spec.merge in ("deep", "vote") and all(isinstance(value, dict) for value in values)
    if work.schema is None and spec.merge != "by_key" and not fields:
        return _as_text(spec, [draft for _, draft in good], issues, failed=failed)
    merge = Merge("vote" if spec.merge == "vote" else spec.conflict)
    data = _merged(spec.merge, [aspect.name for aspect, _ in good], values, work, merge)
    if merge.rule == "fail" and merge.conflicts:
        raise StructuredFailed(f"the aspects disagree at {'; '.join(merge.conflicts)}"[:1000], partial=data)
    issues += [f"the aspects disagree at {clash}" for clash in merge.clashes]
    if work.schema is None:
        return Draft(text=to_text(data), data=data, issues=joined_issues(issues), complete=not failed)
    data = conform(data, work.schema)
    errors = compile_schema(work.schema).errors(data)
    # Fields of a failed aspect that are not required leave no error; they are missing all the same.
    missing = [name for part in parts if part.error for name in part.aspect.fields if not _has(data, name, work.schema)]
    issues += [f"{name}: missing" for name in missing]
    return Draft(text=to_text(data), data=data, issues=joined_issues(issues, errors), complete=not errors and not missing)


def _as_text(spec: Parallel, drafts: list[Draft], issues: list[str], *, failed: bool) -> Draft:
    """Texts one after the other, or, in a vote, the one that the others are most like."""
    if spec.merge == "vote":
        likest = max(zip(agreement(drafts), drafts, strict=True), key=lambda pair: pair[0])[1]
        return replace(likest, issues=joined_issues(issues))
    text = "\n\n".join(draft.text.strip() for draft in drafts)
    return Draft(text=text, issues=joined_issues(issues), complete=not failed and all(draft.complete for draft in drafts))


def _merged(merge: str, names: list[str], values: list[Json], work: Work, by: Merge) -> Json:
    if merge == "by_key":
        return dict(zip(names, values, strict=True))
    if merge == "concatenate":
        path = array_path(work.schema) if work.schema is not None else ()
        lists = [value.get(path[0]) if path and isinstance(value, dict) else value for value in values]
        arrays = [found for found in lists if isinstance(found, list)]
        if path is not None and len(arrays) == len(values):
            joined = [item for found in arrays for item in found]
            if not path:
                return joined
            return {**by.values([{**value, path[0]: None} for value in values]), path[0]: joined}
    return by.values(values)


def _parsed(text: str) -> Json:
    """Free text that happens to be a JSON object is merged as one; anything else stays text."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, dict) else text


def _has(data: Json, name: str, schema: Mapping[str, Json]) -> bool:
    if isinstance(data, dict) and name in schema.get("properties", {}):
        return name in data
    path = array_path(schema)
    found = data.get(path[0]) if path and isinstance(data, dict) else data
    return isinstance(found, list) and all(isinstance(item, dict) and name in item for item in found)
