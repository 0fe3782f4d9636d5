"""The pretenders' part in a dialogue about an answer: what they say depends on what is in the prompt."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from agents.llm.prompts import render
from agents.llm.simulated.answers import answer
from agents.llm.simulated.profiles import PROFILES
from agents.llm.simulated.reading import Reading
from agents.records import Json
from agents.strategies.judging import CRITIQUE_SCHEMA, DETECTION_SCHEMA, SCORE_SCHEMA, schema_of

TEXTS = {"type": "array", "items": {"type": "string"}, "maxItems": 3}
PAIRS = {
    "type": "array",
    "items": schema_of(question={"type": "string"}, answer={"type": "string"}),
    "maxItems": 3,
}


def said(system: str, request: str, reply: str, schema: Mapping[str, Any], name: str, profile: str = "validator") -> list[Json]:
    """What ten instances of a model say."""
    question = render("critique_question", request=f"user: {request}", answer=reply)
    messages: Sequence[Mapping[str, Any]] = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    replies = [answer(Reading(messages, schema, name), PROFILES[profile], seed).data for seed in range(10)]
    return [data for data in replies if data is not None]


def style(reply: str, profile: str = "validator") -> list[str]:
    found = said(render("style", rules=""), "Describe the pier", reply, CRITIQUE_SCHEMA, "style", profile)
    return [issue for data in found for issue in data["issues"]]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("The pier the the boats leave from.", '"the" stands there twice'),
        ("It is really old.", '"really" says nothing'),
        ("Boats leave at nine!!", "is shouting"),
        ("The pier " + "and the boats " * 20 + "lie there.", "make two of it"),
        ('{"notes": ["Tie up here", "Mind the tide", "call first"]}', "notes.2: begins with a small letter"),
        ('{"name": " Kilkee"}', "white space around it"),
    ],
)
def test_the_style_checker_names_what_is_badly_said(reply: str, words: str) -> None:
    assert any(words in issue for issue in style(reply))


def test_the_style_checker_does_not_judge_truth_and_a_weak_one_overlooks_more() -> None:
    assert style("Boats leave at nine.") == []
    assert style('{"age": -4}') == []
    loud = "It is really, really a very very old pier!!"
    assert len(style(loud, "generator")) < len(style(loud))


def test_questions_are_about_what_is_doubtful_or_left_open() -> None:
    def asked(request: str, reply: str) -> set[str]:
        found = said(render("self_questions", count="3", rules=""), request, reply, schema_of(questions=TEXTS), "self_questions")
        assert all(len(data["questions"]) <= 3 for data in found)
        return {question for data in found for question in data["questions"]}

    assert "Is age right? It is -4 and must not be negative." in asked("A sailor with an age", '{"age": -4}')
    assert "What about tide?" in asked("Describe the pier, the crane and the tide", "A pier of stone with a crane.")
    assert "Where does 1904 come from?" in asked("Describe the pier", "A pier, built in 1904.")
    assert asked("Describe the pier", "The pier is made of stone.") == set()


def test_answers_are_looked_up_in_the_request() -> None:
    questions = "- Who built the crane?\n- Is age right? It is -4.\n- What about whales?"
    found = said(
        render("self_answers", questions=questions, rules=""),
        "Describe the pier. The crane was built by Robert Manning.",
        "A pier with a crane.",
        schema_of(answers=PAIRS),
        "self_answers",
    )
    for data in found:
        assert [pair["question"] for pair in data["answers"]] == questions.replace("- ", "").split("\n")
        assert "Robert Manning" in data["answers"][0]["answer"]
        assert data["answers"][1]["answer"].startswith("No, age is -4")
        assert "Neither" in data["answers"][2]["answer"]


def test_a_detector_gives_places_and_a_judge_scores_by_defects() -> None:
    damaged, sound = '{"sailor": {"age": -4, "email": "none"}}', '{"sailor": {"age": 41, "email": "a@example.org"}}'
    found = said(render("detect", rules=""), "A sailor", damaged, DETECTION_SCHEMA, "detection")
    places = {issue["path"] for data in found for issue in data["issues"]}
    assert places == {"sailor.age", "sailor.email"}
    assert said(render("detect", rules=""), "A sailor", sound, DETECTION_SCHEMA, "detection")[0] == {"issues": []}
    low = said(render("judge", rules=""), "A sailor", damaged, SCORE_SCHEMA, "judgement")
    high = said(render("judge", rules=""), "A sailor", sound, SCORE_SCHEMA, "judgement")
    assert max(data["score"] for data in low) < min(data["score"] for data in high)


def test_hostile_prompts_take_no_time() -> None:
    began = time.monotonic()
    for text in ("The request:" * 30_000, "\n" * 300_000, "the " * 90_000, "- a?\n" * 60_000):
        for name, schema in (("style", CRITIQUE_SCHEMA), ("self_questions", schema_of(questions=TEXTS))):
            messages = [{"role": "user", "content": text}]
            answer(Reading(messages, schema, name), PROFILES["validator"], 1)
    assert time.monotonic() - began < 10
