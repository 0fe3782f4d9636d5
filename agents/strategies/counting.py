"""N items asked means N items returned: batches, bounded concurrency, order, and a clear error for what is missing.

Called by strategies/compose.py around any strategy whose answer holds one array; a strategy itself never sees more items than one
reply can hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace

import orjson

from agents.llm.prompts import render
from agents.records import (
    AgentError,
    BackendError,
    DeadlineExceeded,
    Draft,
    Incomplete,
    Json,
    Refused,
    StructuredFailed,
    Work,
)
from agents.schema_check import Validator, compile_schema
from agents.shaping import array_path, with_count
from agents.toolbox import Toolbox

ROUNDS = 3
"""How often what is missing is asked for again, the first time included."""

RunBatch = Callable[[Work], Awaitable[Draft]]


def wanted_items(work: Work) -> int | None:
    """How many items are asked for: ``count``, else what the schema's one array must have at least. None: no number."""
    if work.schema is None:
        return None
    if work.count is not None:
        return work.count
    path = array_path(work.schema)
    least = _at(work.schema, path).get("minItems") if path is not None else None
    return least if isinstance(least, int) and least > 0 else None


async def fill(work: Work, wanted: int, toolbox: Toolbox, run: RunBatch) -> Draft:
    """``wanted`` items by as many runs as it takes. ``run`` gets the work of one batch.

    Raises Incomplete (``partial``: what there is) when some are missing in the end, or the last error when there is nothing.
    """
    assert work.schema is not None
    counted = with_count(work.schema, wanted)
    path = array_path(counted)
    assert path is not None, "with_count makes an array where there was none"
    sheet = _Sheet(work, counted, path, wanted)
    for number in range(ROUNDS):
        missing = list(sheet.gaps(toolbox.max_items_per_call))
        if not missing or toolbox.remaining_s() <= 0:
            break
        if number:
            toolbox.note("note", text=f"asking again for {sum(size for _, size in missing)} missing items", round=number + 1)
        await _round(sheet, missing, toolbox, run)
    return sheet.result()


async def _round(sheet: _Sheet, batches: list[tuple[int, int]], toolbox: Toolbox, run: RunBatch) -> None:
    """All batches, ``max_parallel`` at once, by workers that take the next one: memory does not grow with the count."""
    waiting = iter(batches)

    async def work() -> None:
        for offset, size in waiting:
            await sheet.ask(offset, size, run)
            toolbox.note("progress", done=sheet.done, total=sheet.wanted)

    tasks = [asyncio.ensure_future(work()) for _ in range(min(toolbox.max_parallel, len(batches)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Sheet:
    """The places of all items, filled in any order."""

    def __init__(self, work: Work, counted: Mapping[str, Json], path: tuple[str, ...], wanted: int) -> None:
        self.wanted = wanted
        self.done = 0
        self._work = work
        self._path = path
        self._items: list[Json] = [_EMPTY] * wanted
        self._around: Json = None
        self._issues: list[str] = []
        self._error: AgentError | None = None
        item = _at(counted, path).get("items", {})
        shared = {key: counted[key] for key in ("$defs", "definitions") if key in counted}
        self._valid: Validator = compile_schema({**item, **shared} if isinstance(item, dict) else {})

    def gaps(self, size: int) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is missing, in pieces of at most ``size``."""
        start = 0
        while start < self.wanted:
            if self._items[start] is not _EMPTY:
                start += 1
                continue
            end = start
            while end < self.wanted and end - start < size and self._items[end] is _EMPTY:
                end += 1
            yield start, end - start
            start = end

    async def ask(self, offset: int, size: int, run: RunBatch) -> None:
        messages = self._work.messages
        if size != self.wanted:
            words = render("batch", first=str(offset + 1), last=str(offset + size), total=str(self.wanted))
            messages = (*messages, {"role": "user", "content": words})
        try:
            draft = await run(replace(self._work, messages=messages, count=size))
            self._issues.extend(draft.issues)
            data = draft.data
        except StructuredFailed as error:
            self._error, data = error, error.partial
        except (BackendError, Refused, DeadlineExceeded) as error:
            self._error = error
            return
        self._put(offset, size, data)

    def _put(self, offset: int, size: int, data: Json) -> None:
        items = data
        for key in self._path:
            items = items.get(key) if isinstance(items, dict) else None
        if not isinstance(items, list):
            return
        good = [item for item in items if self._valid.is_valid(item)][:size]
        self._items[offset : offset + len(good)] = good
        self.done += len(good)
        if self._around is None and self._path:
            self._around = data

    def result(self) -> Draft:
        if self.done == 0 and self._error is not None:
            raise self._error
        items = [item for item in self._items if item is not _EMPTY]
        data: Json = _replaced(self._around, self._path, items) if self._path else items
        if missing := self.wanted - len(items):
            reason = f": {self._error}" if self._error else ""
            raise Incomplete(f"{missing} of {self.wanted} items are missing{reason}", param="count", partial=data)
        return Draft(text=orjson.dumps(data).decode(), data=data, issues=tuple(dict.fromkeys(self._issues)))


_EMPTY = object()


def _at(schema: Mapping[str, Json], path: tuple[str, ...]) -> Mapping[str, Json]:
    """The sub-schema at ``path`` (names of properties)."""
    for key in path:
        schema = schema.get("properties", {}).get(key, {})
    return schema


def _replaced(value: Json, path: tuple[str, ...], items: list[Json]) -> Json:
    if not path:
        return items
    around = dict(value) if isinstance(value, dict) else {}
    around[path[0]] = _replaced(around.get(path[0]), path[1:], items)
    return around
