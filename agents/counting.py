"""Counts: N items asked means N items returned, or an error that says how many are missing.

One place for every strategy: what is more than one reply can hold is split into batches, asked with bounded concurrency and
merged in order; what came short is asked again. Called by compose.py around the chosen strategy. Pure but for the asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from agents.llm.prompts import render
from agents.quality.constraints import of_parts
from agents.records import (
    AgentError,
    BudgetExceeded,
    DeadlineExceeded,
    Draft,
    Incomplete,
    InvalidRequest,
    Json,
    Place,
    StructuredFailed,
    Work,
)
from agents.shaping import array_path, array_schema, compile_schema, conform, with_count
from agents.strategies.runner import joined_issues, to_text, with_user
from agents.toolbox import Toolbox

ROUNDS: Final = 3
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Items ``first`` … ``first + count - 1`` of the whole list, counted from 0."""

    first: int
    count: int


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What has come so far. ``slots`` has one place an item, so that late items land where they belong."""

    slots: list[Json]
    frame: dict[str, Json] | None = None
    issues: list[str] = field(default_factory=list)
    failure: AgentError | None = None
    done: int = 0


def wanted(work: Work) -> int | None:
    """How many items of its one array the work asks for: its count, or what the schema says at least; None: not counted."""
    if work.schema is None:
        return None
    if work.count is not None:
        return work.count
    path = array_path(work.schema)
    return None if path is None else int(_array(work, path).get("minItems", 0)) or None


def needs_counting(work: Work, toolbox: Toolbox) -> bool:
    """Whether ``gather`` must run it: a count is asked, or the schema's array holds more than one reply can."""
    if work.count is not None:
        return True
    count = wanted(work)
    return count is not None and count > toolbox.max_items_per_call


async def gather(work: Work, toolbox: Toolbox, ask: Callable[[Work], Awaitable[Draft]]) -> Draft:
    """A draft with exactly the items that ``work`` asks for; ``ask`` gets works of at most ``max_items_per_call`` items.

    Memory: the items themselves and one batch a running ask. Raises InvalidRequest(param="count") for a count without a schema,
    Incomplete (``partial``: the data that came, None without an item) when items are missing after ``ROUNDS`` rounds, or the
    batches' own error when nothing came at all.
    """
    if work.schema is None or work.count == 0 or (work.count or 0) < 0:
        raise InvalidRequest("count needs a shape and a whole number above zero", param="count")
    total = wanted(work)
    assert total is not None
    whole = replace(work, schema=with_count(work.schema, total), count=None)
    assert whole.schema is not None
    path = array_path(whole.schema)
    assert path is not None
    tally = _Tally(slots=[_MISSING] * total)
    size = max(1, toolbox.max_items_per_call)
    for round_ in range(ROUNDS):
        missing = _missing(tally.slots, max(1, size >> round_))
        if not missing:
            break
        await _round(whole, path, total, missing, tally, toolbox, ask)
        if isinstance(tally.failure, BudgetExceeded | DeadlineExceeded):
            break
    return _finished(whole, path, tally)


async def _round(
    work: Work,
    path: tuple[str, ...],
    total: int,
    batches: Sequence[Batch],
    tally: _Tally,
    toolbox: Toolbox,
    ask: Callable[[Work], Awaitable[Draft]],
) -> None:
    async def one(batch: Batch) -> None:
        if isinstance(tally.failure, BudgetExceeded | DeadlineExceeded):
            return
        try:
            draft = await ask(_part(work, path, batch, total, max(1, toolbox.max_items_per_call)))
            _take(tally, path, batch, draft.data)
            tally.issues.extend(draft.issues)
        except InvalidRequest:
            raise
        except AgentError as error:
            # A broken batch is a short one: what is valid in it counts, the rest is asked again in smaller batches.
            tally.failure = error
            _take(tally, path, batch, _valid_items(work, path, error.partial))
        toolbox.note("progress", done=tally.done, total=total)

    await bounded(batches, toolbox.max_parallel, one)


async def bounded(jobs: Iterable[A], limit: int, work: Callable[[A], Awaitable[B]]) -> list[B]:
    """``work`` over ``jobs``, at most ``limit`` at once; results in order. The first error cancels the rest and is raised."""
    results: dict[int, B] = {}
    queue = iter(enumerate(jobs))

    async def worker() -> None:
        for place, job in queue:
            results[place] = await work(job)

    jobs_hint = len(jobs) if isinstance(jobs, Sequence) else limit
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, min(limit, jobs_hint))):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    return [results[place] for place in sorted(results)]


# ── pure parts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Missing:
    """A place whose item has not come; null is a value."""


_MISSING: Final = _Missing()


def _missing(slots: list[Json], size: int) -> list[Batch]:
    """The gaps, in runs of at most ``size``."""
    batches: list[Batch] = []
    place = 0
    while place < len(slots):
        if slots[place] is not _MISSING:
            place += 1
            continue
        end = place
        while end < len(slots) and end - place < size and slots[end] is _MISSING:
            end += 1
        batches.append(Batch(first=place, count=end - place))
        place = end
    return batches


def _part(work: Work, path: tuple[str, ...], batch: Batch, total: int, size: int) -> Work:
    assert work.schema is not None
    schema = dict(work.schema)
    if batch.count != total:
        # A part is told and checked only what holds for parts; dispatch checks the whole against all of it.
        work = replace(work, constraints=of_parts(work.constraints))
        schema = with_count(_open(schema, path), batch.count)
    if batch.count != total or work.place is not None:
        place = work.place or Place(first=0, total=total)
        first = place.first + batch.first
        work = with_user(
            work,
            render(
                "batch",
                total=str(place.total),
                count=str(batch.count),
                first=str(first + 1),
                last=str(first + batch.count),
            ),
        )
        # A batch that is asked again in smaller parts keeps its number.
        work = replace(work, index=first // size + 1, first_item=first + 1)
    return replace(work, schema=schema, place=None)


def part_schema(schema: Mapping[str, Json], total: int) -> dict[str, Json]:
    """The schema of any part of ``total`` items of ``schema``: its one array, without bounds of its own.

    Raises InvalidRequest(param="count") when the schema forbids ``total`` items.
    """
    whole = with_count(schema, total)
    path = array_path(whole)
    assert path is not None
    return _open(whole, path)


def items_of(schema: Mapping[str, Json], data: Json) -> tuple[list[Json], dict[str, Json] | None]:
    """The items of an answer to ``part_schema``, and what stands around them (None where the list is the whole answer)."""
    path = array_path(schema) or ()
    frame = {key: value for key, value in data.items() if key != path[0]} if path and isinstance(data, dict) else None
    return _items(data, path), frame


def _open(schema: dict[str, Json], path: tuple[str, ...]) -> dict[str, Json]:
    """The schema with its array's own bounds taken off."""
    bare = ("minItems", "maxItems", "uniqueItems")
    if not path:
        return {key: value for key, value in schema.items() if key not in bare}
    part = {key: value for key, value in schema["properties"][path[0]].items() if key not in bare}
    return {**schema, "properties": {**schema["properties"], path[0]: part}}


def _array(work: Work, path: tuple[str, ...]) -> dict[str, Json]:
    assert work.schema is not None
    return array_schema(work.schema, path)


def _items(data: Json, path: tuple[str, ...]) -> list[Json]:
    found = data.get(path[0]) if path and isinstance(data, dict) else data
    return found if isinstance(found, list) else []


def _valid_items(work: Work, path: tuple[str, ...], data: Json) -> Json:
    """Of what a failed batch left behind, the items that keep to the schema."""
    items = _array(work, path).get("items", {})
    assert work.schema is not None
    definitions = {key: work.schema[key] for key in ("$defs", "definitions") if key in work.schema}
    schema = {**definitions, **items} if isinstance(items, dict) else {}
    validator = compile_schema(schema)
    kept = [item for item in (conform(item, schema) for item in _items(data, path)) if validator.is_valid(item)]
    return {path[0]: kept} if path else kept


def _take(tally: _Tally, path: tuple[str, ...], batch: Batch, data: Json) -> None:
    for place, item in zip(range(batch.first, batch.first + batch.count), _items(data, path), strict=False):
        tally.slots[place] = item
        tally.done += 1
    if path and isinstance(data, dict) and len(data) > len(tally.frame or {}):
        tally.frame = {key: value if key != path[0] else [] for key, value in data.items()}


def _finished(work: Work, path: tuple[str, ...], tally: _Tally) -> Draft:
    assert work.schema is not None
    items = [item for item in tally.slots if item is not _MISSING]
    data: Json = {**(tally.frame or {}), path[0]: items} if path else items
    missing = len(tally.slots) - len(items)
    if missing and not items and tally.failure is not None and not isinstance(tally.failure, StructuredFailed):
        raise tally.failure
    if missing:
        words = f"{tally.failure.code}: {tally.failure.message}" if tally.failure is not None else "; ".join(tally.issues[:2])
        why = f" ({words})" if words else ""
        raise Incomplete(
            f"{missing} of {len(tally.slots)} items are missing{why}", param="count", partial=data if items else None
        ) from tally.failure
    errors = compile_schema(work.schema).errors(data)
    return Draft(text=to_text(data), data=data, issues=joined_issues(tally.issues, errors), complete=not errors)
