"""What a simulated model says to a conversation: by the schema that is asked for, else by the kind of question. Pure for a seed.

Called by app.py. Skill and obedience come from the model's profile: a weak model is really wrong, the same way each time.
"""

from __future__ import annotations

import ast
import hashlib
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from agents.llm.simulated.critic import issues_in
from agents.llm.simulated.entity import seeded_faker
from agents.llm.simulated.profiles import Kind, Profile
from agents.llm.simulated.reading import Reading
from agents.llm.simulated.shapes import Maker
from agents.records import Json

MAX_SENTENCES = 8
_STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "in",
        "on",
        "at",
        "for",
        "and",
        "or",
        "is",
        "are",
        "was",
        "were",
        "be",
        "it",
        "its",
        "this",
        "that",
        "with",
        "as",
        "by",
        "from",
        "what",
        "which",
        "who",
        "how",
        "why",
        "when",
        "where",
        "do",
        "does",
        "did",
        "can",
        "could",
        "should",
        "would",
        "will",
        "please",
        "tell",
        "me",
        "you",
        "your",
        "my",
        "our",
        "i",
        "we",
        "give",
        "name",
        "write",
        "explain",
        "describe",
        "list",
        "some",
        "any",
        "about",
        "one",
        "two",
        "three",
        "four",
        "five",
        "into",
        "than",
        "then",
        "if",
        "not",
        "no",
        "yes",
    ]
)
_SUM = re.compile(r"[-(\d][\d\s.+*/()%-]*[\d)]")
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("code", re.compile(r"\b(write|implement|create)\b.*\b(function|code|program|script)\b|def run\(", re.S | re.I)),
    ("translation", re.compile(r"\btranslate\b", re.I)),
    ("summary", re.compile(r"\b(summari[sz]e|summary|tl;?dr)\b", re.I)),
    ("classification", re.compile(r"\b(classify|categori[sz]e|which (?:category|class|label))\b", re.I)),
    ("extraction", re.compile(r"\b(extract|find all|pull out)\b", re.I)),
    ("critique", re.compile(r"\b(review|critique|criticise|what is wrong)\b", re.I)),
    ("plan", re.compile(r"\b(plan|steps|roadmap|schedule)\b", re.I)),
    ("lists", re.compile(r"\b(list|name|give)\b.*\b(\d+|two|three|four|five|some|several)\b", re.I)),
)
_OPERATIONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``data`` is what the text says as JSON, None for free text."""

    text: str
    data: Json = None


def seed_of(*parts: Json) -> int:
    """The same for the same parts, over processes and machines."""
    raw = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode()
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")


def answer(reading: Reading, profile: Profile, seed: int) -> Answer:
    """The whole answer of ``profile``'s model."""
    if reading.wanted is not None:
        return _structured(reading, profile, seed)
    kind = kind_of_question(reading.question)
    skilled = Random(seed).random() < profile.skill(kind)
    if kind == "code":
        return Answer(text=_code(reading.question, skilled))
    if kind == "maths":
        return Answer(text=_maths(reading.question, skilled, seed))
    return Answer(text=_words(reading, kind, skilled, seed))


def kind_of_question(text: str) -> Kind:
    """By its words."""
    for kind, pattern in _KINDS[:1]:
        if pattern.search(text):
            return kind
    if _calculation(text) is not None:
        return "maths"
    return next((kind for kind, pattern in _KINDS if pattern.search(text)), "words")


def _structured(reading: Reading, profile: Profile, seed: int) -> Answer:
    rng = Random(seed)
    wanted = reading.wanted
    properties = wanted.get("properties", {}) if isinstance(wanted, Mapping) else {}
    objects = "issues" in properties and (reading.wanted_name in ("critique", "verdict", "") or "passed" in properties)
    if objects and reading.data:
        data = _judged(reading, profile, seed, wanted, rng)
    else:
        topic = " ".join(keywords(reading.prose)[:3])
        data = Maker(wanted, seed=seed, known=reading.data, text=reading.prose, topic=topic).make()
    if rng.random() < profile.schema_compliance:
        return Answer(text=json.dumps(data, ensure_ascii=False), data=data)
    return Answer(text=_disobedient(data, rng))


def _judged(reading: Reading, profile: Profile, seed: int, wanted: Json, rng: Random) -> Json:
    """A verdict on the data in the conversation; a weak critic overlooks things."""
    skill = profile.skill("critique")
    found = [issue for issue in issues_in(reading.data, reading.other_schemas, reading.all_text) if rng.random() < skill]
    made = Maker(wanted, seed=seed, topic="review").make()
    verdict: dict[str, Json] = dict(made) if isinstance(made, dict) else {}
    verdict["issues"] = found
    for name in ("passed", "valid", "ok", "approved"):
        if name in verdict:
            verdict[name] = not found
    if isinstance(verdict.get("score"), int | float):
        verdict["score"] = round(max(0.0, 1.0 - 0.2 * len(found)), 2)
    return verdict


def _disobedient(data: Json, rng: Random) -> str:
    """The ways in which models miss a schema."""
    way = rng.randrange(3)
    if way == 0:
        return f"Here is the result:\n\n```json\n{json.dumps(data, ensure_ascii=False, indent=1)}\n```\nLet me know!"
    if isinstance(data, dict) and data:
        key = rng.choice(sorted(data))
        broken = {name: value for name, value in data.items() if name != key}
        if way == 1:
            broken[key] = [str(data[key])[:40]]
        return json.dumps(broken, ensure_ascii=False)
    return json.dumps({"result": data}, ensure_ascii=False)


def keywords(text: str) -> list[str]:
    """The words that carry the meaning, in order, each once."""
    words = (word.strip(".,;:!?\"'()[]{}") for word in text.split())
    return list(dict.fromkeys(word for word in words if len(word) > 2 and word.lower() not in _STOP))[:40]


def _calculation(text: str) -> float | None:
    """The value of the longest calculation in ``text``; None when there is none."""
    best = max((match.group() for match in _SUM.finditer(text)), key=len, default="")[:200]
    if not re.search(r"\d\s*[-+*/%]\s*[\d(-]", best):
        return None
    try:
        return _value(ast.parse(best.strip(), mode="eval").body, 0)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def _value(node: ast.AST, depth: int) -> float:
    """Numbers and the four operations; nothing else is ever evaluated."""
    if depth > 40:
        raise ValueError("too deep")
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and abs(node.value) < 1e15:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, depth + 1)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return float(_OPERATIONS[type(node.op)](_value(node.left, depth + 1), _value(node.right, depth + 1)))
    raise ValueError("not a calculation")


def _maths(question: str, skilled: bool, seed: int) -> str:
    value = _calculation(question) or 0.0
    if not skilled:
        value += Random(seed).choice((-10, -2, -1, 1, 2, 9))
    return f"{value:.10g}"


def _code(question: str, skilled: bool) -> str:
    """A function over the numbers and names that the question speaks of."""
    lowered = question.lower()
    how = next(
        (body for word, body in _BODIES if word in lowered),
        "    values = inputs.get('values', [])\n    return {'count': len(values), 'values': values}",
    )
    if not skilled:
        how = how.replace("len(values)", "(len(values) + 1)").replace("reverse=True", "reverse=False")
    return f"```python\ndef run(inputs):\n{how}\n```"


_BODIES: Sequence[tuple[str, str]] = (
    ("average", "    values = inputs['values']\n    return sum(values) / len(values)"),
    ("mean", "    values = inputs['values']\n    return sum(values) / len(values)"),
    (
        "median",
        "    values = sorted(inputs['values'])\n    middle = len(values) // 2\n    return (values[middle] + values[~middle]) / 2",
    ),
    ("sort", "    return sorted(inputs['values'], reverse=True)"),
    ("sum", "    values = inputs['values']\n    return sum(values)"),
    ("count", "    values = inputs['values']\n    return len(values)"),
    ("maxim", "    return max(inputs['values'])"),
)


def _words(reading: Reading, kind: Kind, skilled: bool, seed: int) -> str:
    faker, rng = seeded_faker(seed), Random(seed)
    found = keywords(reading.prose) or ["this"]
    if kind == "summary" and skilled:
        sentences = re.split(r"(?<=[.!?])\s+", reading.prose.strip())
        return " ".join(sentences[1:3] or sentences[:1])[:600]
    if kind == "classification":
        options = [word for word in found if word.islower()] or found
        return rng.choice(options) if not skilled else options[-1]
    if kind == "extraction" and skilled:
        names = re.findall(r"[\w.+-]+@[\w.-]+\w|\b[A-Z]\w+(?: [A-Z]\w+)*|\b\d[\d.,]*\b", reading.prose)
        return ", ".join(dict.fromkeys(names)) or "nothing found"
    if kind in ("lists", "plan"):
        size = rng.randint(3, 5)
        return "\n".join(f"{n}. {found[n % len(found)].capitalize()}: {faker.bs()}." for n in range(1, size + 1))
    count = rng.randint(2, 4)
    lines = [
        f"{found[n % len(found)].capitalize()}: {faker.catch_phrase().lower()} that helps to {faker.bs()}." for n in range(count)
    ]
    return " ".join(lines[:MAX_SENTENCES])
