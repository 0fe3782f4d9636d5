"""What a pretender says where an answer is talked over: remarks on its style, questions about it, and their answers. Pure.

Called by answers.py for the schemas of these names. Everything is read out of the answer and the request; nothing is made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

from agents.llm.simulated.critic import Finding, judge, subject
from agents.llm.simulated.lexicon import words_in
from agents.llm.simulated.reading import Reading
from agents.llm.simulated.vocabulary import STOP
from agents.llm.simulated.words import keywords
from agents.records import Json

STYLE: Final = "style"
QUESTIONS: Final = "self_questions"
ANSWERS: Final = "self_answers"
MAX_SENTENCE_WORDS: Final = 32
MAX_FINDINGS: Final = 12
MAX_TEXTS: Final = 5_000
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_TWICE: Final = re.compile(r"\b([A-Za-zÀ-ÿ]{2,})\s+\1\b", re.I)
_EMPTY: Final = re.compile(r"\b(very|really|basically|actually|simply|obviously|of course|in order to|quite|literally)\b", re.I)
_LOUD: Final = re.compile(r"!{2,}|\b[A-Z]{6,}\b")
_LISTED: Final = re.compile(r"^[-*•] +([^\n?]{3,400}\?[^\n]{0,400})$", re.M)
_SPEAKER: Final = re.compile(r"^(?:user|system|assistant): ", re.M)
_FIGURE: Final = re.compile(r"(?<![\w.,])\d[\d.,]*\d|\b\d\b")
_RIGHT: Final = re.compile(r"^Is (\S+) right\? It (.+)\.$")


def remarks(reading: Reading, skill: float, rng: Random) -> tuple[Finding, ...]:
    """What a style checker of ``skill`` 0..1 notices in the answer."""
    data, text = subject(reading)
    found = list(_of_data(data)) if data is not None else list(_of_text(text or "", ""))
    return tuple(finding for finding in dict.fromkeys(found) if rng.random() < skill)[:MAX_FINDINGS]


def questions(reading: Reading, schema: Mapping[str, Any], skill: float, rng: Random) -> dict[str, Json]:
    """Questions about the answer: its doubtful values, what of the request it leaves open, where its figures come from."""
    request, answer = _parts(reading)
    asked = [f"Is {one.path} right? It {one.problem}." for one in judge(reading, skill, rng) or () if one.path]
    said = {word[:5] for word in words_in(answer)}
    left = [word for word in keywords(request) if word.lower() not in STOP and len(word) > 3 and word.lower()[:5] not in said]
    asked += [f"What about {word}?" for word in left if rng.random() < skill]
    known = set(_FIGURE.findall(request))
    if not answer.lstrip().startswith(("{", "[")):
        asked += [f"Where does {figure} come from?" for figure in dict.fromkeys(_FIGURE.findall(answer)) if figure not in known]
    name, part = _list_of(schema)
    return {name: list(dict.fromkeys(asked))[: int(part.get("maxItems", 3))]}


def answers(reading: Reading, schema: Mapping[str, Any]) -> dict[str, Json]:
    """For each question in the prompt what the request, else the answer, says about it; else that neither does."""
    request, answer = _parts(reading)
    name, part = _list_of(schema)
    asked = _LISTED.findall(reading.all_text)[: int(part.get("maxItems", 10))]
    return {name: [{"question": question, "answer": _answered(question, request, answer)} for question in asked]}


def _answered(question: str, request: str, answer: str) -> str:
    doubtful = _RIGHT.match(question)
    if doubtful:
        return f"No, {doubtful[1]} {doubtful[2]} and has to be corrected."
    wanted = {word[:5] for word in words_in(question) if word not in STOP} | set(_FIGURE.findall(question))
    for source, text in (("The request", request), ("The answer", answer)):
        best, shared = "", 0
        for sentence in _SENTENCE.split(text)[:200]:
            count = len(wanted & ({word[:5] for word in words_in(sentence)} | set(_FIGURE.findall(sentence))))
            if count > shared:
                best, shared = sentence.strip(), count
        if best:
            return f"{source} says: {best[:300]}"
    return "Neither the request nor the answer says."


def _parts(reading: Reading) -> tuple[str, str]:
    """The request and the answer of a question that gives both under these words."""
    request, found, answer = reading.question.rpartition("\nThe answer:")
    if not found:
        return reading.spoken, reading.question
    return _SPEAKER.sub("", request.removeprefix("The request:")).strip(), answer.strip()


def _list_of(schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The first list among the schema's fields: where questions or answers go."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    for name, part in properties.items():
        if isinstance(part, Mapping) and part.get("type") == "array":
            return name, part
    return "items", {}


def _of_text(text: str, path: str) -> Iterator[Finding]:
    for sentence in _SENTENCE.split(text)[:200]:
        count = len(sentence.split())
        if count > MAX_SENTENCE_WORDS:
            begin = " ".join(sentence.split()[:5])
            yield Finding(path=path, problem=f'the sentence "{begin} …" has {count} words; make two of it')
    for match in list(_TWICE.finditer(text))[:5]:
        yield Finding(path=path, problem=f'"{match[1]}" stands there twice')
    for match in list(_EMPTY.finditer(text))[:5]:
        yield Finding(path=path, problem=f'"{match[1]}" says nothing; leave it out')
    loud = _LOUD.search(text)
    if loud is not None:
        yield Finding(path=path, problem=f'"{loud[0][:20]}" is shouting')


def _of_data(data: Json) -> Iterator[Finding]:
    """Of every text in it, and of texts of one field that are written in different ways."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for path, value in _strings(data):
        if value != value.strip():
            yield Finding(path=path, problem="has white space around it")
        if " " in value.strip():
            yield from _of_text(value, path)
        alike.setdefault(re.sub(r"\d+", "*", path), []).append((path, value))
    for group in alike.values():
        yield from _odd_ones(group)


def _strings(data: Json) -> Iterator[tuple[str, str]]:
    """Every text in it with its place, at most ``MAX_TEXTS``."""
    stack: list[tuple[str, Json]] = [("", data)]
    left = MAX_TEXTS
    while stack and left:
        path, value = stack.pop()
        left -= 1
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        stack.extend(reversed([(f"{path}.{key}" if path else str(key), one) for key, one in inner]))
        if isinstance(value, str) and value:
            yield path, value


def _odd_ones(group: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    worded = [(path, value) for path, value in group if value[:1].isalpha()]
    capital = [value[:1].isupper() for _, value in worded]
    if len(worded) >= 3 and 0 < capital.count(False) <= len(worded) // 3:
        for (path, _), large in zip(worded, capital, strict=True):
            if not large:
                yield Finding(path=path, problem="begins with a small letter, unlike the others")
