"""Stages in sequence: each sees the request and what came before, and builds on it.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from agents.llm.prompts import render
from agents.records import AgentError, Choice, Draft, Work
from agents.strategies.runner import RunChild, inner, joined_issues, quoted, with_user
from agents.strategy_specs import Pipeline, Stage
from agents.toolbox import Toolbox

OLDER_CHARS = 4_000
"""How much of a result is shown once a later stage has built on it."""


async def run(work: Work, spec: Pipeline, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """Run every stage; the last one's answer is the client's. A stage that fails ends it, with the work so far as ``partial``."""
    drafts: list[tuple[Stage, Draft]] = []
    total = len(spec.stages)
    for number, stage in enumerate(spec.stages, start=1):
        last = number == total
        toolbox.note("stage", name=stage.name, number=number, of=total, state="begun")
        given = with_user(work if last else inner(work), _told(stage, number, total, drafts))
        try:
            draft = await run_child(given, stage.strategy, toolbox, choice, visible=visible and last)
        except AgentError as error:
            toolbox.note("stage", name=stage.name, number=number, of=total, state="failed", error=error.code)
            if error.partial is None and drafts:
                error.partial = drafts[-1][1].data if drafts[-1][1].data is not None else drafts[-1][1].text
            raise
        toolbox.note("stage", name=stage.name, number=number, of=total, state="done", issues=list(draft.issues))
        drafts.append((stage, draft))
    return drafts[-1][1]


def _told(stage: Stage, number: int, total: int, drafts: list[tuple[Stage, Draft]]) -> str:
    values = {"name": stage.name, "number": str(number), "total": str(total), "instruction": stage.prompt or ""}
    if not drafts:
        return render("stage_first", **values).strip()
    parts = []
    for place, (earlier, draft) in enumerate(drafts):
        text = quoted(draft) if place == len(drafts) - 1 else quoted(draft, OLDER_CHARS)
        issues = "".join(f"\n- known defect: {issue}" for issue in joined_issues(draft.issues))
        parts.append(f'"{earlier.name}":\n{text}{issues}')
    return render("stage", before="\n\n".join(parts), **values)
