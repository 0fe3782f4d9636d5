"""Programs that make data: ``def run(inputs):`` for the form, count and conditions of a prompt. Pure; called by answers.py.

A skilled program is honest: it draws what is asked, reorders for correlations, fills quotas, and checks itself. An unskilled one
has one mistake of the usual kinds (a wrong argument, no clipping, too much noise, another count).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from random import Random
from typing import Any, Final

from agents.llm.simulated.code_critic import essence
from agents.llm.simulated.columns import Column, plain_value
from agents.llm.simulated.conditions import Field, conditions
from agents.llm.simulated.figures import figure_program
from agents.llm.simulated.reading import Reading
from agents.records import Json
from agents.schema_check import resolve
from agents.shaping import array_path

_MARK: Final = "defines run(inputs)"
_FORM: Final = "must be valid against this JSON Schema: "
_CONSTRAINTS: Final = re.compile(r"^The same as JSON[^\n]*?: (\[.*\])$", re.M)
_REQUEST: Final = re.compile(r"form of your answer:\n(.*?)\n\nThe result must be", re.S)
_DECODER: Final = json.JSONDecoder()
_SHOWN: Final = re.compile(r"^Program ([A-Z]) \([^\n]*\n```python\n(.*?)```", re.M | re.S)
_COLUMN: Final = re.compile(r'columns\["(\w+)"\] =')
_INPUT: Final = re.compile(r'inputs\["(\w+)"\]')
_MADE_OF: Final = 0.5
_SECOND_LINES: Final = 2
_TELLING_CHARS: Final = 12
"""Share of lines in common from which a program is called a changed one."""
REPAIRED: Final = 0.6
"""Of the mistakes that a model makes, the part that it does not make again once it is told."""


def asks_for_program(reading: Reading) -> bool:
    """Whether the conversation wants a program with its parameters."""
    return reading.schema is None and _MARK in reading.all_text[:4000] and _FORM in reading.all_text


def write_program(reading: Reading, skill: float, rng: Random) -> str:
    """Both blocks: parameters and code."""
    text = reading.all_text
    if "it failed:" in reading.question:
        skill = skill + (1 - skill) * REPAIRED
    start = text.index(_FORM) + len(_FORM)
    form = _decoded(text, start)
    said = _REQUEST.search(text)
    request = re.sub(r"^(?:user|system|assistant): ", "", said[1] if said else reading.asked, flags=re.M)
    skilled = rng.random() < skill
    if not isinstance(form, dict):
        return _answered(*figure_program(request, skilled=skilled, rng=rng), text)
    found = _CONSTRAINTS.search(text)
    entries = _decoded(found[1], 0) if found else None
    writer = _Writer(form, entries if isinstance(entries, list) and entries else None, request)
    code = writer.code()
    return _answered(writer.parameters, code if skilled else spoiled(code, rng), text)


def _decoded(text: str, start: int) -> Json:
    try:
        return _DECODER.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def _answered(parameters: Mapping[str, Json], code: str, text: str) -> str:
    """The program, or a word on which of those that were shown it is, or was made of."""
    shown = dict(_SHOWN.findall(text))
    own = essence(code)
    same = next((label for label, other in shown.items() if essence(other) == own), None)
    if same is not None:
        return _block({"use": same, "parameters": dict(parameters)})
    near = max(shown, key=lambda label: _likeness(shown[label], code), default=None)
    python = f"\n```python\n{code}```\n"
    if near is not None and (second := _second(shown, near, code)) is not None:
        changes = [each for each in _changes(shown[near], code) if each not in _changes(shown[near], shown[second])]
        return _block({"combine": [near, second], "improvements": changes, "parameters": dict(parameters)}) + python
    if near is None or _likeness(shown[near], code) < _MADE_OF:
        return _block({"parameters": dict(parameters)}) + python
    changes = _changes(shown[near], code)
    return _block({"modify": near, "improvements": changes, "parameters": dict(parameters)}) + python


def _block(said: Mapping[str, Json]) -> str:
    return f"```json\n{json.dumps(said, indent=2)}\n```\n"


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one.splitlines(), other.splitlines(), autojunk=False).ratio()


def _second(shown: Mapping[str, str], near: str, code: str) -> str | None:
    """The program that has what ``code`` has beyond ``near``, where there is one and the two make up most of it."""
    lines = _telling(code)
    left = lines - _telling(shown[near])
    given = {label: left & _telling(other) for label, other in shown.items() if label != near}
    second = max(given, key=lambda label: len(given[label]), default=None)
    if second is None or len(given[second]) < _SECOND_LINES or len(left - given[second]) > (1 - _MADE_OF) * len(lines):
        return None
    return second


def _telling(code: str) -> set[str]:
    """Lines that say something: no blank ones, imports and ends of calls."""
    found = (line.strip() for line in code.splitlines())
    return {line for line in found if len(line) >= _TELLING_CHARS and not line.startswith(("import ", "from ", "def ", "#"))}


def _changes(before: str, after: str) -> list[str]:
    """What was changed, in words: by the columns and inputs that came or went, else by lines."""
    found = []
    for pattern, what in ((_COLUMN, "column"), (_INPUT, "parameter")):
        old, new = set(pattern.findall(before)), set(pattern.findall(after))
        found += [f"adds the {what} {name}" for name in sorted(new - old)]
        found += [f"leaves out the {what} {name}" for name in sorted(old - new)]
    changed = len(set(after.splitlines()) - set(before.splitlines()))
    return (found or [f"changes {changed} lines"])[:6]


def spoiled(code: str, rng: Random) -> str:
    """The code with one mistake in it."""
    mistakes = [
        (r"rng\.normal\((\w+\[[^\]]+\]), ", r"rng.normal(mu=\1, sigma="),
        (r"rng\.lognormal\((\w+\[[^\]]+\]), ", r"rng.lognormal(log_mean=\1, log_std="),
        (r"\n[^\n]*np\.clip\([^\n]*", ""),
        (r"\n[^\n]*np\.round\([^\n]*", ""),
        (r"(inputs\[\"\w+_std\"\])", r"\1 ** 2"),
        (r"(noise = )", r"\g<1>4 * "),
        (r"rng\.exponential\(", "rng.exponential(rate="),
        (r"return \{\"result\": ([^\n]*), \"checks\": checks\}", r"return \1"),
        (r"import numpy as np", "import pandas as pd\nimport numpy as np"),
        (r"for i in range\(n\)\]", "for i in range(n - 1)]"),
    ]
    possible = [(old, new) for old, new in mistakes if re.search(old, code)]
    old, new = rng.choice(possible)
    return re.sub(old, new, code, count=1)


@dataclass
class _Writer:
    """One program over a form. ``entries`` are the conditions as JSON; None: they are read from the request's words."""

    form: dict[str, Any]
    entries: list[dict[str, Any]] | None
    request: str
    parameters: dict[str, Json] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)

    def code(self) -> str:
        path = array_path(self.form)
        top = resolve(self.form, self.form)
        array = top if not path else resolve(top["properties"][path[0]], self.form)
        item = resolve(array.get("items", {}), self.form) if path is not None else top
        properties = item.get("properties") or {"value": item}
        prefix = "" if path is None else f"{path[0]}[]." if path else "[]."
        entries = self._entries(prefix, properties)
        ranks = _ranks(entries)
        columns = [self._column(name, part, entries, ranks) for name, part in properties.items()]
        body = [line for column in sorted(columns, key=lambda one: one.rank) for line in column.lines()]
        for column in columns:
            self.parameters.update(column.parameters)
            self.checks += column.checks()
        bare = not item.get("properties")
        each = 'columns["value"][i]' if bare else "{name: columns[name][i] for name in order}"
        names = ", ".join(f'"{name}"' for name in properties)
        body += [f"order = [{names}]", f"items = [{each} for i in range(n)]"]
        body += self._ending(path, top)
        lines = "\n".join(
            f"    {line}"
            for line in ['n = inputs["count"]', 'rng = np.random.default_rng(inputs["seed"])', "columns = {}", *body]
        )
        return f"import math\nfrom statistics import NormalDist\nimport numpy as np\n\n\ndef run(inputs):\n{lines}\n"

    def _entries(self, prefix: str, properties: Mapping[str, Any]) -> list[dict[str, Any]]:
        entries = self.entries
        if entries is None:
            listed = [
                Field(path=f"{prefix}{name}", kind=str(part.get("type", "any")), options=tuple(part.get("enum") or ()))
                for name, part in ((name, resolve(part, self.form)) for name, part in properties.items())
            ]
            entries = conditions(listed, self.request)
        return [_bare(entry, prefix) for entry in entries]

    def _column(self, name: str, part: Any, entries: list[dict[str, Any]], ranks: Mapping[str, int]) -> Column:
        schema = resolve(part, self.form)
        own = [entry for entry in entries if entry.get("field") == name]
        pairs = [entry for entry in entries if name in (entry.get("fields") or ())]
        pair = next((one for one in pairs if any(ranks[other] < ranks[name] for other in one["fields"])), None)
        known = schema if isinstance(schema, dict) else {}
        return Column(name=name, schema=known, entries=own, pair=pair, root=self.form, rank=ranks.get(name, 0))

    def _ending(self, path: tuple[str, ...] | None, top: Mapping[str, Any]) -> list[str]:
        own = ['"as many as were asked": len(items) == n', *self.checks]
        checks = "checks = {" + ", ".join(own) + "}"
        if path is None:
            return [checks, 'return {"result": items[0], "checks": checks}']
        if not path:
            return [checks, 'return {"result": items, "checks": checks}']
        rest = [name for name in top["properties"] if name != path[0]]
        frame = [f'"{name}": {self._of_frame(name, resolve(top["properties"][name], self.form))}' for name in rest]
        whole = "{" + ", ".join([*frame, f'"{path[0]}": items']) + "}"
        return [checks, f"whole = {whole}", 'return {"result": whole, "checks": checks}']

    def _of_frame(self, name: str, schema: Any) -> str:
        if re.search(r"count|total_items|size|^n$", name) and schema.get("type") == "integer":
            return "n"
        return plain_value(name, schema if isinstance(schema, dict) else {}, self.form).replace("{i}", "0")


def _ranks(entries: list[dict[str, Any]]) -> dict[str, int]:
    """In which order correlated fields are drawn: those with a distribution of their own lead."""
    own = {entry["field"] for entry in entries if "distribution" in entry}
    ranks: dict[str, int] = {}
    for entry in entries:
        if "fields" in entry:
            one, other = sorted(entry["fields"], key=lambda name: (ranks.get(name, 99), name not in own))
            ranks.setdefault(one, 0)
            ranks.setdefault(other, ranks[one] + 1)
    return ranks


def _bare(entry: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The entry with its fields as an item has them."""
    own = dict(entry)
    if "field" in own:
        own["field"] = str(own["field"]).removeprefix(prefix) or "value"
    if "fields" in own:
        own["fields"] = [str(one).removeprefix(prefix) for one in own["fields"]]
    return own
