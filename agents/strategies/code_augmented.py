"""What must be exact is computed: a model writes a program, the sandbox runs it, our own checks decide, words come from a model.

Called through compose.py, which hands it the whole count: a sample is drawn at once. Reaches models and the sandbox only through
the Toolbox. On failure, in this order: the program is repaired with the failing check, a simpler algorithm is asked for, another
model is asked, a person is asked (``Escalated``). An answer that fails its checks is never returned as complete, and one that
nothing of ours can check only where a second program, written independently, came to the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from agents import quality
from agents.llm.chat import ChatRequest
from agents.llm.prompts import render
from agents.programs import CodeFound, CodeUsed
from agents.quality.constraints import to_json
from agents.records import AgentError, BudgetExceeded, Choice, DeadlineExceeded, Draft, Escalated, InvalidRequest, Json, Work
from agents.shaping import compile_schema, with_count
from agents.strategies.attempts import Attempts, Step, confirming, question, steps
from agents.strategies.extraction import extract, joined
from agents.strategies.judging import schema_of
from agents.strategies.problem import Classified, Kind, classify, computing_kind, layout_of, names_statistics
from agents.strategies.program import (
    Judged,
    NoProgram,
    Problem,
    judge_run,
    problem_of,
    read_program,
    with_given,
    write_request,
)
from agents.strategies.reuse import with_known
from agents.strategies.runner import RunChild, choice_for, request_text, to_text
from agents.strategies.same_result import same_result
from agents.strategies.wording import with_words
from agents.strategy_specs import CodeAugmented
from agents.toolbox import Toolbox
from agents.verdicts import Constraint
from sandbox.records import MIB, Limits
from sandbox.records import Problem as RunProblem

MAX_OUTPUT_FACTOR: Final = 16
"""A long list may make so much more than one run of the sandbox may give by default."""
BYTES_PER_FIELD: Final = 64
MAX_NOTED_CHARS: Final = 4_000
MAX_PROBLEM_CHARS: Final = 4_000
_KIND_SCHEMA: Final = schema_of(
    kind={"type": "string", "enum": ["pattern", "computational", "hybrid"]}, reason={"type": "string"}
)
_PRIME: Final = 7_919


async def run(work: Work, spec: CodeAugmented, toolbox: Toolbox, choice: Choice, *, visible: bool, run_child: RunChild) -> Draft:
    """Never streamed but for a pattern: no number goes out before it was checked.

    Raises Escalated where a person must answer, and what the models raise where none of them could be asked.
    """
    found = await _classified(work, spec, toolbox, choice)
    if found.kind == "pattern":
        return await run_child(work, spec.pattern, toolbox, choice, visible=visible)
    whole = (
        work
        if work.schema is None or work.count is None
        else replace(work, schema=with_count(work.schema, work.count), count=None)
    )
    constraints, unread = await _constraints(whole, spec, toolbox, choice)
    layout = layout_of(whole.schema, constraints) if whole.schema is not None else None
    problem = problem_of(whole, layout, constraints)
    computed = await _computed(problem, spec, toolbox, choice)
    if spec.confirm and not problem.constraints and computed.code.how != "used":
        computed = await _confirmed(computed, problem, spec, toolbox, choice)
    if layout is None:
        return Draft(text=_shown(computed.value), backend=computed.backend, code=computed.code)
    data: Json = computed.value
    issues: tuple[str, ...] = ()
    if layout.wants_words:
        told = replace(whole, constraints=constraints)
        data, issues = await with_words(told, layout, data, spec.words, toolbox, choice, run_child)
    left = await asyncio.to_thread(_left, data, whole, constraints)
    toolbox.note("stage", name="check", state="failed" if left else "passed", of="the whole answer", issues=list(left))
    issues = tuple(dict.fromkeys((*left, *issues, *unread)))
    return Draft(
        text=to_text(data),
        data=data,
        issues=issues,
        complete=not (left or unread),
        backend="" if layout.wants_words else computed.backend,
        code=computed.code,
    )


# ── what kind of problem, and which conditions ──────────────────────────────────────────────────────────────────────────


async def _classified(work: Work, spec: CodeAugmented, toolbox: Toolbox, choice: Choice) -> Classified:
    found = classify(work)
    if not found.sure and spec.classifier is not None:
        found = await _asked_kind(work, found, spec, toolbox, choice)
    toolbox.note("stage", name="classify", state=found.kind, score=round(found.score, 2), why=list(found.reasons))
    return found


async def _asked_kind(work: Work, found: Classified, spec: CodeAugmented, toolbox: Toolbox, choice: Choice) -> Classified:
    assert spec.classifier is not None
    request = ChatRequest(
        messages=(
            {"role": "system", "content": render("code_kind")},
            {"role": "user", "content": request_text(work.messages, 20_000)},
        ),
        schema=_KIND_SCHEMA,
        schema_name="kind_of_problem",
    )
    try:
        said = (await toolbox.ask_structured(request, choice_for(spec.classifier, choice))).data
    except (DeadlineExceeded, BudgetExceeded):
        raise
    except AgentError as error:
        toolbox.note("note", text="no model could say what kind of problem it is", error=error.code)
        return replace(found, sure=True)
    kind: Kind = said["kind"]
    layout = layout_of(work.schema, work.constraints) if work.schema is not None else None
    if kind != "pattern":
        # What wants words follows from the form; a form of words alone leaves nothing to compute.
        kind = "computational" if layout is None else computing_kind(layout) if layout.computes else "pattern"
    return replace(found, kind=kind, sure=True, reasons=(*found.reasons, f"a model says: {said['reason'][:300]}"))


async def _constraints(
    work: Work, spec: CodeAugmented, toolbox: Toolbox, choice: Choice
) -> tuple[tuple[Constraint, ...], tuple[str, ...]]:
    """The declared constraints and those in the request's words, and what must be said where these could not be read."""
    if work.schema is None or spec.extractor is None or not names_statistics(work):
        return work.constraints, ()
    extracted = await extract(work, spec.extractor, toolbox, choice)
    constraints = joined(work.constraints, extracted.constraints)
    added = [one for one in extracted.constraints if one in constraints]
    toolbox.note("stage", name="constraints", state="read from the words", constraints=to_json(added))
    if extracted.heard:
        return constraints, tuple(f"nothing holds what the request says by {words}" for words in extracted.unread)
    if work.constraints:
        return constraints, ()
    return constraints, ("no model could read the conditions in the request's words, so that they were not checked",)


# ── the program ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Computed:
    value: Json
    backend: str
    code: CodeUsed


async def _computed(problem: Problem, spec: CodeAugmented, toolbox: Toolbox, choice: Choice) -> _Computed:
    """The result of a program that passed every check. Raises Escalated, or the models' error where none wrote a program."""
    tried = Attempts(found=with_known(await _searched(problem, toolbox), problem.work.known), searched=True)
    own = replace(choice_for(spec.code, choice), needs=choice.needs | {"code"})
    for number, (step, chosen) in enumerate(steps(spec, own, toolbox, tried, problem.work.known)):
        request = question(step, problem, tried)
        try:
            reply = await toolbox.ask(request, chosen)
        except (DeadlineExceeded, BudgetExceeded, InvalidRequest) as error:
            error.partial = error.partial if error.partial is not None else tried.best
            raise
        except AgentError as error:
            tried.error = error
            toolbox.note("code", step=step, state="failed", error=error.code)
            continue
        tried.hear(reply.text, reply.backend)
        judged, code = await try_program(reply.text, problem, step, toolbox, tried, seed=problem.work.index + _PRIME * number)
        if code is not None:
            return _Computed(value=judged.value, backend=tried.backend, code=code)
        tried.failures = judged.failures
        tried.best = judged.value if judged.value is not None else tried.best
    if not tried.asked and tried.error is not None:
        raise tried.error
    toolbox.note("stage", name="code", state="escalated", failures=list(tried.failures))
    raise Escalated(f"no program passed the checks; a person is asked: {'; '.join(tried.failures)[:600]}", partial=tried.best)


async def _confirmed(first: _Computed, problem: Problem, spec: CodeAugmented, toolbox: Toolbox, choice: Choice) -> _Computed:
    """The first result that two programs agree on, each written without knowledge of the others. One that follows the seed was
    drawn at random, and is left as it is. Raises Escalated where no two agree."""
    if await _follows_seed(first, problem, toolbox):
        toolbox.note("stage", name="confirm", state="left out", why="the result follows the seed: it was drawn at random")
        return first
    given, tried = [first], Attempts(best=first.value)
    own = replace(choice_for(spec.code, choice), needs=choice.needs | {"code"})
    for chosen in confirming(own, first.backend, toolbox):
        try:
            reply = await toolbox.ask(write_request(problem, simpler=chosen is own), chosen)
        except (DeadlineExceeded, BudgetExceeded) as error:
            error.partial = first.value
            raise
        except AgentError as error:
            toolbox.note("code", step="confirm", state="failed", error=error.code)
            continue
        tried.backend = reply.backend
        judged, code = await try_program(reply.text, problem, "confirm", toolbox, tried, seed=first.code.seed)
        if code is None:
            continue
        agreed = next((one for one in given if same_result(one.value, judged.value)), None)
        if agreed is not None:
            toolbox.note("stage", name="confirm", state="passed", by=[agreed.backend, reply.backend])
            return agreed
        given.append(_Computed(value=judged.value, backend=reply.backend, code=code))
    toolbox.note("stage", name="confirm", state="escalated", results=[_shown(one.value)[:200] for one in given])
    raise Escalated(f"no two of {len(given)} programs came to the same result; a person is asked", partial=first.value)


async def _follows_seed(first: _Computed, problem: Problem, toolbox: Toolbox) -> bool:
    inputs = {**first.code.inputs, "seed": (first.code.seed + 1) % 2**31}
    result = await toolbox.run_code(first.code.code, inputs, _limits(problem, toolbox))
    drawn = await asyncio.to_thread(judge_run, problem, result)
    return not drawn.failures and not same_result(drawn.value, first.value)


async def try_program(
    text: str, problem: Problem, step: Step, toolbox: Toolbox, tried: Attempts, *, seed: int
) -> tuple[Judged, CodeUsed | None]:
    """One program read, run and judged, all of it in the trace; and the program where its result passed every check."""
    try:
        program = with_given(read_program(text, tried.found), problem)
    except NoProgram as error:
        toolbox.note("code", step=step, backend=tried.backend, state="no program", error=str(error))
        return Judged(value=None, failures=(str(error),)), None
    toolbox.note(
        "code",
        step=step,
        backend=tried.backend,
        how=program.how,
        artifact=program.artifact,
        also=list(program.also),
        parameters=dict(program.parameters),
        code=program.code[:MAX_NOTED_CHARS],
    )
    code = CodeUsed(
        code=program.code,
        parameters=program.parameters,
        count=problem.total or 1,
        seed=seed % 2**31,
        constraints=problem.constraints,
        schema=problem.schema,
        artifact=program.artifact,
        also=program.also,
        how=program.how,
        improvements=program.improvements,
    )
    result = await toolbox.run_code(code.code, code.inputs, _limits(problem, toolbox))
    if result.problem is RunProblem.UNAVAILABLE:
        raise Escalated(f"code cannot be run here, so that a person is asked: {result.error[:400]}", partial=tried.best)
    judged = await asyncio.to_thread(judge_run, problem, result)
    overruled = judged.failures if judged.only_own and tried.doubted else ()
    tried.doubted = tried.doubted or judged.only_own
    if overruled:
        toolbox.note("note", text="the program's own checks are overruled: every constraint holds", problems=list(overruled[:5]))
        judged = replace(judged, failures=())
    if result.ok:
        said = [f"{one.name}: {one.detail}" if one.detail else one.name for one in judged.checks]
        state = "failed" if judged.failures else "passed"
        toolbox.note("stage", name="check", state=state, checks=said, failures=list(judged.failures))
    if judged.failures and tried.failures and code.how == "used":
        tried.found = replace(tried.found, candidates=())  # handed back although it had failed: it leads its reader astray
    _note_evidence(code, tried, toolbox, passed=not judged.failures, latency_s=result.wall_s)
    return judged, None if judged.failures else replace(code, latency_s=result.wall_s)


def _note_evidence(code: CodeUsed, tried: Attempts, toolbox: Toolbox, *, passed: bool, latency_s: float) -> None:
    """What the daemon adds up: how a version of the registry did, and how new code does before there is a standard, with one that
    its writer was shown, and with one that was held back."""
    if code.how == "used":
        toolbox.note("code", state="ran", artifact=code.artifact, ok=passed, latency_s=latency_s)
    elif tried.searched and not tried.failures:
        toolbox.note("code", state="wrote", standard=tried.found.standard, guided=bool(tried.found.guidance), ok=passed)


async def _searched(problem: Problem, toolbox: Toolbox) -> CodeFound:
    """What the registry offers for the problem: code of others that may be used or modified instead of written anew."""
    found = await toolbox.search_code(request_text(problem.work.messages, MAX_PROBLEM_CHARS))
    if found.candidates or found.standard:
        versions = [each.version for each in found.candidates]
        toolbox.note("code", state="searched", found=versions, standard=found.standard, guided=bool(found.guidance))
    return found


def _limits(problem: Problem, toolbox: Toolbox) -> Limits:
    limits = toolbox.code_limits
    fields = len(problem.layout.computed) + 1 if problem.layout else 1
    wanted = (problem.total or 1) * fields * BYTES_PER_FIELD
    most = min(MAX_OUTPUT_FACTOR * limits.output_bytes, 64 * MIB)
    return replace(limits, output_bytes=max(limits.output_bytes, min(wanted, most)))


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _left(data: Json, work: Work, constraints: Sequence[Constraint]) -> tuple[str, ...]:
    """What the whole answer fails: its form, its constraints."""
    assert work.schema is not None
    found = quality.issues(quality.check(data, schema=work.schema, constraints=constraints))
    return tuple(dict.fromkeys((*compile_schema(work.schema).errors(data)[:5], *found)))


def _shown(value: Json) -> str:
    """A result for a client that wants words."""
    return value if isinstance(value, str) else to_text(value)
