"""``morphogen sandbox``: run and check files of code in the sandbox, and show what holds on this machine. No daemon needed.

Called by main.py and doctor.py. A daemon on this machine with the same setup shares its zygote.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from runtime.cli import tables
from runtime.cli.config import loaded_or_error
from runtime.cli.errors import CliError
from sandbox.records import MAX_INPUT_BYTES, MAX_SOURCE_BYTES, Case, CaseReport, Health, Limits, RunResult, Setup
from sandbox.runner import Sandbox

MAX_CASES = 1000


class LimitsIn(BaseModel):
    """``--limits``: what is not named is as configured."""

    model_config = ConfigDict(extra="forbid")
    wall_s: float | None = None
    cpu_s: float | None = None
    memory_bytes: int | None = None
    output_bytes: int | None = None


class CaseIn(BaseModel):
    """One case of ``check``."""

    model_config = ConfigDict(extra="forbid")
    inputs: Any = None
    expected: Any = None
    name: Annotated[str, Field(max_length=200)] = ""


_CASES = TypeAdapter(Annotated[list[CaseIn], Field(min_length=1, max_length=MAX_CASES)])


def run_file(file: Path, inputs: str, limits: str | None, config: Path | None, *, as_json: bool) -> None:
    """Raises CliError: exit 2 for what cannot be read, 1 when the run gave no result."""
    if str(file) == "-" and inputs == "-":
        raise CliError("only one of FILE and --inputs can be stdin", exit_code=2)
    code, value = _source(file), _json("--inputs", inputs)
    setup = loaded_or_error(config).settings.sandbox.setup()
    chosen = read_limits(limits, setup.limits)

    async def work() -> RunResult:
        async with Sandbox(setup) as sandbox:
            await sandbox.health(code)  # a cold start is not the code's time
            return await sandbox.run(code, value, chosen)

    result = asyncio.run(work())
    if as_json:
        tables.print_json(shown(result))
        if not result.ok:
            raise CliError("")
        return
    sys.stderr.write(tables.printable(result.stdout))
    if not result.ok:
        raise CliError(_story(result))
    tables.print_json(result.value)


def check_file(file: Path, cases: str, limits: str | None, config: Path | None, *, as_json: bool) -> None:
    """Raises CliError: exit 2 for what cannot be read, 1 when a case failed."""
    if str(file) == "-" and cases == "-":
        raise CliError("only one of FILE and CASES can be stdin", exit_code=2)
    code, chosen_cases = _source(file), _cases(_json("CASES", cases))
    setup = loaded_or_error(config).settings.sandbox.setup()
    chosen = read_limits(limits, setup.limits)

    async def work() -> tuple[CaseReport, ...]:
        async with Sandbox(setup) as sandbox:
            await sandbox.health(code)
            return await sandbox.check(code, chosen_cases, chosen)

    reports = asyncio.run(work())
    failed = sum(not report.passed for report in reports)
    if as_json:
        rows = [{"name": report.name, "passed": report.passed, **shown(report.result)} for report in reports]
        tables.print_json({"passed": not failed, "cases": rows})
    else:
        lines = [("ok" if r.passed else "FAILED", r.name, _outcome(r), tables.seconds(r.result.wall_s)) for r in reports]
        tables.console().print(tables.table(("", "case", "outcome", "took"), lines, right=("took",)))
    if failed:
        raise CliError("" if as_json else f"{failed} of {len(reports)} cases failed")


def show_probe(config: Path | None, *, as_json: bool) -> None:
    """Raises CliError (exit 1) where no code would run."""
    settings = loaded_or_error(config).settings.sandbox
    health = probe(settings.setup())
    runs = health.level == "full" or (health.level == "reduced" and settings.allow_reduced)
    if as_json:
        tables.print_json({**asdict(health), "runs_code": runs})
    else:
        rows = [("holds" if layer.holds else "missing", layer.name.replace("_", " "), layer.how) for layer in health.layers]
        tables.console().print(tables.table(("", "layer", "how"), rows))
        tables.console().print(f"Level: {health.level}{f' ({health.reason})' if health.reason else ''}", soft_wrap=True)
    if not runs:
        raise CliError("" if as_json else "the sandbox refuses to run code here", hint=_HINT if health.level == "reduced" else "")


_HINT = "sandbox.allow_reduced = true runs it all the same"


def probe(setup: Setup) -> Health:
    """What holds on this machine. Starts a zygote, or asks the one that is there."""

    async def work() -> Health:
        async with Sandbox(setup) as sandbox:
            return await sandbox.health()

    return asyncio.run(work())


def shown(result: RunResult) -> dict[str, Any]:
    """A result as JSON."""
    return {"ok": result.ok, **asdict(result)}


def read_limits(text: str | None, defaults: Limits) -> Limits:
    """``--limits`` over the configured ones. Raises CliError that names the field."""
    if text is None:
        return defaults
    try:
        named = LimitsIn.model_validate(_json("--limits", text)).model_dump(exclude_none=True)
        return Limits(**{**asdict(defaults), **named})
    except ValidationError as error:
        raise CliError(f"--limits: {_first(error)}", exit_code=2) from None
    except ValueError as error:
        raise CliError(f"--limits: {error}", exit_code=2) from None


def _cases(value: Any) -> list[Case]:
    try:
        found = _CASES.validate_python(value)
    except ValidationError as error:
        raise CliError(f"CASES: {_first(error)}", exit_code=2) from None
    return [
        Case(inputs=case.inputs, expected=case.expected, has_expected="expected" in case.model_fields_set, name=case.name)
        for case in found
    ]


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def _json(option: str, text: str) -> Any:
    """JSON given as such, as ``@FILE``, or as ``-`` on stdin."""
    named = text == "-" or text.startswith("@")
    raw = _read(option, Path(text.removeprefix("@")), MAX_INPUT_BYTES) if named else text
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CliError(f"{option} is not JSON: {error}", exit_code=2) from None


def _source(file: Path) -> str:
    return _read("FILE", file, MAX_SOURCE_BYTES)


def _read(option: str, file: Path, max_bytes: int) -> str:
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with file.expanduser().open("rb") as opened:
                data = opened.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise CliError(f"{option}: more than {tables.size(max_bytes)}", exit_code=2)
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{option}: {file} cannot be read: {error}", exit_code=2) from None


def _story(result: RunResult) -> str:
    line = f"line {result.line}: " if result.line else ""
    name = (result.problem or "").replace("_", " ")
    return tables.printable(f"{name}: {line}{result.error}")


def _outcome(report: CaseReport) -> str:
    if not report.result.ok:
        return tables.clip(_story(report.result), 200)
    value = tables.clip(json.dumps(report.result.value, ensure_ascii=False), 120)
    return value if report.passed else f"gave {value}"
