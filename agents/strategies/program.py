"""A program that a model wrote: asked for, read out of its answer, and what came of a run held against what was asked. Pure.

Called by code_augmented.py. The code is data here: it is run by the sandbox alone, and what it says of itself counts only against
it. Must not import a backend, a sandbox's runner or runtime.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from agents import quality
from agents.llm.chat import ChatRequest
from agents.llm.prompts import render
from agents.programs import CodeFound, How
from agents.quality.constraints import to_json, to_rules, within
from agents.records import InvalidRequest, Json, Work
from agents.shaping import array_path, compile_schema, conform, sub_schema
from agents.strategies.candidates import combined, improvements_of, offered, picked, same_code, told
from agents.strategies.givens import given_parameters, sketch
from agents.strategies.problem import Layout
from agents.strategies.runner import request_text
from agents.verdicts import Check, Constraint
from sandbox.records import MAX_SOURCE_BYTES, RunResult

MAX_PARAMETERS: Final = 60
MAX_PARAMETER_BYTES: Final = 20_000
MAX_FAILURES: Final = 12
MAX_FAILURE_CHARS: Final = 500
MAX_SELF_CHECKS: Final = 50
_BLOCK: Final = re.compile(r"```([A-Za-z0-9_+-]*)[ \t]*\r?\n(.*?)```", re.S)
_YES_OR_NO: Final = re.compile(
    r"\b(?:whether|if|is|are|was|were|do|does|did|can|could|has|have|will|check|verify|test|true|false|yes)\b", re.I
)
_OWN_INPUTS: Final = ("count", "seed")
NOTHING: Final = CodeFound()


class NoProgram(ValueError):
    """The answer holds no usable program; the message says what is missing, in words for its author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """``code`` defines ``run(inputs)``; ``parameters`` are its named inputs. ``how`` it came about, with which improvements of
    ``artifact`` where it was not written anew, and of which others (``also``) where several were combined."""

    code: str
    parameters: Mapping[str, Json]
    how: How = "new"
    artifact: str = ""
    also: tuple[str, ...] = ()
    improvements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is to be computed: the form of the result (None: any value), how many items, the constraints that it must keep."""

    work: Work
    layout: Layout | None
    schema: Mapping[str, Json] | None
    constraints: tuple[Constraint, ...]
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """``value`` is the result, where there is one; ``failures`` what is wrong, in words; ``checks`` what was checked here.

    ``only_own`` says that every constraint holds, of which there are some, and only the program's word is against it."""

    value: Json
    failures: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    only_own: bool = False


def problem_of(work: Work, layout: Layout | None, constraints: tuple[Constraint, ...]) -> Problem:
    """``work.schema`` has its count in it already."""
    schema = work.schema
    if schema is None or layout is None:
        return Problem(work=work, layout=None, schema=None, constraints=(), total=None)
    wanted = computed_schema(schema, layout)
    path = array_path(wanted)
    total = None
    if path is not None:
        array: Any = wanted if not path else wanted["properties"][path[0]]
        total = array.get("minItems") or None
    return Problem(work=work, layout=layout, schema=wanted, constraints=within(constraints, wanted), total=total)


def computed_schema(schema: Mapping[str, Json], layout: Layout) -> dict[str, Json]:
    """The form of what code works out: ``schema`` without the fields that want words."""
    if layout.path is None:
        return dict(schema) if layout.plain else sub_schema(schema, layout.computed)
    found = dict(schema) if layout.plain or not layout.words else _items_of(schema, layout.path, layout.computed)
    return sub_schema(found, (*layout.frame_computed, *layout.path)) if layout.path and layout.frame_words else found


def words_schema(schema: Mapping[str, Json], layout: Layout) -> dict[str, Json]:
    """The form of the items' words alone, as a list."""
    path = layout.path or ()
    found = _items_of(schema, path, layout.words)
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {**definitions, **(found if not path else found["properties"][path[0]])}


def _items_of(schema: Mapping[str, Json], path: tuple[str, ...], fields: tuple[str, ...]) -> dict[str, Json]:
    """``schema`` with only ``fields`` in the items of its list."""
    array = dict(schema if not path else schema["properties"][path[0]])
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    items = sub_schema({**definitions, **array["items"]}, fields) if fields else {"type": "object", "properties": {}}
    array["items"] = {key: value for key, value in items.items() if key not in definitions}
    return {**definitions, **array} if not path else {**schema, "properties": {**schema["properties"], path[0]: array}}


# ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_request(
    problem: Problem, *, simpler: bool = False, failures: Sequence[str] = (), found: CodeFound = NOTHING
) -> ChatRequest:
    """The question for a program. ``failures`` are those of earlier programs, for a model that begins afresh; ``found`` is what
    the registry offers."""
    rules = (*problem.work.rules, *to_rules(problem.constraints))
    task = render(
        "code_task",
        request=request_text(problem.work.messages, 20_000),
        form=_dumped(problem.schema) if problem.schema is not None else "any JSON value",
        sketch=sketch(problem.schema) if problem.schema is not None else "any value that is plain JSON",
        given=_dumped(given_parameters(problem.constraints)),
        count=str(problem.total) if problem.total is not None else "as the request says",
        rules="\n".join(f"- {rule}" for rule in rules) or "- none beyond the request's words",
        constraints=_dumped(to_json(problem.constraints)),
        earlier=_listed(failures) if failures else "none",
    )
    system = render("code_write") + ("\n" + render("code_simpler") if simpler else "")
    if more := told(found):
        system += "\n\n" + more
    return ChatRequest(messages=({"role": "system", "content": system}, {"role": "user", "content": task}))


def repair_request(problem: Problem, said: str, failures: Sequence[str], found: CodeFound = NOTHING) -> ChatRequest:
    """The same question again with the program that failed, and why."""
    asked = write_request(problem, found=found)
    turns = (
        {"role": "assistant", "content": said[:40_000] or "(nothing)"},
        {"role": "user", "content": render("code_repair", failures=_listed(failures))},
    )
    return ChatRequest(messages=(*asked.messages, *turns))


def _dumped(value: Json) -> str:
    return orjson.dumps(value, default=dict).decode()


def _listed(failures: Sequence[str]) -> str:
    return "\n".join(f"- {failure}" for failure in failures)


def read_program(text: str, found: CodeFound = NOTHING) -> Program:
    """The code and its parameters in a model's answer; code of ``found`` that it uses is filled in. Raises NoProgram."""
    blocks = [(name.lower(), body) for name, body in _BLOCK.findall(text[: 4 * MAX_SOURCE_BYTES])]
    codes = [body for name, body in blocks if name in ("python", "py", "") and "def run(" in body]
    if not codes and "def run(" in text and not blocks:
        codes = [text]
    listed = [body for name, body in blocks if name == "json"]
    said = _json(listed[0]) if listed else None
    if not codes:
        used = picked(said, found, "use")
        if used is None:
            hint = f" and no program {'/'.join(offered(found))} is used" if offered(found) else ""
            raise NoProgram(f"there is no ```python block that defines run(inputs){hint}")
        return Program(code=used.code, parameters=_parameters(said, listed), how="used", artifact=used.version)
    code = codes[-1].strip() + "\n"
    if len(code.encode()) > MAX_SOURCE_BYTES:
        raise NoProgram(f"the code is longer than {MAX_SOURCE_BYTES} bytes")
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise NoProgram(
            f"the code does not parse: {getattr(error, 'msg', error)}" + (f" (line {line})" if line else "")
        ) from None
    parameters = _parameters(said, listed)
    if (same := same_code(code, found)) is not None:
        return Program(code=same.code, parameters=parameters, how="used", artifact=same.version)
    parents = combined(said, found)
    if not parents:
        return Program(code=code, parameters=parameters)
    artifact, *also = [each.version for each in parents]
    changed = improvements_of(said)
    return Program(code=code, parameters=parameters, how="modified", artifact=artifact, also=tuple(also), improvements=changed)


def with_given(program: Program, problem: Problem) -> Program:
    """``program`` with the parameters that it was given and reads. Raises NoProgram where it reads one that has no value."""
    read = _read_inputs(ast.parse(program.code))
    given = {name: value for name, value in given_parameters(problem.constraints).items() if name in read}
    program = replace(program, parameters={**program.parameters, **given})
    if missing := sorted(read - {*program.parameters, *_OWN_INPUTS}):
        raise NoProgram(
            f"the program reads inputs[{missing[0]!r}], and the json block gives no such parameter"
            f" (it gives: {', '.join(program.parameters) or 'none'}): add {', '.join(missing)[:200]} to it with the value of the"
            " task, or write the value into the program"
        )
    return program


def _read_inputs(tree: ast.Module) -> set[str]:
    """The names that ``run`` takes from its inputs by ``inputs["name"]`` without having asked for them or set them."""
    runs = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run" and node.args.args]
    if not runs:
        return set()
    called = runs[-1].args.args[0].arg
    read: set[str] = set()
    known: set[str] = set()
    for node in ast.walk(runs[-1]):
        match node:
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key)), ctx=context) if name == called:
                (read if isinstance(context, ast.Load) else known).add(key)
            case ast.Compare(left=ast.Constant(value=str(key)), ops=[ast.In() | ast.NotIn()], comparators=[ast.Name(id=name)]):
                known.update([key] if name == called else [])
    return read - known


def _json(block: str) -> Json:
    try:
        return orjson.loads(block)
    except orjson.JSONDecodeError as error:
        raise NoProgram(f"the parameters are not valid JSON: {error}"[:300]) from None


def _parameters(said: Json, blocks: Sequence[str]) -> dict[str, Json]:
    if not blocks:
        return {}
    found = said.get("parameters", said) if isinstance(said, dict) else None
    if not isinstance(found, dict) or len(found) > MAX_PARAMETERS or len(blocks[0]) > MAX_PARAMETER_BYTES:
        raise NoProgram(f"the parameters must be one JSON object of at most {MAX_PARAMETERS} names")
    for name in found:
        if not name.isidentifier():
            raise NoProgram(f"{name[:60]!r} cannot be the name of a parameter")
    # Models like to repeat the count that they were told. It is given to the program anyway, as ours.
    return {name: value for name, value in found.items() if name not in _OWN_INPUTS}


# ── judging a run ───────────────────────────────────────────────────────────────────────────────────────────────────────


def judge_run(problem: Problem, result: RunResult) -> Judged:
    """A run held against the form, the count, the constraints and the program's own checks. Linear in the result; of long ones
    call it off the event loop."""
    value, failures = read_result(result)
    if not result.ok:
        return Judged(value=None, failures=tuple(failures))
    if problem.schema is None:
        if value is None or value in ("", [], {}):
            failures.append("the result is empty")
        if isinstance(value, bool) and not _YES_OR_NO.search(request_text(problem.work.messages, 20_000)):
            failures.append(f"the result is {value}, and the request asks for no true or false")
        return Judged(value=value, failures=tuple(failures[:MAX_FAILURES]))
    value = conform(_wrapped(value, problem.schema), problem.schema)
    try:
        verdict = quality.check(value, schema=problem.schema, constraints=problem.constraints)
    except InvalidRequest as error:
        return Judged(value=value, failures=(error.message,))
    errors = compile_schema(problem.schema).errors(value)[:5]
    found = [*quality.issues(verdict), *(error for error in errors if not quality.issues(verdict))]
    if errors:
        found.append(f"the result must look like {sketch(problem.schema)}")
    only_own = bool(failures and problem.constraints and not found)
    if only_own:
        failures.append("every condition that is checked from outside holds: correct the program's own check, or leave it out")
    failures += [one[:MAX_FAILURE_CHARS] for one in found]
    told = tuple(dict.fromkeys(failures))[:MAX_FAILURES]
    return Judged(value=value, failures=told, checks=verdict.checks, only_own=only_own)


def _wrapped(value: Json, schema: Mapping[str, Json]) -> Json:
    """A bare list where the form is an object that holds nothing but a list: the list in that object."""
    path = array_path(schema)
    alone = bool(path) and list(schema.get("properties", {})) == list(path or ())
    return {(path or ("",))[0]: value} if alone and isinstance(value, list) else value


def read_result(result: RunResult) -> tuple[Json, list[str]]:
    """What a run gave, and what is wrong with it as far as the run itself says."""
    if result.ok:
        return _unwrapped(result.value)
    where = f" (line {result.line})" if result.line else ""
    said = f"the code {_PROBLEMS.get(str(result.problem), 'failed')}{where}: {result.error}"
    return None, [said[:MAX_FAILURE_CHARS]]


def _unwrapped(given: Json) -> tuple[Json, list[str]]:
    """The result, and what the program's own checks say of it. One without them is judged all the same, for the repair."""
    checks = given.get("checks") if isinstance(given, dict) and "result" in given else None
    # Models like to repeat a condition as it was told them: what is neither true nor false is no check.
    said = {str(name): held for name, held in checks.items() if isinstance(held, bool)} if isinstance(checks, dict) else {}
    if not said:
        value = given["result"] if isinstance(given, dict) and "result" in given else given
        return value, ['run(inputs) must return {"result": …, "checks": {"what was checked": true or false}}']
    own = [name[:200] for name, held in list(said.items())[:MAX_SELF_CHECKS] if not held]
    return given["result"], [f"the program's own check {name!r} does not hold" for name in own]


_PROBLEMS: Final = {
    "rejected": "is not allowed in the sandbox",
    "raised": "raised an error",
    "timed_out": "took too long",
    "out_of_memory": "took too much memory",
    "output_too_large": "gave a result that is too large",
    "crashed": "ended its process",
    "not_serialisable": "gave a result that is not JSON",
}
