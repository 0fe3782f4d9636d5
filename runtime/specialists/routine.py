"""A specialist's routine: what it is asked and may say, how a model is asked for one, and whether it knows its own. Pure.

Called by desk.py. ``run(inputs)`` gets ``{"text", "form", "count"}`` and gives ``{"match", "confidence", "backend", "prompt"}``.
The code is run by the sandbox alone, and what it says is read strictly.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.llm.prompts import render
from agents.records import Json
from agents.strategies.program import NoProgram, read_program
from runtime.records import Request
from sandbox.records import RunResult

MAX_PROMPT_CHARS: Final = 1_000
MAX_TEXT_CHARS: Final = 2_000
SHOWN: Final = 16
LEAST_RECALL: Final = 0.7
MOST_FALSE: Final = 0.15
SURE: Final = 0.5
"""From this confidence on a match is one."""
MAX_TOLD: Final = 6


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    match: bool
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=False)]
    backend: Annotated[str, Field(max_length=64)] | None = None
    prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARS)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a routine said of one request; ``fault`` names what is wrong with it, and then it said nothing."""

    match: bool = False
    confidence: float = 0.0
    backend: str = ""
    prompt: str = ""
    fault: str = ""

    @property
    def takes(self) -> bool:
        return not self.fault and self.match and self.confidence >= SURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a routine did: the part of its own requests that it takes, and that of others. ``failures`` are for its author."""

    recall: float
    false: float
    failures: tuple[str, ...]

    @property
    def good(self) -> bool:
        return self.recall >= LEAST_RECALL and self.false <= MOST_FALSE and not self.failures


def inputs_of(request: Request, text: str) -> dict[str, Json]:
    """What a routine is told of a request."""
    return {"text": text[:MAX_TEXT_CHARS], "form": request.schema is not None, "count": request.count}


def inputs_of_text(text: str) -> dict[str, Json]:
    """The same of an example, of which nothing but its words was kept."""
    return {"text": text[:MAX_TEXT_CHARS], "form": False, "count": None}


def read(result: RunResult, backends: Collection[str]) -> Said:
    """What a run gave. A backend that is not there counts as none named."""
    if not result.ok:
        return Said(fault=f"the routine failed ({result.problem}): {result.error}"[:300])
    try:
        said = _Said.model_validate(result.value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the result"
        return Said(fault=f"{where}: {first['msg']}"[:300])
    backend = said.backend if said.backend in backends else ""
    return Said(match=said.match, confidence=said.confidence, backend=backend or "", prompt=said.prompt)


def question(name: str, own: Sequence[str], others: Sequence[str], backends: Sequence[str], failures: Sequence[str] = ()) -> str:
    """What a model that writes code is asked."""
    examples = {"own": _shown(own), "others": _shown(others)}
    return render(
        "specialist_write",
        name=json.dumps(name, ensure_ascii=False),
        backends=", ".join(backends) or "none",
        examples=json.dumps(examples, ensure_ascii=False, indent=1),
        failures="\n".join(f"- {failure}" for failure in failures) or "- nothing yet",
    )


def _shown(texts: Sequence[str]) -> list[str]:
    return [" ".join(text.split())[:300] for text in texts[:SHOWN]]


def code_of(text: str) -> str:
    """The routine in a model's answer. Raises NoProgram."""
    code = read_program(text).code
    if "def run(" not in code:
        raise NoProgram("there is no ```python block that defines run(inputs)")
    return code


def _quoted(text: str) -> str:
    return json.dumps(text[:150], ensure_ascii=False)


def judge(own: Sequence[tuple[str, Said]], others: Sequence[tuple[str, Said]]) -> Verdict:
    """Whether a routine takes its own requests and leaves the others'; examples with what was said of each."""
    faults = list(dict.fromkeys(said.fault for _, said in (*own, *others) if said.fault))[:MAX_TOLD]
    missed = [text for text, said in own if not said.takes]
    wrong = [text for text, said in others if said.takes]
    recall, false = 1 - len(missed) / max(len(own), 1), len(wrong) / max(len(others), 1)
    failures = [*faults]
    if recall < LEAST_RECALL:
        failures += [f"not taken, and it is its own: {_quoted(text)}" for text in missed[:MAX_TOLD]]
    if false > MOST_FALSE:
        failures += [f"taken, and it is not its own: {_quoted(text)}" for text in wrong[:MAX_TOLD]]
    return Verdict(recall=recall, false=false, failures=tuple(failures))
