"""What models are asked about code of the registry, and how their answers are read: verdicts, revisions, principles, standards.

Called by the daemon's reviewing chores. Pure. Answers are hostile: every one is validated and bounded here before
anything is decided. Must not import runtime.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agents.llm.prompts import render
from agents.records import Json
from agents.strategies.program import NoProgram, read_program

ROLES: Final = ("security", "quality", "performance")
"""In the order in which they are asked: what is not secure is worth no further look."""
REVIEW: Final = "code_review"
PRINCIPLES: Final = "principles"
STANDARD: Final = "coding_standard"
MAX_CODE_CHARS: Final = 24_000
MAX_PROBLEM_CHARS: Final = 2_000

_RULES: Final = re.compile(r"^(?:```rules\b.*?^```[ \t]*$|- Keep the rule \w+[^\n]*$)\n?", re.M | re.S)
_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True)


F = TypeVar("F", bound=_Form)


class Verdict(_Form):
    """One reviewer's verdict as a model writes it."""

    opinion: Literal["accept", "revise", "reject"]
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    secure: bool
    concerns: Annotated[list[_Line], Field(max_length=10)] = []
    strengths: Annotated[list[_Line], Field(max_length=10)] = []
    required_changes: Annotated[list[_Line], Field(max_length=10)] = []


class Principles(_Form):
    """What made a breakthrough work."""

    principles: Annotated[list[_Line], Field(min_length=1, max_length=6)]


class Text(_Form):
    """A text as its author changed it."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8_000)]


class RuleWanted(_Form):
    """One machine check that a standard asks for."""

    check: Annotated[str, StringConstraints(max_length=40)]
    most: Annotated[int, Field(ge=0, le=100_000)] | None = None


class Standard(_Form):
    """A coding standard as a model distils it."""

    practices: Annotated[list[_Line], Field(min_length=1, max_length=10)]
    rules: Annotated[list[RuleWanted], Field(max_length=20)] = []


_LINES: Final[Mapping[str, Json]] = {"type": "array", "items": {"type": "string", "maxLength": 300}, "maxItems": 10}
REVIEW_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "opinion": {"type": "string", "enum": ["accept", "revise", "reject"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "secure": {"type": "boolean"},
        "concerns": _LINES,
        "strengths": _LINES,
        "required_changes": _LINES,
    },
    "required": ["opinion", "score", "secure", "concerns", "strengths", "required_changes"],
}
PRINCIPLES_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {"principles": {**_LINES, "minItems": 1, "maxItems": 6}},
    "required": ["principles"],
}
STANDARD_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "practices": {**_LINES, "minItems": 1},
        "rules": {
            "type": "array",
            "maxItems": 20,
            "items": {
                "type": "object",
                "properties": {"check": {"type": "string", "maxLength": 40}, "most": {"type": "integer", "minimum": 0}},
                "required": ["check"],
            },
        },
    },
    "required": ["practices", "rules"],
}


TEXT_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 8_000}},
    "required": ["text"],
}


class Unusable(ValueError):
    """An answer that cannot be used; the message says what is wrong with it."""


def verdict_of(data: Json) -> Verdict:
    """Raises Unusable."""
    return _read(Verdict, data)


def principles_of(data: Json) -> Principles:
    """Raises Unusable."""
    return _read(Principles, data)


def standard_of(data: Json) -> Standard:
    """Raises Unusable."""
    return _read(Standard, data)


def _read(form: type[F], data: Json) -> F:
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise Unusable(f"{place}: {first['msg']}"[:300]) from None


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def review_task(*, problem: str, parameters: Mapping[str, Json], code: str, runs: str, checks: str, history: str) -> str:
    """What a reviewer of any role is shown; its role is the system prompt of its node (``review_ROLE``)."""
    return render(
        "review_task",
        problem=problem[:MAX_PROBLEM_CHARS],
        parameters=orjson.dumps(dict(parameters)).decode()[:MAX_PROBLEM_CHARS],
        code=fenced(code),
        runs=runs,
        checks=checks,
        history=history,
    )


def review_text_task(*, problem: str, text: str, checks: str, history: str) -> str:
    """The same for a standard or for principles."""
    shown = text[:MAX_CODE_CHARS].replace("</text>", "")
    return render("review_text", problem=problem[:MAX_PROBLEM_CHARS], code=shown, checks=checks, history=history)


def revise_task(*, problem: str, code: str, changes: Sequence[str]) -> str:
    """What an author is asked when reviewers want changes."""
    listed = "\n".join(f"- {change}" for change in changes)
    asked = render("code_revise_task", problem=problem[:MAX_PROBLEM_CHARS], code=fenced(code), changes=listed)
    return f"{render('code_revise')}\n\n{asked}"


def revise_text_task(*, problem: str, text: str, changes: Sequence[str]) -> str:
    """The same of a standard, of principles, of guidance."""
    shown = text[:MAX_CODE_CHARS].replace("</text>", "").strip()
    listed = "\n".join(f"- {change}" for change in changes)
    return render("text_revise", problem=problem[:MAX_PROBLEM_CHARS], text=shown, changes=listed)


def principles_task(*, before: str, after: str, gains: str) -> str:
    """What is asked about a breakthrough."""
    shown = f"Before:\n```python\n{fenced(before)}```\n\nAfter ({gains}):\n```python\n{fenced(after)}```"
    return f"{render('principles')}\n\n{shown}"


def standard_task(*, good: Sequence[str], failures: Sequence[str], checks: Mapping[str, int]) -> str:
    """What is asked of the advisor. ``good`` are programs that passed again and again."""
    left, shown = MAX_CODE_CHARS, []
    for code in good:
        if len(code) <= left:
            shown.append(f"```python\n{fenced(code)}```")
            left -= len(code)
    listed = "\n".join(f"- {failure[:300]}" for failure in failures[:20]) or "- none that is known"
    named = ", ".join(f"{name} (bound {most})" if most else name for name, most in checks.items())
    programs = "\n\n".join(shown)
    return f"{render('standard')}\n\nMachine checks: {named}\n\nWhat failed:\n{listed}\n\nSuccessful programs:\n{programs}"


def fenced(code: str) -> str:
    """Code that cannot end the fence that it is shown in."""
    return re.sub(r"^```", "'''", code[:MAX_CODE_CHARS], flags=re.M).rstrip("\n") + "\n"


def revised_code(text: str) -> str:
    """The whole program of an author's answer. Raises Unusable."""
    try:
        return read_program(text).code
    except NoProgram as error:
        raise Unusable(str(error)) from None


def revised_text(data: Json, kept: str) -> str:
    """The whole text of an author's answer, with what machines read of the old one at its end. Raises Unusable."""
    said = _RULES.sub("", _read(Text, data).text).replace("<text>", "").replace("</text>", "").strip()
    if not said:
        raise Unusable("text: nothing is left of it")
    return f"{said}\n{kept}"
