"""The library of solutions: what is found, what is not given, what is learned. Embeddings and code are fakes; no table is
opened.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.alignment import Parameter, Value
from registry.embedding import unit_length
from registry.solution_index import Index
from registry.solution_records import Hit, Json, Miss, NotStored, Ran, Request, Solution, Solved, Stored
from registry.solutions import Library, LibrarySettings
from registry.trust import TrustSettings
from tests.fakes.embedding import Letters

USERS = "Generate 1000 users with normal age distribution"
COUNT = Parameter(name="count", value=1000, minimum=1, maximum=10_000)


class Maker:
    """A Runner: «make» gives that many rows, «broken» fails."""

    runs: list[Mapping[str, Value]]

    def __init__(self) -> None:
        self.runs = []

    async def run(self, solution: Solution, values: Mapping[str, Value]) -> Ran:
        self.runs.append(values)
        if solution.artifact == "away":
            return Ran(error="no sandbox")
        ran = Ran(version=str(solution.artifact), wall_s=0.5)
        if solution.artifact == "broken":
            return replace(ran, error="it raised")
        return replace(ran, answer=["row"] * int(values["count"]))


async def as_many_rows(solution: Solution, request: Request, values: Mapping[str, Value], answer: Json) -> str:
    wanted = solution.checks
    if wanted == "rows":
        return "" if len(answer) == values.get("count", 1000) else f"{len(answer)} rows"
    return "" if wanted is None or wanted in str(answer) else f"no {wanted}"


def library(executed: Callable[[Ran, bool], None] = lambda ran, held: None, **options: object) -> Library:
    settings = LibrarySettings(**options) if options else LibrarySettings(trust=TrustSettings(audit_share=0.001))
    return Library(
        Letters(),
        settings=settings,
        runner=Maker(),
        check=as_many_rows,
        executed=executed,
        clock=lambda: 1000.0,
        rng=random.Random(2),
    )


def asked(text: str, tenant: str = "a", **others: str) -> Request:
    return Request(text=text, tenant=tenant, **others)


async def solve(lib: Library, request: Request, answer: Json, **others: object) -> Stored | NotStored:
    found = await lib.look_up(request)
    assert isinstance(found, Miss)
    return await lib.record(
        Solved(**{"request": request, "miss": found, "answer": answer, "complete": True, "verified": True, **others})
    )


async def test_the_same_request_is_answered_without_an_embedding() -> None:
    lib = library()
    await solve(lib, asked("What is a monad?"), "a burrito")
    before = lib._embedder.calls
    found = await lib.look_up(asked("  What is\n a monad? "))
    assert isinstance(found, Hit)
    assert (found.answer, found.how, found.steps) == ("a burrito", "exact", 3)
    assert lib._embedder.calls == before


async def test_the_same_words_with_other_values_run_code_without_an_embedding() -> None:
    lib = library()
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="make", parameters=(COUNT,), checks="rows")
    embedder = lib._embedder
    assert isinstance(embedder, Letters)
    before = embedder.calls
    found = await lib.look_up(asked("Generate 300 users with normal age distribution"))
    assert isinstance(found, Hit)
    assert (found.how, len(found.answer), found.tier) == ("rerun", 300, "parameter_tuning")
    assert embedder.calls == before
    lib.purge(tenant="a")
    assert isinstance(await lib.look_up(asked("Generate 300 users with normal age distribution")), Miss)


async def test_a_false_alarm_of_a_check_says_nothing_against_code() -> None:
    lib = library()
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="make", parameters=(COUNT,), checks="rows")
    calls = 0

    async def alarmed_at_first(solution: Solution, request: Request, values: Mapping[str, Value], answer: Json) -> str:
        nonlocal calls
        calls += 1
        return "by chance" if calls % 2 else ""

    lib._check = alarmed_at_first
    other = asked("Generate 300 users with normal age distribution")
    assert isinstance(await lib.look_up(other), Hit)
    lib.settings = LibrarySettings(trust=TrustSettings(audit_share=1.0))
    lib._trust["code"].settings = TrustSettings(audit_share=1.0)
    await solve(lib, asked("Generate 400 users with normal age distribution"), ["row"] * 400, artifact="other", checks="rows")
    (first,) = [each for each in lib.solutions() if each.artifact == "make"]
    assert (first.trust.held, first.trust.failed, first.trust.suspended) == (1.0, 0.0, 0)


@pytest.mark.parametrize("other", [{"tenant": "b"}, {"backend_policy": "cheap"}, {"system_prompt": "Be rude."}, {"shape": "{}"}])
async def test_nothing_crosses_partitions(other: dict[str, str]) -> None:
    lib = library()
    await solve(lib, asked("What is a monad?"), "a burrito")
    found = await lib.look_up(asked("What is a monad?", **other))
    assert isinstance(found, Miss)
    assert found.candidates == ()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"complete": False}, "incomplete"),
        ({"tainted": True}, "tainted"),
        ({"verified": False}, "not verified"),
        ({"answer": {1}}, "JSON"),
    ],
)
async def test_what_is_unfit_is_never_stored(fault: dict[str, object], reason: str) -> None:
    lib = library()
    kept = await solve(lib, asked("What is a monad?"), fault.pop("answer", "half an ans"), **fault)
    assert isinstance(kept, NotStored)
    assert reason in kept.reason
    assert lib.stats()["solutions"] == 0


async def test_code_is_run_again_with_new_parameters_and_checked() -> None:
    lib = library()
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="make", parameters=(COUNT,), checks="rows")
    found = await lib.look_up(asked(USERS.replace("1000", "500")))
    assert isinstance(found, Hit)
    assert (found.how, len(found.answer), dict(found.values)) == ("rerun", 500, {"count": 500})


@pytest.mark.parametrize(
    "text",
    [
        "Generate 1000 users with bimodal age distribution",
        "Generate 1000 users without normal age distribution",
        "Generate 99999 users with normal age distribution",
    ],
)
async def test_what_no_parameter_takes_up_is_solved(text: str) -> None:
    lib = library()
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="make", parameters=(COUNT,), checks="rows")
    found = await lib.look_up(asked(text))
    assert isinstance(found, Miss)
    assert "not parametric" in found.reason


async def test_code_that_fails_puts_its_solution_out() -> None:
    lib = library()
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="broken", parameters=(COUNT,), checks="rows")
    first, second = await lib.look_up(asked(USERS.replace("1000", "5"))), await lib.look_up(asked(USERS.replace("1000", "6")))
    assert isinstance(first, Miss)
    assert "code failed" in first.reason
    assert isinstance(second, Miss)
    assert "not trusted: found wrong" in second.reason


async def test_code_whose_answer_was_refused_speaks_against_itself_alone() -> None:
    lib = library()
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="make", parameters=(COUNT,), checks="rows")
    for count in range(2, 302):
        await lib.look_up(asked(USERS.replace("1000", str(count))))
    before = lib.stats()["thresholds"]["code"]

    async def alarmed(solution: Solution, request: Request, values: Mapping[str, Value], answer: Json) -> str:
        return "by chance"

    lib._check = alarmed
    missed = await lib.look_up(asked(USERS.replace("1000", "700")))
    assert isinstance(missed, Miss)
    assert "by chance" in missed.reason
    (first,) = lib.solutions()
    assert first.trust.suspended > 0, "this one has to show that it holds"
    await solve(lib, asked(USERS.replace("1000", "701")), ["row"] * 701, artifact="other", checks="rows")
    (first,) = [each for each in lib.solutions() if each.artifact == "make"]
    assert first.trust.failed == 2.0, "it was refused again, beside one that was solved"
    lib._trust["code"]._bound.refresh()
    assert lib.stats()["thresholds"]["code"] == before, "the others need not"


async def test_a_poisoned_entry_is_refused_by_its_checks_and_replaced() -> None:
    lib = library()
    request = asked("What is the capital of Norway?")
    stored = await solve(lib, request, "Oslo, of course", checks="Oslo")
    assert isinstance(stored, Stored)
    poisoned = lib.show(stored.solution)
    assert poisoned is not None
    lib._shelf.keep(replace(poisoned, answer="Bergen"))
    found = await lib.look_up(request)
    assert isinstance(found, Miss)
    assert "check failed: no Oslo" in found.reason
    assert lib.stats()["suspended"] == 1
    await solve(lib, request, "Oslo", checks="Oslo")
    again = await lib.look_up(request)
    assert isinstance(again, Hit)
    assert again.answer == "Oslo"


async def test_answers_age_by_kind_and_bad_feedback_counts_at_once() -> None:
    now = [0.0]
    lib = Library(Letters(), settings=LibrarySettings(fresh_s={"news": 60.0}), clock=lambda: now[0], rng=random.Random(1))
    await solve(lib, asked("What happened today?", kind="news"), "nothing")
    stored = await solve(lib, asked("What is a monad?"), "a burrito")
    now[0] = 61.0
    assert isinstance(await lib.look_up(asked("What happened today?", kind="news")), Miss)
    assert isinstance(await lib.look_up(asked("What is a monad?")), Hit)
    assert isinstance(stored, Stored)
    assert lib.feedback(stored.solution, good=False)
    assert isinstance(await lib.look_up(asked("What is a monad?")), Miss)
    assert not lib.feedback("gone", good=False)


async def test_another_phrasing_of_a_solution_becomes_one_of_it() -> None:
    lib = library()
    await solve(lib, asked("how do I sort a list"), "sorted(x)")
    kept = await solve(lib, asked("how can I sort a list"), "sorted(x)")
    assert isinstance(kept, Stored)
    assert not kept.new
    found = await lib.look_up(asked("how can I sort a list"))
    assert isinstance(found, Hit)
    assert found.how == "exact"
    other = await solve(lib, asked("how can I not sort a list"), "leave it")
    assert isinstance(other, Stored)
    assert other.new
    assert lib.stats()["solutions"] == 2


async def test_a_dry_run_changes_nothing() -> None:
    lib = library()
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="broken", parameters=(COUNT,), checks="rows")
    before = lib.stats()
    assert isinstance(await lib.dry_run(asked(USERS.replace("1000", "5"))), Miss)
    assert lib.stats() == before


async def test_purging_and_the_bound_on_how_many() -> None:
    lib = library(max_solutions=3)
    for at, name in enumerate(["cat", "horse", "zebra", "ox", "lynx"]):
        await solve(lib, asked(f"what is a {name}", tenant="ab"[at % 2]), name)
    assert lib.stats()["solutions"] == 3
    assert lib.purge(tenant="a") == 2
    assert lib.purge() == 0
    assert lib.purge(older_than=2000.0) == 1
    assert lib.stats()["phrasings"] == 0


async def test_the_same_words_are_answered_once_some_of_them_held() -> None:
    lib = library(trust=TrustSettings(error_bound=0.02, audit_share=0.001))
    for letter in "bcdefghijklmnopqrstu":
        await solve(lib, asked(f"what is a {20 * letter}"), {"text": letter})
        assert lib.stats()["same_words"] is False
        await solve(lib, asked(f"What's {20 * letter}?"), {"text": f"The {letter}."})
    await solve(lib, asked("what is a zzzzzzzz"), {"text": "z"})
    found = await lib.look_up(asked("What's zzzzzzzz?"))
    assert isinstance(found, Hit)
    assert (found.how, found.answer, found.reason) == ("reused", {"text": "z"}, "the same words")
    assert lib.stats()["same_words"] is True


def test_of_many_phrasings_the_near_ones_are_found_though_rows_are_read_in_short() -> None:
    rng = np.random.default_rng(2)
    base = unit_length(rng.normal(size=(6000, 160)))
    noise = unit_length(rng.normal(size=(6000, 160)))
    index = Index()
    for at, vector in enumerate(base):
        index.add(f"k{at}", "p", f"s{at}", f"t{at}", vector)
    for at in range(0, 1500, 3):  # the last rows come into their places
        index.remove(f"k{at}")
    for at in range(1, 300, 3):
        asked_for = unit_length(base[at : at + 1] + 0.8 * noise[at : at + 1])[0]
        near = asyncio.run(index.nearest("p", asked_for, 2))
        assert near[0].solution == f"s{at}"
        assert near[0].similarity == pytest.approx(float(base[at] @ asked_for), abs=1e-5)
    assert asyncio.run(index.nearest("p", base[3], 1))[0].solution != "s3"


async def test_runs_of_code_are_told_with_what_came_of_them_but_not_those_of_a_dry_run() -> None:
    told: list[tuple[str, bool]] = []
    lib = library(executed=lambda ran, held: told.append((ran.version, held)))
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="make", parameters=(COUNT,), checks="rows")
    other = asked("Generate 300 users with normal age distribution")
    assert isinstance(await lib.dry_run(other), Hit)
    assert told == []
    assert isinstance(await lib.look_up(other), Hit)
    assert told == [("make", True)]
    await solve(lib, asked("Make 1000 zebras"), ["row"] * 1000, artifact="broken", parameters=(COUNT,), checks="rows")
    assert isinstance(await lib.look_up(asked("Make 20 zebras")), Miss)
    assert told[1:] == [("broken", False)] * 2


async def test_code_that_cannot_be_run_now_is_not_to_blame() -> None:
    lib = library()
    await solve(lib, asked(USERS), ["row"] * 1000, artifact="away", parameters=(COUNT,), checks="rows")
    found = await lib.look_up(asked("Generate 300 users with normal age distribution"))
    assert isinstance(found, Miss)
    assert "no sandbox" in found.reason
    assert lib.stats()["suspended"] == 0


@given(steps=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.booleans()), max_size=60))
def test_the_index_finds_what_a_plain_search_would(steps: list[tuple[int, int, bool]]) -> None:
    rng = np.random.default_rng(1)
    vectors = unit_length(rng.normal(size=(13, 8)))
    index, plain = Index(), dict[str, tuple[str, str]]()
    for key, group, add in steps:
        if add:
            index.add(f"{key}", f"p{group % 2}", f"s{group}", f"t{key}", vectors[key])
            plain[f"{key}"] = (f"p{group % 2}", f"s{group}")
        else:
            index.remove(f"{key}")
            plain.pop(f"{key}", None)
    assert len(index) == len(plain)
    for partition in ("p0", "p1"):
        best: dict[str, float] = {}
        for key, (place, solution) in plain.items():
            if place == partition:
                best[solution] = max(best.get(solution, -2.0), float(vectors[int(key)] @ vectors[0]))
        found = {near.solution: near.similarity for near in asyncio.run(index.nearest(partition, vectors[0], 10))}
        assert found == pytest.approx({solution: min(1.0, value) for solution, value in best.items()}, abs=1e-5)
