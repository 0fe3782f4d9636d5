"""Generate, validate, correct the named issues up to N times, then one premium best effort. Issues left are returned, never hidden.

Called through compose.py. What can be checked by code is checked by code first (the schema); a model is asked for the rest.
"""

from __future__ import annotations

from dataclasses import replace

import orjson

from agents.llm.chat import ChatRequest
from agents.llm.prompts import render
from agents.records import AgentError, Choice, Draft, Single, StrategySpec, StructuredFailed, ValidationLoop, Work
from agents.schema_check import compile_schema
from agents.shaping import with_count
from agents.strategies.running import RunChild, say
from agents.toolbox import Toolbox

MAX_ISSUES = 10
MAX_ISSUE_CHARS = 300
CRITIQUE = {
    "type": "object",
    "properties": {"issues": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_ISSUES}},
    "required": ["issues"],
    "additionalProperties": False,
}


async def run(
    work: Work, spec: ValidationLoop, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild
) -> Draft:
    """See ``running.Runner``. Raises what the first generation raises unless it left something to correct."""
    draft = await _attempt(work, spec.generate, toolbox, choice, run_child, "generate")
    issues = await _issues(work, draft, spec, toolbox, choice)
    for number in range(spec.max_attempts):
        if not issues:
            break
        words = render("correct", previous=draft.text, issues=_listed(issues))
        draft = await _attempt(say(work, words), spec.correct or spec.generate, toolbox, choice, run_child, f"correct {number + 1}")
        issues = await _issues(work, draft, spec, toolbox, choice)
    if issues and spec.premium is not None:
        words = render("correct", previous=draft.text, issues=_listed(issues))
        draft = await _attempt(say(work, words), spec.premium, toolbox, choice, run_child, "premium")
        issues = await _issues(work, draft, spec, toolbox, choice)
    return replace(draft, issues=issues, complete=not issues)


async def _attempt(
    work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, run_child: RunChild, name: str
) -> Draft:
    """One generation. An answer that misses the schema is still something to correct."""
    toolbox.note("stage", name=name, strategy="validation")
    try:
        return await run_child(work, spec, toolbox, choice, visible=False)
    except StructuredFailed as error:
        if error.partial is None:
            raise
        return Draft(text=orjson.dumps(error.partial).decode(), data=error.partial, issues=(str(error),), complete=False)


async def _issues(
    work: Work, draft: Draft, spec: ValidationLoop, toolbox: Toolbox, choice: Choice
) -> tuple[str, ...]:
    """What is wrong: by the schema, and when that is satisfied by a critic."""
    found = list(draft.issues)
    if work.schema is not None:
        schema = work.schema if work.count is None else with_count(work.schema, work.count)
        found = compile_schema(schema).errors(draft.data)
    if not found:
        found = await _critique(work, draft, spec, toolbox, choice)
    return tuple(dict.fromkeys(issue[:MAX_ISSUE_CHARS] for issue in found[:MAX_ISSUES]))


async def _critique(
    work: Work, draft: Draft, spec: ValidationLoop, toolbox: Toolbox, choice: Choice
) -> list[str]:
    """A model's objections; none where no backend is good enough to be asked, which the trace says."""
    if not any("critique" in backend.capabilities for backend in toolbox.backends):
        toolbox.note("note", text="no backend can critique: only the schema was checked")
        return []
    rules = _listed((*spec.rules, *work.rules)) or "- It answers what was asked."
    asked = work.messages[-1].get("content") if work.messages else ""
    words = render("critique", request=str(asked)[:4000], rules=rules, answer=draft.text[:16_000])
    critic = spec.critic or Single(tier="premium")
    wanted = Choice(backend=critic.backend, tier=critic.tier, needs=frozenset({"critique"}))
    request = ChatRequest(messages=({"role": "user", "content": words},), schema=CRITIQUE, schema_name="critique")
    try:
        answer = await toolbox.ask_structured(request, wanted if choice.backend is None else choice)
    except AgentError as error:
        toolbox.note("note", text=f"the critic gave no verdict ({error.code})")
        return []
    return [str(issue) for issue in answer.data["issues"] if str(issue).strip()]


def _listed(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {item}" for item in items)
