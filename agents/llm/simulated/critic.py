"""What is wrong with data or text, in the words of a reviewer: it really looks. Pure; called by answers.py and shapes.py.

Data is held against the schemas and the rules that stand in the conversation, against its siblings and against common sense.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from agents.llm.simulated.arithmetic import equations_in
from agents.llm.simulated.lexicon import words_in
from agents.llm.simulated.reading import Reading, json_values
from agents.llm.simulated.rules import Rule, rules_in, words_of
from agents.llm.simulated.sanity import moment_of, problem_with
from agents.llm.simulated.vocabulary import STOP
from agents.records import AgentError, Json
from agents.schema_check import compile_schema, resolve

MAX_FINDINGS = 40
MAX_VALUES = 5000
MAX_DEPTH = 40
JUDGEMENTS = frozenset({"critique", "verdict", "review", "validation", "judgement", "judgment", "evaluation", "assessment"})
_LISTS = frozenset({"issues", "problems", "errors", "defects", "findings", "violations", "faults", "objections"})
_PASSES = frozenset({"passed", "pass", "valid", "ok", "approved", "accepted", "acceptable", "success", "correct"})
_PASS_PHRASES = frozenset({("is", word) for word in _PASSES})
_SCORES = frozenset({"score", "quality", "rating", "grade"})
_SUBJECT = re.compile(
    r"^[^\n{\[]{0,40}\b(?:answer|data|record|records|output|result|draft|reply|text)\b[^\n{\[]{0,60}:\s*", re.I | re.M
)
_LABEL = re.compile(r"^(?:[^\n:]{0,40}:[ \t]*$|(?:user|system|assistant):)", re.M | re.I)
_UNIQUE = frozenset({"id", "sku", "email", "uuid", "isbn", "iban"})
_PAIRS = (("start", "end"), ("begin", "end"), ("from", "to"), ("min", "max"), ("minimum", "maximum"), ("created", "updated"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One objection: where, what, and what would be right."""

    path: str
    problem: str

    @property
    def text(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem

    @property
    def suggestion(self) -> str:
        return f"Correct {self.path} so that it no longer {self.problem}"[:300] if self.path else f"Revise: {self.problem}"[:300]


def judge(reading: Reading, skill: float, rng: Random) -> tuple[Finding, ...] | None:
    """What a critic of ``skill`` 0..1 notices; None when the conversation holds nothing to judge."""
    data, text = subject(reading)
    if data is not None:
        found = list(_in_data(data, reading))
    elif text is not None:
        found = list(_in_text(text, reading))
    else:
        return None
    unique = list({finding.text: finding for finding in found[: MAX_FINDINGS * 4]}.values())
    return tuple(finding for finding in unique if rng.random() < skill)[:MAX_FINDINGS]


def subject(reading: Reading) -> tuple[Json | None, str | None]:
    """What is to be judged: what follows the last "The answer:", else the latest data. (data, None) or (None, text)."""
    question = reading.question
    labels = list(_SUBJECT.finditer(question))
    if labels:
        rest = question[labels[-1].end() :]
        values = [item.value for item in json_values(rest) if not item.is_schema]
        stripped = rest.strip()
        if values and stripped[:1] in ("{", "[", "`"):
            return values[0], None
        if stripped and not values:
            return None, stripped
    return (reading.data[0], None) if reading.data else (None, None)


def _in_data(data: Json, reading: Reading) -> Iterator[Finding]:
    for schema in reading.other_schemas[:3]:
        if isinstance(schema, Mapping):
            yield from _against_schema(data, schema)
    values = list(_walk(data, "", 0))[:MAX_VALUES]
    rules = rules_in(reading.all_text, (name for _, name, _, _ in values))
    for path, name, value, _ in values:
        if not isinstance(value, dict | list):
            problem = problem_with(name, value)
            if problem:
                yield Finding(path=path, problem=problem)
    for path, name, value, owner in values:
        for rule in rules:
            if rule.field == name and not rule.unique:
                yield from _against(rule, path, value, owner)
    yield from _beside_each_other(values, rules)


def _against_schema(data: Json, schema: Mapping[str, Json]) -> Iterator[Finding]:
    try:
        errors = compile_schema(schema).errors(data)
    except AgentError:
        return
    for error in errors:
        path, _, problem = error.partition(": ")
        yield Finding(path="" if path == "(root)" else path.replace("/", "."), problem=problem or error)


def _walk(value: Json, path: str, depth: int) -> Iterator[tuple[str, str, Json, Mapping[str, Json]]]:
    """(path, field name, value, the object that holds it) of everything in an object, at any depth."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            yield place, str(key), inner, value
            yield from _walk(inner, place, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{path}.{index}" if path else str(index), depth + 1)


def _against(rule: Rule, path: str, value: Json, owner: Mapping[str, Json]) -> Iterator[Finding]:
    size: Any = len(value) if isinstance(value, list) or (rule.length and isinstance(value, str)) else value
    if isinstance(size, int | float) and not isinstance(size, bool):
        low = rule.low is not None and (size < rule.low or (rule.strict and size == rule.low))
        high = rule.high is not None and (size > rule.high or (rule.strict and size == rule.high))
        if low or high:
            yield Finding(path=path, problem=f"is {size} and breaks the rule {rule.text!r}")
    if rule.options and isinstance(value, str) and value.lower() not in {option.lower() for option in rule.options}:
        yield Finding(path=path, problem=f"is {value[:40]!r} and breaks the rule {rule.text!r}")
    if rule.looks_like == "date" and isinstance(value, str) and moment_of(value) is None:
        yield Finding(path=path, problem=f"is {value[:40]!r} and breaks the rule {rule.text!r}")
    other = owner.get(rule.below or rule.above or "")
    if other is not None and _comparable(value, other):
        a, b = _ordered(value), _ordered(other)
        if (rule.below and a >= b) or (rule.above and a <= b):
            yield Finding(path=path, problem=f"breaks the rule {rule.text!r}")


def _beside_each_other(values: Sequence[tuple[str, str, Json, Mapping[str, Json]]], rules: Sequence[Rule]) -> Iterator[Finding]:
    """Ends before begins, and values twice that must be there once."""
    unique = {rule.field for rule in rules if rule.unique}
    seen: dict[tuple[str, str], str] = {}
    for path, name, value, owner in values:
        words = words_of(name)
        if (name in unique or (words and words[-1] in _UNIQUE)) and isinstance(value, str | int) and value != "":
            key = (re.sub(r"\d+", "*", path), str(value).lower())
            if key in seen and re.search(r"\d", path):
                yield Finding(path=path, problem=f"is the same as {seen[key]} and must be unique")
            seen.setdefault(key, path)
        for first, second in _PAIRS:
            if first in words:
                partner = tuple(second if word == first else word for word in words)
                other = next((inner for key, inner in owner.items() if words_of(str(key)) == partner), None)
                if other is not None and _comparable(value, other) and _ordered(value) > _ordered(other):
                    yield Finding(path=path, problem=f"lies after its {second} ({str(value)[:30]} > {str(other)[:30]})")


def _comparable(a: Json, b: Json) -> bool:
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return numbers or all(isinstance(x, str) and moment_of(x) is not None for x in (a, b))


def _ordered(value: Json) -> Any:
    return moment_of(value) if isinstance(value, str) else value


def _in_text(text: str, reading: Reading) -> Iterator[Finding]:
    for left, said, right in equations_in(text):
        yield Finding(path="", problem=f"{left} is {right:.10g}, not {said}")
    words = words_in(text)
    before = _LABEL.sub(" ", reading.question[: len(reading.question) - len(text)])
    asked = [word for word in words_in(before) if word not in STOP and len(word) > 3]
    topic = {word[:5] for word in asked}
    if len(words) < 2 and not any(char.isdigit() for char in text):
        yield Finding(path="", problem="the answer is too short to be of use")
    elif topic and len(words) > 6 and not any(word[:5] in topic for word in words):
        yield Finding(path="", problem=f"the answer does not speak of {', '.join(dict.fromkeys(asked[:3]))}")
    # A gap anywhere in a text; quality's completeness asks whether a field is nothing else.
    if re.search(r"\b(TODO|TBD|lorem ipsum|\[insert)", text, re.I):
        yield Finding(path="", problem="the answer still holds a placeholder")


# ── answering in the form that was asked for ────────────────────────────────────────────────────────────────────────────


def is_judgement(properties: Mapping[str, Any]) -> bool:
    """Whether an object of these fields says what is wrong with something."""
    lists = [key for key, part in properties.items() if _role(key) == "list" and isinstance(part, Mapping)]
    return bool(lists) and (len(properties) == 1 or any(_role(key) in ("pass", "score", "words") for key in properties))


def _role(key: str) -> str:
    words = words_of(key)
    if words[-1:] and words[-1] in _LISTS:
        return "list"
    if (len(words) == 1 and words[0] in _PASSES) or words in _PASS_PHRASES:
        return "pass"
    if words[-1:] and words[-1] in _SCORES:
        return "score"
    if words[-1:] and words[-1] in ("suggestions", "fixes", "corrections", "recommendations"):
        return "suggestions"
    return "words" if words[-1:] and words[-1] in ("summary", "reason", "feedback", "comment", "verdict", "rationale") else ""


def fill_judgement(
    made: dict[str, Json], properties: Mapping[str, Any], findings: Sequence[Finding], root: Mapping[str, Any]
) -> None:
    """Write ``findings`` into ``made``, an object of a form that ``is_judgement`` knows."""
    for key, raw in properties.items():
        part = resolve(raw, root)
        part = part if isinstance(part, Mapping) else {}
        role, kind = _role(key), part.get("type")
        if role in ("list", "suggestions") and kind in (None, "array"):
            made[key] = _listed(part, findings, root, suggest=role == "suggestions")
        elif role == "pass" and kind in (None, "boolean"):
            made[key] = not findings
        elif role == "score" and kind in ("number", "integer"):
            made[key] = _score(part, len(findings))
        elif role == "words" and kind == "string" and "enum" not in part:
            text = "; ".join(finding.text for finding in findings[:5]) if findings else "Nothing to object to."
            made[key] = text[: int(part.get("maxLength", 2000))]


def _listed(part: Mapping[str, Any], findings: Sequence[Finding], root: Mapping[str, Any], *, suggest: bool) -> list[Json]:
    item = resolve(part.get("items", {}), root)
    item = item if isinstance(item, Mapping) else {}
    some = list(findings)[: int(part.get("maxItems", MAX_FINDINGS))]
    if isinstance(item.get("properties"), Mapping):
        return [_as_object(item, finding) for finding in some]
    limit = int(item.get("maxLength", 500))
    return [(finding.suggestion if suggest else finding.text)[:limit] for finding in some]


def _as_object(item: Mapping[str, Any], finding: Finding) -> dict[str, Json]:
    made: dict[str, Json] = {}
    for key, part in item["properties"].items():
        word = (words_of(key) or ("",))[-1]
        options = part.get("enum") if isinstance(part, Mapping) else None
        if options:
            made[key] = next((option for option in options if option in ("high", "major", "error")), options[0])
        elif word in ("field", "path", "place", "where", "location", "property"):
            made[key] = finding.path or "(whole)"
        elif word in ("suggestion", "fix", "correction", "expected", "recommendation"):
            made[key] = finding.suggestion
        elif word in ("severity", "level"):
            made[key] = "major"
        elif not isinstance(part, Mapping) or part.get("type", "string") == "string":
            made[key] = finding.problem
    return made


def _score(part: Mapping[str, Any], count: int) -> Json:
    low = part.get("minimum", 0)
    high = part.get("maximum", 100 if part.get("type") == "integer" else 1)
    value = low + (high - low) * max(0.0, 1.0 - 0.2 * count)
    return round(value) if part.get("type") == "integer" else round(value, 3)
