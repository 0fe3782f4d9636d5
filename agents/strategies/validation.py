"""Generate, validate, correct, and validate again: what can be checked by rule is checked by rule, a model judges the rest.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from agents import quality
from agents.constraints import within
from agents.llm.chat import ChatRequest
from agents.llm.prompts import render
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, Json, StructuredFailed, Work
from agents.shaping import compile_schema
from agents.strategies.runner import RunChild, choice_for, joined_issues, quoted, request_text, to_text, with_user
from agents.strategy_specs import Single, StrategySpec, ValidationLoop
from agents.toolbox import Toolbox

CRITIQUE_SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "properties": {"issues": {"type": "array", "items": {"type": "string"}, "maxItems": 10}},
    "required": ["issues"],
    "additionalProperties": False,
}
_EMAIL: Final = compile_schema({"type": "string", "format": "email"})
_NOT_NEGATIVE: Final = frozenset({"age", "price", "quantity", "count", "stock"})


async def run(work: Work, spec: ValidationLoop, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """At most ``max_attempts`` corrections, then the premium best effort. The draft with the fewest issues is returned.

    Never streamed: no word goes out before it was checked. Raises what the generator raises, but for a structured answer that
    never became valid, which is what the corrector is for; time or money that ends in the loop ends the loop, not the request.
    """
    rules = joined_issues(work.rules, spec.rules)
    work = replace(work, rules=rules)
    draft = await _generated(work, spec.generate, toolbox, choice, run_child)
    draft = await _judged(work, spec, draft, toolbox, choice, attempt=0)
    best = draft
    corrector = spec.correct or spec.generate
    steps: list[tuple[str, StrategySpec]] = [("correct", corrector)] * spec.max_attempts
    if spec.premium is not None:
        steps.append(("premium", spec.premium))
    for attempt, (name, strategy) in enumerate(steps, start=1):
        if not best.issues:
            break
        toolbox.note("stage", name=name, attempt=attempt, issues=list(draft.issues))
        try:
            draft = await _corrected(work, draft, strategy, toolbox, choice, run_child)
            draft = await _judged(work, spec, draft, toolbox, choice, attempt=attempt)
        except (DeadlineExceeded, BudgetExceeded):
            toolbox.note("stage", name=name, attempt=attempt, state="failed", error="out of time or budget")
            break
        except AgentError as error:
            toolbox.note("stage", name=name, attempt=attempt, state="failed", error=error.code)
            continue
        if len(draft.issues) <= len(best.issues):
            best = draft
    return _ended(best)


def _ended(best: Draft) -> Draft:
    if not best.text:
        raise StructuredFailed(f"no valid answer: {'; '.join(best.issues)[:500]}", partial=best.data)
    return best


async def _generated(work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild) -> Draft:
    toolbox.note("stage", name="generate", attempt=0)
    try:
        return await run_child(work, spec, toolbox, choice, visible=False)
    except StructuredFailed as error:
        text = "" if error.partial is None else to_text(error.partial)
        return Draft(text=text, data=error.partial, issues=(error.message,), complete=False)


async def _corrected(
    work: Work, draft: Draft, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild
) -> Draft:
    words = "\n".join(f"- {issue}" for issue in draft.issues)
    text = render("correct", answer=quoted(draft) or "(nothing came)", issues=words)
    return await run_child(with_user(work, text), spec, toolbox, choice, visible=False)


async def _judged(work: Work, spec: ValidationLoop, draft: Draft, toolbox: Toolbox, choice: Choice, *, attempt: int) -> Draft:
    """The draft with the issues that it has now. The critic is asked only about what the rules find nothing in."""
    issues = checked(work, draft)
    critic = "not asked"
    if not issues:
        found = await _critique(work, spec, draft, toolbox, choice)
        critic = "not available" if found is None else "asked"
        issues = found or ()
    toolbox.note("stage", name="validate", attempt=attempt, issues=list(issues), critic=critic)
    return replace(
        draft, issues=issues, complete=draft.complete and not (draft.data is not None and issues and critic == "not asked")
    )


async def _critique(work: Work, spec: ValidationLoop, draft: Draft, toolbox: Toolbox, choice: Choice) -> tuple[str, ...] | None:
    """What a model finds; None when no backend can judge or the critic itself failed, which the trace says."""
    judges = [backend for backend in toolbox.backends if "critique" in backend.capabilities]
    only = choice.backend if not choice.fallback else None
    if not any(only in (None, backend.name, *backend.aliases) for backend in judges):
        return None
    rules = "\n".join(f"Rule: {rule}" for rule in work.rules)
    own = spec.critic.prompt if spec.critic is not None and spec.critic.prompt else ""
    question = render("critique_question", request=request_text(work.messages), answer=quoted(draft))
    request = ChatRequest(
        messages=(
            {"role": "system", "content": f"{render('critique', rules=rules)}\n{own}".strip()},
            {"role": "user", "content": question},
        ),
        schema=CRITIQUE_SCHEMA,
        schema_name="critique",
    )
    # The backend that a client prefers for the answer is no reason to let it judge itself, unless it may be the only one asked.
    asked = choice_for(spec.critic or Single(tier="quality"), choice if only else replace(choice, backend=None))
    try:
        answer = await toolbox.ask_structured(request, replace(asked, needs=asked.needs | {"critique"}))
    except (DeadlineExceeded, BudgetExceeded):
        return None
    except AgentError as error:
        toolbox.note("note", text="the critic failed", error=error.code)
        return None
    found = answer.data.get("issues", ()) if isinstance(answer.data, dict) else ()
    return tuple(issue.strip()[:500] for issue in found if isinstance(issue, str) and issue.strip())[:10]


# ── what needs no model ─────────────────────────────────────────────────────────────────────────────────────────────────


def checked(work: Work, draft: Draft) -> tuple[str, ...]:
    """Defects that rules find: against the schema and its formats, constraints, plainly wrong values, an answer cut short or
    empty. Pure."""
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
