"""Programs in a model's answer: what is one, and what is told of the others."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.strategies.program import NoProgram, read_program


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Sure! The mean is 40.", "no ```python block"),
        ("```python\ndef run(inputs):\n  return (\n```\n```json\n{}\n```", "does not parse"),
        ("```python\ndef run(inputs): return 1\n```\n```json\n[1]\n```", "one JSON object"),
        ('```python\ndef run(inputs): return 1\n```\n```json\n{"a b": 1}\n```', "cannot be the name"),
        ("```python\ndef run(inputs):\n" + " #" * 40_000 + "\n return 1\n```\n```json\n{}\n```", "longer than"),
    ],
)
def test_what_is_no_program_is_told_to_its_author(text: str, words: str) -> None:
    with pytest.raises(NoProgram, match=words):
        read_program(text)


def test_the_count_that_a_model_repeats_is_no_parameter() -> None:
    text = '```json\n{"mean": 3, "count": 9, "seed": 1}\n```\n```python\ndef run(inputs): return 1\n```'
    assert read_program(text).parameters == {"mean": 3}


@given(st.text(max_size=400))
@settings(max_examples=100)
def test_any_text_is_a_program_or_told_why_not(text: str) -> None:
    with suppress(NoProgram):
        assert "def run(" in read_program(f"```python\n{text}\n```\n```json\n{{}}\n```").code


def test_a_program_without_parameters_is_one() -> None:
    assert read_program("```python\ndef run(inputs): return 1\n```").parameters == {}
