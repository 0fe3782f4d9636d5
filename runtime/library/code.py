"""Stored code for a new request: its parameters as the library lines them up, its runs in the sandbox, its checks.

Called by desk.py, which hands ``CodeRunner``, ``held`` and ``certain`` to the library. What is pure stands first.
"""

from __future__ import annotations

import asyncio
import copy
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Protocol

import orjson

from agents import quality
from agents.programs import CodeUsed
from agents.quality.constraints import parse_constraints
from agents.quality.constraints import to_json as constraints_json
from agents.records import InvalidRequest, Json
from agents.shaping import conform
from agents.strategies.problem import layout_of
from agents.strategies.program import read_result
from agents.strategies.retune import Uncertain, retuned
from agents.strategies.runner import to_text
from agents.strategies.spoken import numbers_of
from agents.verdicts import Constraint
from registry.alignment import Parameter, Value
from registry.solution_records import Ran, Solution
from registry.solution_records import Request as Asked
from runtime.judging import INLINE_CHARS
from runtime.records import Request
from sandbox.records import MIB, Limits, Problem, RunResult

COUNT: Final = "count"
SEED: Final = "seed"
MAX_PARAMETERS: Final = 60
MAX_TEXT_CHARS: Final = 200
MAX_DEPTH: Final = 4
_PERCENT: Final = "%"
_MAX_OUTPUT_BYTES: Final = 64 * MIB
_BYTES_PER_VALUE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What a solution is held against, as it is stored with it.

    ``read`` came out of the request's words and goes with its values, ``declared`` the client gave; ``base`` are the program's
    parameters whole, ``count`` how many items it made. ``words``: a model wrote a part of the answer, so that code alone is not
    the answer. ``simulated`` and ``backend`` say who first gave it, ``request_id`` to which request.
    """

    declared: tuple[Constraint, ...] = ()
    read: tuple[Constraint, ...] = ()
    base: Mapping[str, Json] | None = None
    count: int = 1
    words: bool = False
    simulated: bool = False
    backend: str = ""
    request_id: str = ""

    def to_json(self) -> Json:
        return {
            "declared": constraints_json(self.declared),
            "read": constraints_json(self.read),
            "base": self.base,
            "count": self.count,
            "words": self.words,
            "simulated": self.simulated,
            "backend": self.backend,
            "request_id": self.request_id,
        }


def checks_of(solution: Solution) -> Checks:
    """Raises InvalidRequest where they cannot be read."""
    stored = solution.checks if isinstance(solution.checks, dict) else {}
    return Checks(
        declared=parse_constraints(stored.get("declared") or []),
        read=parse_constraints(stored.get("read") or []),
        base=stored.get("base"),
        count=int(stored.get("count") or 1),
        words=bool(stored.get("words")),
        simulated=bool(stored.get("simulated")),
        backend=str(stored.get("backend") or ""),
        request_id=str(stored.get("request_id") or ""),
    )


def checks_for(used: CodeUsed | None, request: Request, *, simulated: bool, backend: str) -> Checks:
    """What a new solution is to be held against."""
    declared, schema = request.constraints, request.schema
    plain = Checks(declared=declared, simulated=simulated, backend=backend, request_id=request.request_id)
    if used is None:
        return plain
    return replace(
        plain,
        read=tuple(one for one in used.constraints if one not in declared),
        base=used.parameters,
        count=used.count,
        words=schema is None or layout_of(schema, used.constraints).wants_words,
    )


def parameters_of(used: CodeUsed, words: str, *, count: int | None, max_count: int) -> tuple[Parameter, ...]:
    """The values of a program that a request may change: its numbers and short texts, wherever they stand in its parameters, and
    the count. A share that the request gives in percent is one in percent here."""
    said = list(numbers_of(words))
    found = [Parameter(name=COUNT, value=count, minimum=1, maximum=max_count)] if count is not None else []
    for path, value in _leaves(used.parameters, (), 0):
        if len(found) >= MAX_PARAMETERS:
            break
        name = "/".join(path)
        if isinstance(value, str):
            found.append(Parameter(name=name, value=value))
        elif not _said(value, said) and _said(100 * value, said) and 0 < value <= 1:
            found.append(Parameter(name=name + _PERCENT, value=round(100.0 * value, 9), minimum=0.0, maximum=100.0))
        else:
            found.append(Parameter(name=name, value=float(value)))
    return tuple(found)


def _said(value: float, said: Sequence[float]) -> bool:
    return any(abs(value - one) <= 1e-9 * max(1.0, abs(one)) for one in said)


def _leaves(value: Json, path: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, bool) or value is None or depth > MAX_DEPTH:
        return
    if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= MAX_TEXT_CHARS):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if "/" not in name and _PERCENT not in name:
                yield from _leaves(item, (*path, name), depth + 1)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _leaves(item, (*path, str(place)), depth + 1)


def inputs_of(checks: Checks, values: Mapping[str, Value], *, seed: int) -> dict[str, Json]:
    """What the program is given: its own parameters with ``values`` in their places, a count and a seed."""
    inputs: dict[str, Json] = copy.deepcopy(dict(checks.base or {}))
    for name, value in values.items():
        if name in (COUNT, SEED):
            continue
        scaled = value / 100 if name.endswith(_PERCENT) and not isinstance(value, str) else value
        _put(inputs, name.removesuffix(_PERCENT).split("/"), scaled)
    return {**inputs, COUNT: int(values.get(COUNT, checks.count)), SEED: int(values.get(SEED, seed))}


def _put(inputs: Any, path: Sequence[str], value: Value) -> None:
    for step in path[:-1]:
        inputs = inputs[int(step)] if isinstance(inputs, list) else inputs[step]
    last: Any = int(path[-1]) if isinstance(inputs, list) else path[-1]
    old = inputs[last]
    whole = isinstance(old, int) and isinstance(value, float) and value.is_integer()
    inputs[last] = int(value) if whole else value


def changes_of(solution: Solution, values: Mapping[str, Value]) -> list[tuple[Value, Value]]:
    """What differs from the stored run, the count aside: (old, new)."""
    kept = {each.name: each.value for each in solution.parameters}
    return [(kept[name], new) for name, new in values.items() if name in kept and name != COUNT and kept[name] != new]


def constraints_for(solution: Solution, checks: Checks, values: Mapping[str, Value]) -> tuple[Constraint, ...]:
    """What an answer with ``values`` is held against. Raises Uncertain."""
    changes = changes_of(solution, values)
    return (*checks.declared, *(retuned(checks.read, changes, solution.request) if changes else checks.read))


def certain(solution: Solution, request: Asked, values: Mapping[str, Value]) -> str:
    """Why the checks would not cover stored code that runs with ``values``, or ""; see ``registry.solution_records.Certain``."""
    try:
        checks = checks_of(solution)
        if checks.words:
            return "a model wrote a part of its answer"
        if checks.base is None or not (checks.read or checks.declared):
            return "nothing checks what it makes"
        constraints_for(solution, checks, values)
    except (Uncertain, InvalidRequest) as error:
        return str(error)
    return ""


# ── running and checking ────────────────────────────────────────────────────────────────────────────────────────────────


class RunsCode(Protocol):
    """What is needed of ``sandbox.runner.Sandbox``."""

    async def run(self, code: str, inputs: Json = None, limits: Limits | None = None) -> RunResult: ...


class CodeRunner:
    """``registry.solution_records.Runner``: the version's code, with new parameters and a new seed, in the sandbox.

    ``source`` gives what stands for a version now and its code, None where it cannot be had: it is asked each time, as a version
    may have been deprecated or archived since. ``limits`` are those of one run.
    """

    def __init__(
        self,
        sandbox: RunsCode,
        source: Callable[[str], Awaitable[tuple[str, str] | None]],
        limits: Callable[[], Limits],
        *,
        seed: Callable[[], int] = lambda: secrets.randbelow(2**31),
    ) -> None:
        self._sandbox, self._source, self._limits, self._seed = sandbox, source, limits, seed

    async def run(self, solution: Solution, values: Mapping[str, Value]) -> Ran:
        try:
            checks = checks_of(solution)
            inputs = inputs_of(checks, values, seed=self._seed())
        except (InvalidRequest, LookupError, TypeError, ValueError) as error:
            return Ran(error=f"its parameters do not fit its code: {error}")
        found = await self._source(solution.artifact or "")
        if found is None:
            return Ran(error="its code cannot be had now")
        version, code = found
        limits = self._limits()
        wanted = inputs[COUNT] * (len(checks.read) + len(checks.declared) + 8) * _BYTES_PER_VALUE
        limits = replace(limits, output_bytes=max(limits.output_bytes, min(wanted, _MAX_OUTPUT_BYTES)))
        result = await self._sandbox.run(code, inputs, limits)
        if result.problem is Problem.UNAVAILABLE:  # nothing ran, so that it says nothing of the code
            return Ran(error=f"code cannot be run now: {result.error[:400]}")
        value, failures = read_result(result)
        if failures:
            return Ran(error="; ".join(failures)[:500], version=version, wall_s=result.wall_s)
        return Ran(answer={"data": value}, version=version, wall_s=result.wall_s)


async def held(solution: Solution, request: Asked, values: Mapping[str, Value], answer: Json) -> str:
    """``registry.solution_records.Check``: the form, the count and the constraints that the new values give."""
    if not request.shape:
        return ""
    try:
        checks = checks_of(solution)
        constraints = constraints_for(solution, checks, values)
    except (Uncertain, InvalidRequest) as error:
        return str(error)
    if not isinstance(answer, dict) or "data" not in answer:
        return "it is not data"
    counted = int(values[COUNT]) if COUNT in values else None
    size = counted or checks.count
    if size > INLINE_CHARS // 100:
        return await asyncio.to_thread(_held, answer, request.shape, counted, constraints)
    return _held(answer, request.shape, counted, constraints)


def _held(answer: dict[str, Json], shape: str, count: int | None, constraints: Sequence[Constraint]) -> str:
    schema = _schema(shape)
    verdict = quality.check(conform(answer["data"], schema), schema=schema, count=count, constraints=constraints)
    found = quality.issues(verdict, 3)
    return "; ".join(found) if found or verdict.score >= 1.0 else f"a score of {verdict.score:.3f}"


@lru_cache(maxsize=256)
def _schema(shape: str) -> dict[str, Json]:
    found: dict[str, Json] = orjson.loads(shape)
    return found


def text_of(answer: Mapping[str, Json]) -> str:
    """The words of a stored or computed answer."""
    text = answer.get("text")
    return text if isinstance(text, str) else to_text(answer.get("data"))
