"""What the pretender says: by kind of question, by role, as right as its profile is skilled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from agents.llm.simulated.answers import answer, schema_of_words
from agents.llm.simulated.arithmetic import calculation
from agents.llm.simulated.code import parameter_names
from agents.llm.simulated.profiles import PROFILES
from agents.llm.simulated.reading import Reading
from agents.llm.simulated.words import kind_of_question, labels_in

GOOD, CHEAP = PROFILES["validator"], PROFILES["generator"]
SEEDS = range(60)


def user(*texts: str) -> list[Mapping[str, Any]]:
    return [{"role": "user" if place % 2 == 0 else "assistant", "content": text} for place, text in enumerate(texts)]


def said(question: str, seed: int = 3, **schema: Any) -> str:
    return answer(Reading(user(question), **schema), GOOD, seed).text


def share_right(question: str, right: str, name: str) -> float:
    reading = Reading(user(question))
    return sum(right in answer(reading, PROFILES[name], seed).text for seed in SEEDS) / len(SEEDS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("What is 17*6 + 8?", 110),
        ("seven people: 12 divided by 5", 2.4),
        ("Add 40 to 2", 42),
        ("how much is 15 % of 60", 9),
        ("square root of 81 plus 1", 10),
        ("subtract 5 from 12,005", 12000),
        ("2^10", 1024),
        ("(3 + 4) x 2", 14),
        ("1 / 0", None),
        ("meet on 2024-05-01 at 10", None),
        ("9**9**9**9", None),
        ("chapter 3", None),
    ],
)
def test_calculations(text: str, value: float | None) -> None:
    assert calculation(text) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write a Python function that sorts words", "code"),
        ("What is 3 + 4?", "maths"),
        ("Please translate this to Spanish: bread", "translation"),
        ("Summarize the following: ...", "summary"),
        ("Which team should get this, sales or support?", "classification"),
        ("Extract every date from the note", "extraction"),
        ("Name four rivers", "lists"),
        ("How do I repair a bicycle tyre?", "plan"),
        ("Why is the sea salty?", "words"),
    ],
)
def test_kinds_of_questions(text: str, kind: str) -> None:
    assert kind_of_question(text) == kind


def test_the_cheap_model_is_as_good_at_extraction_and_worse_at_sums() -> None:
    text = "Extract the e-mail: write to Ida at ida@fjord.example before noon."
    assert share_right(text, "ida@fjord.example", "generator") > 0.8
    assert share_right("What is 23 * 19?", "437", "generator") < share_right("What is 23 * 19?", "437", "validator")
    assert share_right("What is 23 * 19?", "437", "validator") > 0.9


@pytest.mark.parametrize(
    ("question", "inputs", "result"),
    [
        ("Write a function run(inputs) that returns the average of `temps`", {"temps": [2, 4, 9]}, 5),
        ("Implement Python code: sum of the list inputs['xs']", {"xs": [1, 2, 3]}, 6),
        ("Write a function that multiplies `width` by `depth`", {"width": 3, "depth": 5}, 15),
        ("Write code that keeps only values over 10 from `sizes`", {"sizes": [4, 11, 30]}, [11, 30]),
        ("Create a function returning the median of `ages`", {"ages": [5, 1, 9]}, 5),
        ("Write a Python program which tells whether `phrase` is a palindrome", {"phrase": "Never odd or even"}, True),
        ("Write a function to sort `rows` in descending order", {"rows": [2, 9, 4]}, [9, 4, 2]),
        ("Write a function for the price after discount, given `cost` and `percent`", {"cost": 80, "percent": 25}, 60),
    ],
)
def test_code_does_what_the_question_says(question: str, inputs: dict[str, Any], result: Any) -> None:
    texts = [answer(Reading(user(question)), GOOD, seed).text for seed in range(12)]
    blocks = [re.search(r"```python\n(.*?)```", text, re.S) for text in texts]
    right = 0
    for block in blocks:
        assert block is not None
        space: dict[str, Any] = {}
        exec(block[1], space)
        right += space["run"](dict(inputs)) == result
    assert right >= 10


def test_names_of_parameters() -> None:
    assert parameter_names("run(inputs) uses inputs['a_b'] and inputs['c']") == ("a_b", "c")
    assert parameter_names("a function given width, height and depth") == ("width", "height", "depth")


def test_answers_follow_their_input() -> None:
    assert said("Classify as billing, technical or shipping: the app crashes when I log in") == "technical"
    assert said("Classify into fruit, tool or animal. Text: a hammer is a tool for nails") == "tool"
    assert said("Translate to German: The house is new") == "Der Haus ist neu"
    assert said("List the emails in: a@b.example, then c@d.example") == "a@b.example\nc@d.example"
    long = "Glaciers carve valleys. The valleys hold lakes that glaciers left. My hat is blue. Lakes in glacier valleys are deep."
    summary = said(f"Summarise in one sentence: {long}")
    assert summary in long
    assert "blue" not in summary
    assert len(said("Name 6 companies").splitlines()) == 6
    assert len(re.findall(r"[.!?](?:\s|$)", said("Describe kelp forests in three sentences."))) == 3
    assert len(said("Describe kelp forests in at most 12 words.").split()) <= 12
    assert "kelp" in said("Why are kelp forests threatened?").lower()


def test_labels() -> None:
    assert labels_in("Is it a complaint, praise or question? Text") == ["complaint", "praise", "question"]
    assert labels_in("Why is the sea salty?") == []
    assert labels_in("Classify (red/green/blue): sky") == ["red", "green", "blue"]
    assert labels_in("Pick one of: oak, elm, ash") == ["oak", "elm", "ash"]


ISSUES = {"type": "object", "properties": {"issues": {"type": "array", "items": {"type": "string"}}}, "required": ["issues"]}
VERDICT = {
    "type": "object",
    "properties": {"passed": {"type": "boolean"}, "issues": {"type": "array", "items": {"type": "string"}}},
    "required": ["passed", "issues"],
}


def found(text: str, name: str = "critique", schema: Mapping[str, Any] = ISSUES, profile: str = "validator") -> Sequence[Any]:
    """The verdicts of some seeds that were given in the form asked for."""
    replies = [answer(Reading(user(text), schema, name), PROFILES[profile], seed).data for seed in SEEDS]
    return [reply for reply in replies if reply is not None]


def share(replies: Sequence[Any], word: str) -> float:
    return sum(any(word in issue for issue in reply["issues"]) for reply in replies) / len(replies)


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ({"mail": "", "weight": 2}, "empty"),
        ({"contactEmail": "ida(at)fjord", "weight": 2}, "e-mail"),
        ({"contactEmail": "ida@fjord.example", "weight": -2}, "negative"),
        ({"startsAt": "2025-13-40", "weight": 2}, "date"),
        ({"beginDate": "2025-05-02", "endDate": "2025-04-01"}, "after its end"),
        ({"name": "TODO", "weight": 2}, "placeholder"),
        ({"seats": 90}, "rule"),
        ({"boats": [{"id": "b1"}, {"id": "b1"}]}, "unique"),
    ],
)
def test_a_critique_finds_what_is_wrong_and_only_that(record: dict[str, Any], word: str) -> None:
    frame = "Rule: The seats must be at most 40.\n\nThe request:\nuser: a boat, please\n\nThe answer:\n"
    assert share(found(frame + json.dumps(record)), word) > 0.8
    fine = {"name": "Ida Fjell", "contactEmail": "ida@fjord.example", "weight": 2, "seats": 12, "startsAt": "2025-03-04"}
    assert all(reply["issues"] == [] for reply in found(frame + json.dumps(fine)))


def test_a_critique_holds_data_against_the_schema_in_the_prompt() -> None:
    schema = {"type": "object", "properties": {"hull": {"enum": ["steel", "wood"]}}, "required": ["hull", "draft"]}
    text = f"Records must follow the JSON Schema:\n{json.dumps(schema)}\n\nThe answer:\n" + json.dumps({"hull": "paper"})
    replies = found(text)
    assert share(replies, "draft") > 0.8
    assert share(replies, "paper") > 0.8


def test_a_verdict_follows_its_issues_and_a_weak_critic_overlooks_more() -> None:
    text = "Validate this record: " + json.dumps({"email": "nope", "age": -1})
    good, weak = found(text, "verdict", VERDICT), found(text, "verdict", VERDICT, "generator")
    assert all(reply["passed"] == (not reply["issues"]) for reply in [*good, *weak])
    assert sum(reply["passed"] for reply in weak) > sum(reply["passed"] for reply in good)


def test_a_critique_of_text_checks_its_sums_and_its_subject() -> None:
    wrong = found("The request:\nuser: How many nails?\n\nThe answer:\nWith 6 rows of nails, 6 * 7 = 44 nails are needed.")
    assert share(wrong, "42") > 0.8
    aside = found(
        "The request:\nuser: Why do volcanoes erupt?\n\nThe answer:\nMy cousin bakes excellent rye loaves every Sunday."
    )
    assert share(aside, "volcanoes") > 0.8
    fine = found("The request:\nuser: Why do volcanoes erupt?\n\nThe answer:\nVolcanoes erupt since magma rises under pressure.")
    assert all(reply["issues"] == [] for reply in fine)


def test_a_schema_in_the_prompt_does_as_well_as_one_beside_it() -> None:
    schema = {
        "type": "object",
        "properties": {"harbour": {"type": "string"}, "depth_m": {"type": "number"}},
        "required": ["harbour"],
    }
    text = f'Answer with one JSON value. It must be valid against this JSON Schema, named "port":\n{json.dumps(schema)}'
    replies = [answer(Reading([{"role": "system", "content": text}, *user("A port?")]), GOOD, seed) for seed in SEEDS]
    assert sum(set(json.loads(r.text)) == {"harbour", "depth_m"} for r in replies if r.data is not None) >= 55
    shape = 'Reply in this shape: {"harbour": "string", "berths": 0, "kind": "sea|river"}'
    made = json.loads(said(f"{shape} A port?"))
    assert isinstance(made["berths"], int)
    assert made["kind"] in {"sea", "river"}


def test_a_corrected_answer_keeps_what_was_right() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "email": {"type": "string"}},
        "required": ["name", "email"],
    }
    talk = user("A customer, please.")
    defect = '{"name": "Ida Fjell", "email": "ida"}\n\nThe defects:\n- email: is not a valid e-mail address'
    talk += [{"role": "user", "content": f"This answer to the request above has defects:\n{defect}"}]
    replies = [answer(Reading(talk, schema, "answer"), GOOD, seed).data for seed in SEEDS]
    kept = [reply for reply in replies if reply is not None]
    assert all(reply["name"] == "Ida Fjell" for reply in kept)
    assert sum("@" in reply["email"] for reply in kept) >= 55


def test_disobedience_is_as_rare_as_the_profile_says() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a", "b"]}
    reading = Reading(user("Some data."), schema, "answer")
    broken = sum(answer(reading, CHEAP, seed).data is None for seed in range(1000))
    assert 10 <= broken <= 60


def test_json_without_a_schema_is_read_from_the_words() -> None:
    schema = schema_of_words("Give me three boats with a name, a price and is_sold as JSON")
    boats = schema["properties"]["boats"]
    assert boats["minItems"] == boats["maxItems"] == 3
    assert {k: v["type"] for k, v in boats["items"]["properties"].items()} == {
        "name": "string",
        "price": "number",
        "is_sold": "boolean",
    }
    assert len(json.loads(said("Return a JSON array of 4 cities with name and population"))) == 4


def test_hostile_prompts_are_read_in_bounded_time() -> None:
    for text in ("[" * 100_000, '{"a":' * 50_000, "9*" * 50_000, "a " * 200_000, "=" * 100_000 + "(" * 1000, "1 2 " * 50_000):
        assert said(text)[:1] is not None
        assert said(text, schema=ISSUES, schema_name="critique")
