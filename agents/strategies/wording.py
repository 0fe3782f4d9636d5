"""The words of an answer whose numbers are known: asked of a model in batches, for just the fields that are missing.

Called by code_augmented.py. Reaches models only through ``run_child``. What was worked out is never changed: a model's values are
laid beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from agents import quality
from agents.counting import gather
from agents.llm.prompts import render
from agents.quality.constraints import of_parts, within
from agents.records import Choice, Draft, Json, Work
from agents.shaping import array_path, sub_schema
from agents.strategies.problem import Layout
from agents.strategies.program import words_schema
from agents.strategies.runner import RunChild, inner, to_text, with_user
from agents.strategy_specs import StrategySpec
from agents.toolbox import Toolbox
from agents.verdicts import Constraint

MAX_SHOWN_CHARS: Final = 20_000
MENDS: Final = 2
"""How often items whose words break a constraint are asked again."""


async def with_words(
    work: Work, layout: Layout, data: Json, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild
) -> tuple[Json, tuple[str, ...]]:
    """``data`` with its words, and what is known to be wrong with them. Raises Incomplete where some never came."""
    issues: list[str] = []
    if layout.words:
        items = _items(data, layout)
        words, issues = await _for_items(work, layout, items, spec, toolbox, choice, run_child)
        words = await _mended(work, layout, items, words, spec, toolbox, choice, run_child)
        data = _laid(data, layout, words, work.schema or {})
    if layout.frame_words:
        data, more = await _framed(work, layout, data, spec, toolbox, choice, run_child)
        issues.extend(more)
    return data, tuple(issues)


def _items(data: Json, layout: Layout) -> list[Json]:
    if layout.path is None:
        return [data]
    found = data[layout.path[0]] if layout.path else data
    return list(found)


def _laid(data: Json, layout: Layout, words: list[Json], schema: Mapping[str, Json]) -> Json:
    """The items with their words, fields in the order of the form; what was worked out stands."""
    order = (*layout.computed, *layout.words)
    merged = []
    for item, more in zip(_items(data, layout), words, strict=True):
        both = {**(more if isinstance(more, dict) else {}), **(item if isinstance(item, dict) else {})}
        merged.append({name: both[name] for name in (*_order(schema, layout, order), *both) if name in both})
    if layout.path is None:
        return merged[0]
    return {**data, layout.path[0]: merged} if layout.path else merged


def _order(schema: Mapping[str, Json], layout: Layout, names: tuple[str, ...]) -> tuple[str, ...]:
    part: Any = schema
    for step in layout.path or ():
        part = part.get("properties", {}).get(step, {})
    if layout.path is not None:
        part = part.get("items", {})
    known = tuple(part.get("properties", ())) if isinstance(part, Mapping) else ()
    return known or names


async def _for_items(
    work: Work,
    layout: Layout,
    items: list[Json],
    spec: StrategySpec,
    toolbox: Toolbox,
    choice: Choice,
    run_child: RunChild,
) -> tuple[list[Json], list[str]]:
    """The words of ``items``, in order; ``gather`` splits them into batches and asks again for what came short."""
    schema = _list_schema(work, layout, len(items))
    rules = _constraints_of_words(work, layout, schema)
    ask_for = replace(inner(work), schema=schema, count=len(items), constraints=rules, place=None, first_item=1)

    async def batch(part: Work) -> Draft:
        first = part.first_item - 1
        assert part.schema is not None
        own = items[first : first + int(part.schema.get("minItems", len(items)))]
        text = render(
            "code_words", count=str(len(own)), fields=", ".join(layout.words), items=to_text(own)[: 4 * MAX_SHOWN_CHARS]
        )
        return await run_child(with_user(part, text), spec, toolbox, choice, visible=False)

    toolbox.note("stage", name="words", state="asked", items=len(items), fields=list(layout.words))
    draft = await gather(ask_for, toolbox, batch)
    return list(draft.data or ()), list(draft.issues)


def _list_schema(work: Work, layout: Layout, count: int) -> dict[str, Json]:
    assert work.schema is not None
    if layout.path is None:
        items: dict[str, Json] = sub_schema(work.schema, layout.words)
        definitions: dict[str, Json] = {key: items.pop(key) for key in ("$defs", "definitions") if key in items}
        return {**definitions, "type": "array", "items": items}
    found = words_schema(work.schema, layout)
    return {key: value for key, value in found.items() if key not in ("minItems", "maxItems", "uniqueItems")}


def _constraints_of_words(work: Work, layout: Layout, schema: Mapping[str, Json]) -> tuple[Constraint, ...]:
    """Those about the words, with their fields as seen from the bare list."""
    prefix = layout.path[0] if layout.path else ""
    if layout.path is None:
        return ()
    seen = (replace(one, field=one.field.removeprefix(prefix)) for one in of_parts(work.constraints))
    return within((one for one in seen if one.field.startswith("[]")), schema)


async def _mended(
    work: Work,
    layout: Layout,
    items: list[Json],
    words: list[Json],
    spec: StrategySpec,
    toolbox: Toolbox,
    choice: Choice,
    run_child: RunChild,
) -> list[Json]:
    """Items whose words break a constraint, or repeat what must be unique, asked again."""
    schema = _list_schema(work, layout, len(items))
    rules = _constraints_of_words(work, layout, schema)
    for _ in range(MENDS if rules else 0):
        wrong = await asyncio.to_thread(offenders, words, rules)
        if not wrong:
            break
        toolbox.note("stage", name="words", state="asked again", items=len(wrong))
        told = replace(work, rules=(*work.rules, "Values of fields that must be unique may not be any of those given before."))
        again, _ = await _for_items(told, layout, [items[n] for n in wrong], spec, toolbox, choice, run_child)
        words = list(words)
        for place, one in zip(wrong, again, strict=True):
            words[place] = one
    return words


def offenders(words: list[Json], rules: tuple[Constraint, ...]) -> list[int]:
    """The places of items that break a rule alone, or repeat an earlier one's value. Pure."""
    alone = tuple(one for one in rules if one.kind != "unique" and one.kind != "monotonic")
    unique = [one.field.removeprefix("[]").removeprefix(".") for one in rules if one.kind == "unique"]
    seen: set[tuple[str, str]] = set()
    wrong = []
    for place, item in enumerate(words):
        values = [(name, to_text(item.get(name))) for name in unique if isinstance(item, dict)]
        bad = any(value in seen for value in values)
        seen.update(values)
        if bad or (alone and quality.check([item], constraints=alone).score < 1.0):
            wrong.append(place)
    return wrong


async def _framed(
    work: Work, layout: Layout, data: Json, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild
) -> tuple[Json, tuple[str, ...]]:
    """What stands around the list and wants words: one question, shown the beginning of the list."""
    assert work.schema is not None
    schema = sub_schema(work.schema, layout.frame_words)
    path = array_path(work.schema) or ()
    shown = {**data, path[0]: data[path[0]][:5]} if path else data
    text = render("code_frame", fields=", ".join(layout.frame_words), answer=to_text(shown)[:MAX_SHOWN_CHARS])
    own = replace(inner(work), schema=schema, count=None, constraints=within(work.constraints, schema), place=None)
    toolbox.note("stage", name="words", state="asked", fields=list(layout.frame_words))
    draft = await run_child(with_user(own, text), spec, toolbox, choice, visible=False)
    merged = {**(draft.data if isinstance(draft.data, dict) else {}), **data}
    order = (*work.schema.get("properties", {}), *merged)
    return {name: merged[name] for name in order if name in merged}, draft.issues
