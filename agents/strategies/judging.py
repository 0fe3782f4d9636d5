"""What is wrong with a draft, and how good it is: first by rule, then in the words of a model with a task of its own.

Called by the strategies that check (pipeline gates, validation, consensus, self-dialogue, self-healing). Reaches models only
through the Toolbox.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from agents import quality
from agents.llm.chat import ChatRequest
from agents.llm.prompts import render
from agents.quality.constraints import within
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, Json, Work
from agents.shaping import compile_schema
from agents.strategies.runner import choice_for, joined_issues, quoted, request_text
from agents.strategy_specs import Single
from agents.toolbox import Toolbox

MAX_VOICED: Final = 10
MAX_ISSUE_CHARS: Final = 500
_EMAIL: Final = compile_schema({"type": "string", "format": "email"})
_NOT_NEGATIVE: Final = frozenset({"age", "price", "quantity", "count", "stock"})


def schema_of(**properties: Json) -> dict[str, Json]:
    """An object of exactly these fields, all required."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_TEXTS: Final[dict[str, Json]] = {"type": "array", "items": {"type": "string"}, "maxItems": MAX_VOICED}
CRITIQUE_SCHEMA: Final = schema_of(issues=_TEXTS)
DETECTION_SCHEMA: Final = schema_of(
    issues={
        "type": "array",
        "maxItems": MAX_VOICED,
        "items": schema_of(path={"type": "string"}, problem={"type": "string"}, fix={"type": "string"}),
    }
)
SCORE_SCHEMA: Final = schema_of(score={"type": "number", "minimum": 0, "maximum": 1}, issues=_TEXTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A kind of reader: its prompt, and the form and the name of what it says.

    ``able``: only a backend that can judge is asked. ``own``: the model that answers speaks of its own answer.
    """

    prompt: str
    schema: dict[str, Json]
    name: str
    able: bool = True
    own: bool = False


CRITIC: Final = Voice(prompt="critique", schema=CRITIQUE_SCHEMA, name="critique")
STYLE: Final = Voice(prompt="style", schema=CRITIQUE_SCHEMA, name="style", able=False)
DETECTOR: Final = Voice(prompt="detect", schema=DETECTION_SCHEMA, name="detection")
JUDGE: Final = Voice(prompt="judge", schema=SCORE_SCHEMA, name="judgement")


# ── with a model ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def listen(
    voice: Voice, work: Work, draft: Draft, toolbox: Toolbox, choice: Choice, *, spec: Single | None = None, **values: str
) -> Json | None:
    """What a model says of ``draft`` as JSON of the voice's schema; ``values`` go into its prompt.

    None when no backend can judge, when it failed, or when time or money has ended, which the trace says: a reader that is
    missing must not cost the answer.
    """
    if not available(voice, toolbox, choice):
        return None
    only = choice.backend if not choice.fallback else None
    rules = "\n".join(f"Rule: {rule}" for rule in work.rules)
    own = spec.prompt if spec is not None and spec.prompt else ""
    question = render("critique_question", request=request_text(work.messages), answer=quoted(draft))
    request = ChatRequest(
        messages=(
            {"role": "system", "content": f"{render(voice.prompt, rules=rules, **values)}\n{own}".strip()},
            {"role": "user", "content": question},
        ),
        schema=voice.schema,
        schema_name=voice.name,
    )
    # The backend that a client prefers for the answer is no reason to let it judge itself, unless it may be the only one asked.
    free = choice if only or voice.own else replace(choice, backend=None)
    asked = choice_for(spec or Single(tier="quality"), free)
    if voice.able:
        asked = replace(asked, needs=asked.needs | {"critique"})
    try:
        return (await toolbox.ask_structured(request, asked)).data
    except (DeadlineExceeded, BudgetExceeded) as error:
        toolbox.note("note", text=f"the {voice.name} was not asked", error=error.code)
    except AgentError as error:
        toolbox.note("note", text=f"the {voice.name} failed", error=error.code)
    return None


def available(voice: Voice, toolbox: Toolbox, choice: Choice) -> bool:
    """Whether any backend that may be asked can speak with this voice."""
    only = choice.backend if not choice.fallback else None
    able = [backend for backend in toolbox.backends if not voice.able or "critique" in backend.capabilities]
    return any(only in (None, backend.name, *backend.aliases) for backend in able)


def unheard(voice: Voice, toolbox: Toolbox, choice: Choice) -> tuple[str, ...]:
    """What a client should know of an answer whose reader could have been heard and was not."""
    words = f"no model could be heard for the {voice.name}; only rules have checked this answer"
    return (words,) if available(voice, toolbox, choice) else ()


async def voiced(
    voice: Voice, work: Work, draft: Draft, toolbox: Toolbox, choice: Choice, *, spec: Single | None = None
) -> tuple[str, ...] | None:
    """The issues that a model names, bounded; None when it could not be heard."""
    heard = await listen(voice, work, draft, toolbox, choice, spec=spec)
    return None if heard is None else issues_in(heard)


def issues_in(heard: Json) -> tuple[str, ...]:
    """``issues`` of what a voice said, as texts: what is wrong, where, and what would be right. Pure."""
    found = heard.get("issues") if isinstance(heard, dict) else None
    words = []
    for one in (found if isinstance(found, list) else [])[:MAX_VOICED]:
        text = _detected(one) if isinstance(one, dict) else one
        if isinstance(text, str) and text.strip():
            words.append(text.strip()[:MAX_ISSUE_CHARS])
    return joined_issues(words)


def _detected(issue: Mapping[str, Json]) -> str:
    path, problem, fix = (str(issue.get(key) or "").strip() for key in ("path", "problem", "fix"))
    return f"{path}: {problem}".removeprefix(": ") + (f" ({fix})" if fix else "") if problem else ""


# ── what needs no model ─────────────────────────────────────────────────────────────────────────────────────────────────


def score_of(work: Work, draft: Draft) -> float:
    """0 to 1, by rule: the share of checks that the draft passes (schema, constraints), 0 for an empty one. Pure."""
    if not draft.text.strip() and draft.data is None and draft.message is None:
        return 0.0
    constraints = within(work.constraints, work.schema)
    return quality.check(draft.data, schema=work.schema, constraints=constraints, text=draft.text).score


def checked(work: Work, draft: Draft) -> tuple[str, ...]:
    """Defects that rules find: against the schema and its formats, the declared constraints, plainly wrong values, an answer cut
    short or empty. Pure."""
    issues: list[str] = []
    if draft.finish_reason == "length":
        issues.append("the answer was cut short at its length limit")
    if work.schema is not None:
        if draft.data is None and not draft.text:
            return (*draft.issues, "there is no answer")
        issues.extend(compile_schema(work.schema).errors(draft.data))
        issues.extend(issue for issue, _ in zip(_implausible(draft.data, "", 0), range(20), strict=False))
    elif not draft.text.strip() and draft.message is None:
        issues.append("the answer is empty")
    if work.constraints and (draft.data is not None or work.schema is None):
        constraints = within(work.constraints, work.schema)
        issues.extend(quality.issues(quality.check(draft.data, constraints=constraints, text=draft.text)))
    return joined_issues(issues)


def defects(work: Work, draft: Draft) -> tuple[str, ...]:
    """What rules find; where they find nothing, what a partial draft says of itself. Pure."""
    return checked(work, draft) or (() if draft.complete else joined_issues(draft.issues))


def _implausible(value: Json, path: str, depth: int) -> Iterator[str]:
    """Values that contradict their field's name, whatever the schema says: a broken e-mail address, a negative age."""
    if depth > 64:
        return
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _implausible(item, f"{path}/{place}".lstrip("/"), depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            where, name = f"{path}/{key}".lstrip("/"), key.lower()
            if isinstance(item, dict | list):
                yield from _implausible(item, where, depth + 1)
            elif name.endswith("email") and isinstance(item, str) and not _EMAIL.is_valid(item):
                yield f'{where}: "{item[:80]}" is not an e-mail address'
            elif name in _NOT_NEGATIVE and isinstance(item, int | float) and item < 0:
                yield f"{where}: {item} must not be negative"
