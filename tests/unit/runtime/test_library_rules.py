"""Which requests the library may answer, what keeps two of them apart, and which answers it may keep: tables of rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request as HttpRequest

from agents.programs import CodeUsed
from agents.records import Draft, Json, Place, RequestId
from agents.strategy_specs import Single
from agents.verdicts import Check, Constraint, Verdict
from registry.solution_records import Request as Asked
from runtime.api.library_use import library_use
from runtime.library.looked import Looked
from runtime.library.rules import NotOurs, Ours, flaw, read, verified
from runtime.records import Answer, Request, Target

AGES = Constraint(kind="range", field="users[].age", value=[18, 99])
BELL = Constraint(kind="distribution", field="users[].age", value={"family": "normal", "mean": 40.0, "std": 9.0})
SCHEMA = {"type": "object", "properties": {"users": {"type": "array", "items": {"type": "object"}}}}


def request(words: str = "What is the boiling point of water?", **fields: Any) -> Request:
    messages = fields.pop("messages", ({"role": "user", "content": words},))
    return Request(**{"request_id": RequestId("r1"), "source": "native", "messages": messages, **fields})


def asked(words: str = "What is the boiling point of water?", **fields: Any) -> Asked:
    found = read(request(words, **fields), simulated_pool=False)
    assert isinstance(found, Ours), found
    return found.asked


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"library": "off"}, "does not want"),
        ({"source": "mock"}, "cache of its own"),
        ({"place": Place(first=0, total=10)}, "part of a longer"),
        ({"target": Target(kind="backend", name="fast")}, "named a backend"),
        ({"target": Target(kind="node", name="first")}, "named a node"),
        ({"backend": "fast"}, "named a backend"),
        ({"params": {"n": 2}}, "several choices"),
        ({"params": {"tools": [{"type": "function"}]}}, "it has tools"),
        ({"params": {"logprobs": True}}, "it has logprobs"),
        ({"messages": ({"role": "user", "content": "x"}, {"role": "tool", "content": "9", "tool_call_id": "c"})}, "a tool"),
        ({"messages": ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]},)}, "not text alone"),
        ({"messages": ({"role": "user", "content": "Go on"}, {"role": "assistant", "content": "Well"})}, "does not end"),
        ({"messages": ({"role": "user", "content": "  "},)}, "no words"),
        ({"messages": ({"role": "user", "content": "x" * 40_000},)}, "too long"),
    ],
)
def test_what_is_not_the_librarys(fields: dict[str, Any], why: str) -> None:
    found = read(request(**fields), simulated_pool=False)
    assert isinstance(found, NotOurs)
    assert why in found.reason


@pytest.mark.parametrize("fields", [{"target": Target(kind="backend", name="fast")}, {"backend": "fast"}])
def test_a_client_may_take_a_stored_answer_for_a_named_backend(fields: dict[str, Any]) -> None:
    assert isinstance(read(request(library="on", **fields), simulated_pool=False), Ours)


def test_solved_anew_is_kept_and_not_looked_up() -> None:
    found = read(request(library="refresh"), simulated_pool=False)
    assert isinstance(found, Ours)
    assert not found.look


@pytest.mark.parametrize(
    "other",
    [
        {"key_id": "k2"},
        {"target": Target(kind="strategy", name="consensus")},
        {"strategy": Single(tier="premium")},
        {"rules": ("be brief",)},
        {"schema": SCHEMA},
        {"constraints": (AGES,)},
        {"params": {"max_tokens": 5}},
        {"params": {"something_new": 1}},
        {
            "messages": (
                {"role": "system", "content": "Be rude."},
                {"role": "user", "content": "What is the boiling point of water?"},
            )
        },
        {
            "messages": (
                {"role": "user", "content": "On a mountain:"},
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "What is the boiling point of water?"},
            )
        },
    ],
)
def test_what_keeps_two_requests_apart(other: dict[str, Any]) -> None:
    plain, differing = asked(), asked(**other)
    assert plain.partition != differing.partition
    assert plain.exact != differing.exact


def test_what_simulated_backends_said_is_not_given_once_there_are_others() -> None:
    real, pretended = read(request(), simulated_pool=False), read(request(), simulated_pool=True)
    assert isinstance(real, Ours)
    assert isinstance(pretended, Ours)
    assert real.asked.partition != pretended.asked.partition


@pytest.mark.parametrize("params", [{"user": "u7"}, {"metadata": {"a": "b"}}, {"n": 1}, {"temperature": 0}])
def test_what_is_nothing_to_the_answer(params: dict[str, Json]) -> None:
    assert asked(params=params).exact == asked().exact


@pytest.mark.parametrize(
    ("words", "fields", "repeat"),
    [
        ("What is the boiling point of water?", {}, "near"),
        ("Is 91 a prime number?", {"params": {"temperature": 0.0}}, "near"),
        ("Is 91 a prime number?", {"params": {"temperature": 0.7}}, "no"),
        ("Is 91 a prime number?", {"params": {"temperature": 0.7}, "library": "on"}, "near"),
        ("Is 91 a prime number?", {"params": {"temperature": 0.7, "seed": 4}}, "exact"),
        ("Users with ages", {"schema": SCHEMA, "count": 5}, "no"),
        ("Users with ages", {"schema": SCHEMA, "count": 5, "params": {"seed": 4}}, "exact"),
        ("Generate a profile of a user", {"schema": {"type": "object"}}, "no"),
        ("Give me some names for a cat", {}, "no"),
        ("Ages that are normally distributed", {"schema": SCHEMA}, "no"),
        ("Ages", {"schema": SCHEMA, "constraints": (BELL,)}, "no"),
        ("What is the weather in Oslo?", {}, "no"),
        ("What is the latest version?", {"params": {"seed": 1}}, "no"),
    ],
)
def test_when_an_answer_is_given_again_as_it_stands(words: str, fields: dict[str, Any], repeat: str) -> None:
    assert asked(words, **fields).repeat == repeat


def test_a_seed_tells_requests_apart_and_reaches_the_code() -> None:
    one, other = asked(params={"seed": 4}), asked(params={"seed": 2**40 + 5})
    assert one.exact != other.exact
    assert one.partition == other.partition
    assert one.inputs == {"seed": 4}
    assert 0 <= int(other.inputs["seed"]) < 2**31


def test_a_count_is_a_part_of_the_words() -> None:
    assert asked("Users", schema=SCHEMA, count=5).text == "Users\n(5 items)"


# ── what may be kept ────────────────────────────────────────────────────────────────────────────────────────────────────


def answer(verdict: Verdict | None = None, looked: Looked | None = None, **draft: Any) -> Answer:
    given = Draft(**{"text": "It boils at 100 °C.", **draft})
    named = {"node": None, "strategy": "single", "attempts": 1, "latency_s": 0.1}
    return Answer(request_id=RequestId("r1"), draft=given, calls=(), verdict=verdict, library=looked, **named)


@pytest.mark.parametrize(
    "draft",
    [
        {"complete": False},
        {"issues": ("too short",)},
        {"finish_reason": "length"},
        {"finish_reason": "content_filter"},
        {"text": "  "},
        {"message": {"tool_calls": [{"id": "c"}]}},
        {"choices": ({"index": 0}, {"index": 1})},
    ],
)
def test_answers_that_are_never_kept(draft: dict[str, Any]) -> None:
    assert flaw(answer(**draft))
    assert not flaw(answer())


def test_an_answer_of_the_library_is_not_kept_again() -> None:
    assert flaw(answer(looked=Looked(result="exact", reason="", solution="s1")))
    assert not flaw(answer(looked=Looked(result="miss", reason="", solution="s1")))


PASSED = Verdict(score=1.0, source="checks", checks=(Check(name="schema", score=1.0),))
CODE = CodeUsed(code="def run(inputs): ...", constraints=(BELL,))


@pytest.mark.parametrize(
    ("fields", "verdict", "draft", "says"),
    [
        ({}, None, {}, False),
        ({}, Verdict(score=1.0, source="none"), {}, False),
        ({}, Verdict(score=0.9, source="judge"), {}, True),
        ({}, Verdict(score=0.6, source="judge"), {}, False),
        ({"schema": SCHEMA}, PASSED, {}, False),
        ({"schema": SCHEMA, "constraints": (AGES,)}, PASSED, {}, True),
        ({"schema": SCHEMA, "constraints": (AGES,)}, replace(PASSED, score=0.99), {}, False),
        ({"schema": SCHEMA}, PASSED, {"code": CODE}, True),
        ({"schema": SCHEMA}, PASSED, {"code": replace(CODE, constraints=())}, False),
        ({}, None, {"code": CODE}, False),
    ],
)
def test_who_verifies_an_answer(fields: dict[str, Any], verdict: Verdict | None, draft: dict[str, Any], says: bool) -> None:
    assert verified(request(**fields), answer(verdict, **draft)) is says


@pytest.mark.parametrize(
    ("header", "cache", "use"),
    [
        ("", None, "default"),
        ("", True, "on"),
        ("", False, "off"),
        ("no-store", True, "off"),
        ("no-cache", True, "refresh"),
        ("max-age=0", None, "refresh"),
        ("max-age=60", None, "default"),
        ("No-Cache, No-Store", None, "off"),
    ],
)
def test_what_a_client_says(header: str, cache: bool | None, use: str) -> None:
    http = HttpRequest({"type": "http", "headers": [(b"cache-control", header.encode())]})
    assert library_use(http, cache) == use
