"""The desk of patterns: labels at arrival, labels beside, what is written, names."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.records import Place, RequestId
from runtime.config.patterns import PatternSettings
from runtime.open_request import OpenRequest
from runtime.patterns.desk import AT_ONCE, MAX_WAITING, PatternDesk, vector_of
from runtime.patterns.naming import by_words, name_of, question
from runtime.topology.clustering import unit
from tests.fakes.patterns import MemoryPatterns
from tests.fakes.request_path import request

KINDS = ("transfer money to my other account", "what is the weather in town", "play some quiet music please")


class Kinds:
    """An embedder whose texts are near the kind whose first word they have."""

    model, ready = "kinds", True

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)
        self.middles = unit(self.rng.standard_normal((len(KINDS), 64)))

    async def load(self) -> None: ...

    async def embed(self, texts: Any) -> Any:
        return np.stack([self.one(text) for text in texts])

    def one(self, text: str) -> Any:
        at = next((at for at, kind in enumerate(KINDS) if text.startswith(kind.split()[0])), None)
        noise = self.rng.standard_normal(64) / 8
        return unit(noise if at is None else self.middles[at] + 0.4 * noise)

    async def count_tokens(self, texts: Any) -> int:
        return len(texts)

    async def aclose(self) -> None: ...


class Setting:
    def __init__(self, book: MemoryPatterns | None = None, **more: Any) -> None:
        self.embedder, self.book, self.number = Kinds(), book or MemoryPatterns(), 0
        self.desk = PatternDesk(
            PatternSettings(window=200, min_requests=5),
            embedder=self.embedder,
            book=self.book,
            rng=np.random.default_rng(2),
            **more,
        )

    async def opened(self) -> Setting:
        await self.desk.open(self.embedder.model, 67)
        return self

    @property
    def seen(self) -> int:
        assert self.desk.found is not None
        return self.desk.found.seen

    @property
    def next_id(self) -> int:
        assert self.desk.found is not None
        return self.desk.found.next_id

    def ask(self, text: str, *, embedded: bool = True, **fields: Any) -> OpenRequest:
        self.number += 1
        asked = request(request_id=RequestId(f"r{self.number}"), messages=({"role": "user", "content": text},), **fields)
        run = OpenRequest(request=asked, started=0.0, deadline_s=9.0, number=self.number, work_id=f"r{self.number}/1")
        run.embedding = self.embedder.one(text) if embedded else None
        self.desk.arrived(run)
        return run

    async def many(self, times: int) -> None:
        for at in range(times):
            self.ask(f"{KINDS[at % 3]} {at}")
            await self.desk.look()


async def test_a_request_is_labelled_at_arrival_in_its_trace_and_named() -> None:
    setting = await Setting().opened()
    await setting.many(90)
    run = setting.ask("transfer all of it")
    assert run.pattern is not None
    (event,) = run.events
    assert (event.kind, event.data["pattern"]) == ("pattern", run.pattern)
    assert "money" in event.data["name"]
    assert setting.desk.of(["r91", "unknown"]) == {"r91": run.pattern}
    assert {each.state for each in setting.desk.all()} == {"found"}
    seen = setting.desk.seen()[run.pattern]
    assert seen.count >= 20
    assert seen.trend == pytest.approx(1.0, abs=0.5)


async def test_requests_of_the_daemon_itself_parts_and_empty_ones_are_not_counted() -> None:
    setting = await Setting().opened()
    await setting.many(60)
    counted = setting.seen
    assert setting.ask("transfer it", source="registry").pattern is None
    assert setting.ask("   ").pattern is None
    part = setting.ask("transfer it", place=Place(first=11, total=20))
    assert part.pattern is not None
    assert setting.seen == counted


async def test_what_was_not_embedded_is_labelled_beside_and_no_more_waits_than_the_queue_takes() -> None:
    setting = await Setting().opened()
    await setting.many(60)
    runs = [setting.ask("play it", embedded=False) for _ in range(MAX_WAITING + 5)]
    assert {run.pattern for run in runs} == {None}
    assert setting.desk.dropped == 5
    await setting.desk.label_waiting(setting.embedder)
    assert runs[0].pattern is not None
    assert runs[0].pattern == setting.ask("play that").pattern


async def test_who_asks_is_told_when_those_that_waited_are_labelled() -> None:
    setting = await Setting().opened()
    await setting.many(60)
    runs = [setting.ask("play it", embedded=False) for _ in range(AT_ONCE + 1)]
    asking = asyncio.create_task(setting.desk.caught_up())
    await setting.desk.label_waiting(setting.embedder)
    await asyncio.sleep(0)
    assert not asking.done()
    later = setting.ask("play it", embedded=False)
    await setting.desk.label_waiting(setting.embedder)
    await asyncio.wait_for(asking, 5)
    assert all(run.pattern for run in (*runs, later))


async def test_a_restart_knows_the_patterns_their_names_and_whose_requests_are_whose() -> None:
    setting = await Setting().opened()
    await setting.many(90)
    before = {each.pattern_id: each.name for each in setting.desk.all()}
    label = setting.ask("what is it").pattern
    await setting.desk.save()
    again = await Setting(setting.book).opened()
    assert {each.pattern_id: each.name for each in again.desk.all()} == before
    again.embedder.middles = setting.embedder.middles
    assert again.ask("what is it").pattern == label
    assert again.desk.of(["r91"]) == {"r91": label}


async def test_an_id_that_was_given_is_never_given_again_even_where_nothing_else_was_written() -> None:
    setting = await Setting().opened()
    await setting.many(60)
    given = {each.pattern_id for each in setting.desk.all()}
    book = MemoryPatterns()
    await setting.desk.save()
    book.kept, book.reserved = setting.book.kept, setting.book.reserved
    assert book.kept is not None
    book.kept = replace(book.kept, known={}, next_id=1)
    again = await Setting(book).opened()
    await again.many(60)
    assert given.isdisjoint({each.pattern_id for each in again.desk.all()})


async def test_another_embedding_model_begins_anew_and_its_ids_go_on() -> None:
    setting = await Setting().opened()
    await setting.many(60)
    await setting.desk.save()
    other = Setting(setting.book)
    await other.desk.open("another", 67)
    assert other.desk.all() == ()
    assert setting.book.cleared == 1
    assert other.next_id > 3


async def test_words_are_not_kept_where_bodies_are_not() -> None:
    setting = await Setting(keeps_bodies=False).opened()
    await setting.many(60)
    await setting.desk.save()
    assert setting.book.slots == {}
    assert setting.book.kept is not None
    assert not any(known.name for known in setting.book.kept.known.values())


async def test_without_embeddings_there_are_none_and_it_says_so() -> None:
    desk = PatternDesk(PatternSettings(), embedder=None, book=MemoryPatterns())
    await asyncio.wait_for(desk.run(), 1)
    assert (desk.status(), desk.all(), desk.gauges()) == ("off", (), ({}, {}))


def test_the_form_that_is_asked_for_is_a_part_of_what_a_request_is() -> None:
    words = unit(np.ones(8))
    plain, formed = vector_of(words, request()), vector_of(words, request(schema={"type": "object"}))
    assert len(plain) == 11
    assert 0.9 < float(plain @ formed) < 0.99


def test_a_name_is_of_words_that_set_the_pattern_apart() -> None:
    own = ["please freeze my card", "can you freeze the card now", "freeze card ending 12"]
    others = ["order a new card", "card is lost", "what is my card limit"]
    assert by_words(own, others, (), "p1") == "freeze card"
    assert by_words(own, others, ("freeze card",), "p1") == "freeze card p1"
    assert by_words(["12", "?"], others, (), "p1") == "p1"


@pytest.mark.parametrize(
    "data",
    [
        None,
        "card freezing",
        {"name": 3},
        {"name": "ab"},
        {"name": "x" * 61},
        {"name": "a\nb<c>"},
        {"name": "Taken"},
        {"nam": "abc"},
    ],
)
def test_a_models_name_that_is_not_usable_is_none(data: Any) -> None:
    assert name_of(data, ["taken"]) is None


def test_a_models_name_is_taken_and_examples_are_data_in_the_question() -> None:
    assert name_of({"name": "Card  freezing "}, ["other"]) == "Card freezing"
    asked = question(['ignore this" and that'], ["x"])
    assert '"ignore this\\" and that"' in asked
