"""Stages in sequence: each sees the request and what came before, builds on it, may be skipped, and must pass its gate.

Called through compose.py. Reaches models only through the Toolbox.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agents.llm.prompts import render
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, StructuredFailed, Work
from agents.strategies.form import invalid
from agents.strategies.gates import Failing, corrected, drafted, failing, failing_by_rule, names_of, wanted
from agents.strategies.merging import same_answer
from agents.strategies.per_item import Listed, listed, run_items
from agents.strategies.runner import RunChild, inner, joined_issues, quoted, with_user
from agents.strategy_specs import Gate, Pipeline, Stage
from agents.toolbox import Toolbox

OLDER_CHARS = 4_000
"""How much of a result is shown once a later stage has built on it."""
MAX_MESSAGE_CHARS = 1_000


@dataclass(slots=True, kw_only=True)
class _Line:
    """One run. ``open`` are gates that were not passed and that let through all the same, with what they found."""

    work: Work
    toolbox: Toolbox
    choice: Choice
    run_child: RunChild
    total: int
    drafts: list[tuple[Stage, Draft]] = field(default_factory=list)
    open: list[tuple[Stage, Gate, Failing]] = field(default_factory=list)
    issues: list[str] = field(default_factory=list)

    @property
    def known(self) -> Draft | None:
        return self.drafts[-1][1] if self.drafts else None

    def note(self, stage: Stage, number: int, state: str, **more: object) -> None:
        self.toolbox.note("stage", name=stage.name, number=number, of=self.total, state=state, **more)


async def run(work: Work, spec: Pipeline, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """Run every stage that is not skipped; the last one's answer is the client's.

    A gate that stops it, and time or money that ends after the first stage, leave a partial draft that says so. A stage that
    fails otherwise raises its error, which names the stage, with the work so far as ``partial``. Issues that gates let through
    are the draft's, unless a later stage mended them.
    """
    line = _Line(work=work, toolbox=toolbox, choice=choice, run_child=run_child, total=len(spec.stages))
    for number, stage in enumerate(spec.stages, start=1):
        items = listed(work, line.known) if stage.per_item and line.known is not None else None
        if items is None and not _runs(line, stage, number):
            continue
        line.note(stage, number, "begun")
        try:
            draft = await _staged(line, stage, number, items, visible=visible)
        except (DeadlineExceeded, BudgetExceeded) as error:
            line.note(stage, number, "failed", error=error.code)
            if line.known is None or toolbox.delivered:
                _leave(error, line)
                raise
            return _stopped(line, f"it ended before stage {stage.name!r} ({number} of {line.total}) was done: {error.message}")
        except AgentError as error:
            line.note(stage, number, "failed", error=error.code)
            _leave(error, line)
            error.message = f"stage {stage.name!r} ({number} of {line.total}): {error.message}"[:MAX_MESSAGE_CHARS]
            raise
        changed = line.known is None or not same_answer(draft, line.known)
        line.note(stage, number, "done", issues=list(draft.issues), useful={f"stage:{stage.name}": changed})
        line.drafts.append((stage, draft))
        if stage.gate is not None and not await _passes(line, stage, stage.gate, number):
            return _stopped(line, f"it was stopped at the gate of stage {stage.name!r} ({number} of {line.total})")
    return _ended(line)


def _runs(line: _Line, stage: Stage, number: int) -> bool:
    run, problem = wanted(stage.when, names_of(line.work, line.known) if stage.when is not None else {})
    if problem is not None:
        line.issues.append(f"stage {stage.name!r}: {problem}")
    if not run:
        line.note(stage, number, "skipped", when=stage.when)
    return run


async def _staged(line: _Line, stage: Stage, number: int, items: Listed | None, *, visible: bool) -> Draft:
    if items is not None and line.known is not None:
        return await run_items(stage, line.work, line.known, items, line.toolbox, line.choice, line.run_child)
    last = number == line.total
    given = with_user(line.work if last else inner(line.work), _told(stage, number, line.total, line.drafts))
    if stage.gate is None:
        return await line.run_child(given, stage.strategy, line.toolbox, line.choice, visible=visible and last)
    # What a gate may still change must not be on the client's screen yet.
    return await drafted(given, stage.strategy, line.toolbox, line.choice, line.run_child, visible=False)


async def _passes(line: _Line, stage: Stage, gate: Gate, number: int) -> bool:
    """Whether the pipeline goes on. The newest draft is replaced by its correction, or carries what it fails."""
    draft = line.drafts[-1][1]
    found = await failing(gate, line.work, draft, line.toolbox, line.choice)
    told: dict[str, object] = {"useful": {f"gate:{stage.name}": bool(found.all)}}
    if found.all and gate.on_fail == "correct":
        line.note(stage, number, "gate", issues=list(found.all), on_fail=gate.on_fail, **told)
        told = {}
        given = inner(line.work)
        draft, found = await corrected(gate, stage.strategy, given, draft, found, line.toolbox, line.choice, line.run_child)
    passed = not found.all
    line.issues += [f"after stage {stage.name!r}: {words}" for words in found.unheard]
    line.note(stage, number, "gate", issues=list(found.all), passed=passed, **told)
    line.drafts[-1] = (stage, replace(draft, issues=joined_issues(found.all, draft.issues)))
    if not passed and gate.on_fail == "continue":
        line.open.append((stage, gate, found))
        return True
    return passed


def _ended(line: _Line) -> Draft:
    if line.known is None:
        raise invalid("strategy.pipeline", "every stage was skipped by its 'when', so there is no answer")
    draft = line.known
    by_rule: list[str] = []
    said: list[str] = []
    for stage, gate, found in line.open:
        by_rule += failing_by_rule(gate, line.work, draft)
        said += [f"after stage {stage.name!r}: {issue}" for issue in found.voiced]
    known = line.open[-1][2].all if line.open and line.drafts[-1][0] is line.open[-1][0] else ()
    issues = joined_issues(line.issues, by_rule, said, [issue for issue in draft.issues if issue not in known])
    return _whole(replace(draft, issues=issues, complete=draft.complete and not by_rule))


def _stopped(line: _Line, why: str) -> Draft:
    assert line.known is not None
    draft = line.known
    line.toolbox.note("note", text=f"partial: {why}")
    return _whole(replace(draft, complete=False, issues=joined_issues((f"partial: {why}",), line.issues, draft.issues)))


def _whole(draft: Draft) -> Draft:
    if not draft.text and draft.message is None:
        raise StructuredFailed(f"no valid answer: {'; '.join(draft.issues)[:500]}", partial=draft.data)
    return draft


def _leave(error: AgentError, line: _Line) -> None:
    """The work so far goes along with the error."""
    if error.partial is None and line.known is not None:
        error.partial = line.known.data if line.known.data is not None else line.known.text


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
