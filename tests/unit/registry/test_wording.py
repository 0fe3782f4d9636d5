"""What two texts agree in: words, numbers, names, polarity, the kind of question."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.wording import FEATURES, agreement, negation_differs, read, stem


def feature(name: str, a: str, b: str) -> float:
    return agreement(read(a), read(b))[FEATURES.index(name)]


@pytest.mark.parametrize(
    ("a", "b", "differs"),
    [
        ("users with a phone number", "users without a phone number", True),
        ("users with a phone number", "users with an address", False),
        ("all rows", "all rows except the first", True),
        ("do not sort the list", "sort the list", True),
        ("sort ascending", "sort descending", True),
        ("sort from ascending to descending", "sort from descending to ascending", False),
        ("I don’t know why", "I don't know why", False),
    ],
)
def test_polarity(a: str, b: str, differs: bool) -> None:
    assert negation_differs(read(a), read(b)) is differs
    assert feature("negation", a, b) == float(differs)


def test_numbers_names_and_questions() -> None:
    assert feature("numbers_conflict", "a gift for a 17-year-old", "a gift for a 13-year-old") == 1
    assert feature("numbers_conflict", "a gift for a 17-year-old", "a gift for a child") == 0
    assert feature("names_conflict", "the weather in Orlando", "the weather in Denver") == 1
    assert feature("question", "How many users are there?", "How do I count users?") == 1
    assert feature("question", "Which is the best?", "What is the best?") == 0


def test_who_does_what_to_whom_is_seen_in_the_order() -> None:
    assert feature("order", "Are cats afraid of tigers?", "Are tigers afraid of cats?") == 1
    assert feature("same_content", "Are cats afraid of tigers?", "Are tigers afraid of cats?") == 1


def test_forms_of_a_word_meet() -> None:
    assert stem("running") == stem("runn")
    assert feature("same_content", "What are the symptoms?", "What is a symptom?") == 1


@given(a=st.text(max_size=200), b=st.text(max_size=200))
def test_any_two_texts_compare_alike_from_both_sides(a: str, b: str) -> None:
    there, back = agreement(read(a), read(b)), agreement(read(b), read(a))
    assert len(there) == len(FEATURES)
    assert all(math.isfinite(value) and -0.001 <= value <= 8.0 for value in there)
    assert there == pytest.approx(back)


def test_a_text_agrees_with_itself() -> None:
    same = dict(zip(FEATURES, agreement(read("Sort 10 users by age"), read("Sort 10 users by age")), strict=True))
    assert same["jaccard"] == same["trigrams"] == same["same_content"] == 1
    assert same["more_missing"] == same["numbers_differ"] == same["negation"] == same["order"] == 0
