"""JSON out of what models say, and the one repair round."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.calls import Usage
from agents.llm import prompts
from agents.llm.chat import ChatReply, ChatRequest
from agents.llm.structured import ask_structured, extract_json
from agents.records import InvalidRequest, StructuredFailed

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
}
REQUEST = ChatRequest(messages=({"role": "user", "content": "Who?"},), schema=SCHEMA)


class Model:
    def __init__(self, *answers: str, finish_reason: str = "stop") -> None:
        self.answers = list(answers)
        self.requests: list[ChatRequest] = []
        self.finish_reason = finish_reason

    async def __call__(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        return ChatReply(text=self.answers.pop(0), model="m", usage=Usage(), finish_reason=self.finish_reason)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ("  [1, 2]\n", [1, 2]),
        ('"word"', "word"),
        ('\ufeff{"a": 1}', {"a": 1}),
        ('Sure!\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ('```python\nprint(1)\n```\n```\n{"a": "```"}\n```', {"a": "```"}),
        ('Here you are: {"a": {"b": "}"}} as asked.', {"a": {"b": "}"}}),
        ('As [1] says: {"a": "x", "b": 2}', {"a": "x", "b": 2}),
        ('Use {braces} so: {"a": "\\"{"}', {"a": '"{'}),
        ('<think>{"a": 0}?</think>{"a": 1}', {"a": 1}),
        ('5" wide: {"a": 1}', {"a": 1}),
    ],
)
def test_json_is_found(text: str, expected: Any) -> None:
    assert extract_json(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json here",
        '{"a": 1,}',
        '{"a": NaN}',
        "Infinity",
        '{"a": [{"b": 1}, {"c": ',
        'cut: {"a": "no end',
        '{"a": 1, "list": [{"inner": 1},]}',
        "[" * 65 + "]" * 65,
        "[" * 5000,
        "[" * 5000 + "]" * 5000,
        '{"a": "\ud800"}',
    ],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        extract_json(text)


@given(st.text(alphabet='{}[]",:\\a1 `\n', max_size=200))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with suppress(ValueError):
        orjson.dumps(extract_json(text))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), json_values))
def test_any_object_within_prose_is_found_whole(value: dict[str, Any]) -> None:
    assert extract_json(f"It is this: {orjson.dumps(value).decode()} and that is all.") == value


async def test_a_valid_answer_takes_one_round() -> None:
    model = Model('{"name": "Ida", "age": 3}')
    answer = await ask_structured(model, REQUEST)
    assert answer.data == {"name": "Ida", "age": 3}
    assert not answer.repaired
    assert len(model.requests) == 1


@pytest.mark.parametrize(("wrong", "words"), [('"three"', "integer"), ("-1", "minimum")])
async def test_the_repair_round_quotes_the_validator(wrong: str, words: str) -> None:
    first_answer = f'{{"name": "Ida", "age": {wrong}}}'
    model = Model(first_answer, '{"name": "Ida", "age": 3}')
    answer = await ask_structured(model, REQUEST)
    assert answer.repaired
    assert answer.data["age"] == 3
    first, last = model.requests[1].messages[-2:]
    assert first == {"role": "assistant", "content": first_answer}
    assert "at age" in last["content"]
    assert words in last["content"]
    assert model.requests[1].schema == SCHEMA


async def test_after_the_repair_round_it_fails_with_what_came() -> None:
    model = Model('{"name": "Ida"}', "I cannot.")
    with pytest.raises(StructuredFailed) as caught:
        await ask_structured(model, REQUEST)
    assert caught.value.partial == {"name": "Ida"}
    assert "no JSON" in caught.value.message
    assert len(model.requests) == 2


async def test_an_answer_that_was_cut_says_so_in_the_repair() -> None:
    model = Model('{"name": "I', '{"name": "Ida", "age": 3}', finish_reason="length")
    assert (await ask_structured(model, REQUEST)).repaired
    assert "length limit" in model.requests[1].messages[-1]["content"]


async def test_the_repair_is_bounded() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    model = Model(str(["x" * 900] * 500).replace("'", '"'), "[1]")
    await ask_structured(model, ChatRequest(messages=(), schema=schema))
    quoted, words = model.requests[1].messages
    assert len(quoted["content"]) <= 16_000
    assert len(words["content"]) < 4_000


@pytest.mark.parametrize("schema", [None, {"type": "nonsense"}, {"$ref": "http://example.invalid/x.json"}, {"pattern": "("}])
async def test_a_schema_that_cannot_be_used_is_the_askers_fault(schema: Any) -> None:
    model = Model("{}")
    with pytest.raises(InvalidRequest) as caught:
        await ask_structured(model, ChatRequest(messages=(), schema=schema))
    assert caught.value.param == "schema"
    assert model.requests == []


async def test_a_format_is_not_worth_a_repair_round() -> None:
    schema = {"type": "object", "properties": {"email": {"type": "string", "format": "email"}}}
    model = Model('{"email": "nobody"}')
    answer = await ask_structured(model, ChatRequest(messages=(), schema=schema))
    assert (answer.data, answer.repaired) == ({"email": "nobody"}, False)


def test_every_prompt_loads_and_a_missing_value_is_an_error() -> None:
    assert {"structured", "repair"} <= set(prompts.names())
    for name in prompts.names():
        assert prompts.prompt(name)
        assert prompts.version(name) >= 1
    assert "- too short" in prompts.render("repair", problems="- too short")
    for unknown in ("no_such", "../wire", ""):
        with pytest.raises(KeyError):
            prompts.prompt(unknown)
    with pytest.raises(KeyError):
        prompts.render("repair")
