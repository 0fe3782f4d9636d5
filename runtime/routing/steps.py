"""A router as a graph of steps: small functions that run in order, each of which decides, adds a feature, or passes on.

Called by runtime/routers and ops/bench/routers.py. Pure; imports the standard library and this room's errors alone. A model
changes a graph by edits (insert, rewrite, move, remove), never as a whole; ``compiled`` makes one program for the sandbox of it.

A step is Python source that defines ``step(request)``. It returns a decision (generated.Words), ``{"features": {...}}`` to add
what later steps read, or None. Each step has names of its own: what one defines no other sees.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from runtime.routing.records import RoutingError

Json = Any

MAX_STEPS: Final = 16
MAX_SOURCE_CHARS: Final = 4_000
MAX_EDITS: Final = 4
WHOLE: Final = "whole"
"""The one step of a router that a person wrote as a whole program."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

_HEAD = '"""A router of Morphogen: its steps run in order; the first that decides has the word."""\n'
_RUN = '''
STEPS = [{steps}]


def run(request):
    """Ask the steps in their order."""
    request = dict(request)
    for name, step in STEPS:
        said = step(request)
        if said is None:
            continue
        if "features" in said:
            request.update(said["features"])
            continue
        return {{**said, "step": name}}
    return None
'''


class BadSteps(RoutingError):
    """Steps or edits that make no router; names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """``source`` defines ``step(request)``; ``why`` is its author's reason."""

    name: str
    source: str
    why: str = ""


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Edit(BaseModel):
    """One change of a graph, as a model says it. ``before`` names the step in front of which it goes; none: the end."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    op: Literal["insert", "rewrite", "move", "remove"]
    name: Name
    before: Name | None = None
    source: Annotated[str, StringConstraints(max_length=MAX_SOURCE_CHARS)] | None = None
    why: Annotated[str, StringConstraints(max_length=300)] = ""

    @property
    def told(self) -> str:
        """For people, and for the version's list of improvements."""
        place = f" before {self.before}" if self.before and self.op in ("insert", "move") else ""
        return f"{self.op} {self.name}{place}{f': {self.why}' if self.why else ''}"[:300]


class Edits(BaseModel):
    """What a model answers."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    edits: Annotated[tuple[Edit, ...], Field(min_length=1, max_length=MAX_EDITS)]


EDITS_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {
        "edits": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_EDITS,
            "items": {
                "type": "object",
                "properties": {
                    "op": {"type": "string", "enum": ["insert", "rewrite", "move", "remove"]},
                    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,39}$"},
                    "before": {"type": ["string", "null"]},
                    "source": {"type": ["string", "null"], "maxLength": MAX_SOURCE_CHARS},
                    "why": {"type": "string", "maxLength": 300},
                },
                "required": ["op", "name", "why"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["edits"],
    "additionalProperties": False,
}


def edits_of(data: Json) -> tuple[Edit, ...]:
    """A model's answer, read. Raises BadSteps that names the field."""
    try:
        return Edits.model_validate(data).edits
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise BadSteps(str(first["msg"])[:300], field=".".join(str(part) for part in first["loc"]) or "edits") from None


def edited(steps: Sequence[Step], edits: Sequence[Edit]) -> tuple[Step, ...]:
    """The graph after ``edits``, in their order. Raises BadSteps for one that cannot be made, and where nothing has changed."""
    found = list(steps)
    for number, edit in enumerate(edits):
        try:
            found = _one(found, edit)
        except BadSteps as error:
            raise BadSteps(error.message, field=f"edits.{number}.{error.field}") from None
    if tuple(found) == tuple(steps):
        raise BadSteps("the edits change nothing", field="edits")
    if not 1 <= len(found) <= MAX_STEPS:
        raise BadSteps(f"a router has 1 to {MAX_STEPS} steps, not {len(found)}", field="edits")
    return tuple(found)


def _one(steps: list[Step], edit: Edit) -> list[Step]:
    names = [step.name for step in steps]
    if (edit.name in names) == (edit.op == "insert"):
        there = "there is a step of this name already" if edit.op == "insert" else "there is no step of this name"
        raise BadSteps(there, field="name")
    if edit.op == "remove":
        return [step for step in steps if step.name != edit.name]
    if edit.op == "rewrite":
        made = Step(name=edit.name, source=_checked(edit.source), why=edit.why)
        return [made if step.name == edit.name else step for step in steps]
    moved = (
        Step(name=edit.name, source=_checked(edit.source), why=edit.why)
        if edit.op == "insert"
        else next(step for step in steps if step.name == edit.name)
    )
    rest = [step for step in steps if step.name != edit.name]
    if edit.before is None:
        return [*rest, moved]
    at = next((place for place, step in enumerate(rest) if step.name == edit.before), None)
    if at is None:
        raise BadSteps("there is no step of this name", field="before")
    return [*rest[:at], moved, *rest[at:]]


def _checked(source: str | None) -> str:
    if not source or not source.strip():
        raise BadSteps("it takes the step's source", field="source")
    _parsed(source)
    return source.strip() + "\n"


def _parsed(source: str) -> ast.Module:
    """Raises BadSteps. Compiles nothing: what the code may do is the sandbox's policy."""
    if len(source) > MAX_SOURCE_CHARS:
        raise BadSteps(f"has {len(source)} characters; at most {MAX_SOURCE_CHARS}", field="source")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadSteps(f"is not Python: {error}"[:300], field="source") from None
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "step"]
    if len(found) != 1 or len(found[0].args.args) != 1:
        raise BadSteps("must define step(request)", field="source")
    return tree


def compiled(steps: Sequence[Step]) -> str:
    """One program with ``run(request)``: each step in a function of its own. Raises BadSteps."""
    if not 1 <= len(steps) <= MAX_STEPS:
        raise BadSteps(f"a router has 1 to {MAX_STEPS} steps, not {len(steps)}", field="steps")
    names = [step.name for step in steps]
    if len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise BadSteps("names of steps are different, lower case, at most 40 characters", field="steps")
    parts = [_HEAD]
    for step in steps:
        tree = _parsed(step.source)
        made = ast.parse(f"def make_{step.name}():\n    return step\n")
        maker = made.body[0]
        assert isinstance(maker, ast.FunctionDef)
        maker.body = [*tree.body, *maker.body]
        parts.append(ast.unparse(ast.fix_missing_locations(made)) + "\n")
    listed = ", ".join(f"({name!r}, make_{name}())" for name in names)
    return "\n\n".join(parts) + "\n" + _RUN.format(steps=listed)


def as_parameters(steps: Sequence[Step]) -> dict[str, Json]:
    """As an artifact's version keeps the graph beside its program."""
    return {"steps": [asdict(step) for step in steps]}


def of_version(content: str, parameters: Mapping[str, Json]) -> tuple[Step, ...]:
    """The graph of a router: as it was kept, where that gives this very program; else the whole program as one step."""
    try:
        steps = tuple(Step(**each) for each in parameters["steps"])
        if compiled(steps).strip() == content.strip():
            return steps
    except (KeyError, TypeError, AttributeError, RoutingError):
        pass
    return (Step(name=WHOLE, source=_wrapped(content), why="written as a whole"),)


def _wrapped(content: str) -> str:
    return content.rstrip() + "\n\n\ndef step(request):\n    return run(request)\n"


def without(steps: Sequence[Step], name: str) -> tuple[Step, ...]:
    """The graph without a step; for asking what it is worth."""
    return tuple(replace(step) for step in steps if step.name != name)
