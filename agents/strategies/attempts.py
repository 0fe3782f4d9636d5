"""What is tried for a program, in which order and of whom: one adapted, written, repaired, made simpler, confirmed. Pure.

Called by code_augmented.py. Reaches no backend: of the toolbox it reads which there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from agents.llm.chat import ChatRequest
from agents.programs import CodeFound, Known
from agents.records import AgentError, Choice, Json
from agents.strategies.candidates import offered
from agents.strategies.program import NOTHING, Problem, repair_request, write_request
from agents.strategies.reuse import adapter, adapting, adapts
from agents.strategy_specs import CodeAugmented
from agents.toolbox import Toolbox

Step = Literal["adapt", "write", "repair", "simplify", "confirm"]

MAX_CONFIRMING: Final = 3
"""Programs asked for beside the first, where two must agree."""


@dataclass(slots=True)
class Attempts:
    """What has been tried: ``said`` is the last answer whole, ``failures`` what was wrong with it, ``best`` the last data."""

    said: str = ""
    backend: str = ""
    failures: tuple[str, ...] = ()
    best: Json = None
    error: AgentError | None = None
    asked: list[str] = field(default_factory=list)
    found: CodeFound = NOTHING
    searched: bool = False
    """``found`` is what the registry said: its standard was in force, or there was none."""
    repeated: bool = False
    """The last program was the one before it, word for word: its author must not be shown it again."""
    doubted: bool = False
    """A result kept to every constraint and only its program's own check did not hold. Once that is worth a repair; what says so
    again is overruled, because the constraints are checked by rule and the program's word is a model's."""

    def hear(self, said: str, backend: str) -> None:
        """Take in an answer."""
        self.repeated = bool(said.strip()) and said.strip() == self.said.strip()
        self.said, self.backend = said, backend
        self.asked.append(backend)


def confirming(own: Choice, first: str, toolbox: Toolbox) -> Iterator[Choice]:
    """Other models first; where there are no more, any, which is asked for a simpler program."""
    able = [one.name for one in reversed(toolbox.backends) if "code" in one.capabilities and one.name != first]
    others = able[:MAX_CONFIRMING] if own.fallback else []
    yield from (replace(own, backend=name, preferred=(), tier=None) for name in others)
    yield from (own for _ in range(MAX_CONFIRMING - len(others)))


def steps(
    spec: CodeAugmented, own: Choice, toolbox: Toolbox, tried: Attempts, known: Sequence[Known]
) -> Iterator[tuple[Step, Choice]]:
    """What is tried, in order. Asked for one after the other: who comes next depends on who has answered."""
    if adapts(known):
        yield "adapt", adapter(own)
        if tried.failures and tried.said:  # what the cheapest nearly had is worth more than a program from nothing
            yield "repair", own
    yield "write", own
    same = replace(own, backend=tried.backend, fallback=True) if tried.backend and own.fallback else own
    for _ in range(spec.repairs):
        yield "repair", same
    yield "simplify", same
    if not own.fallback:
        return
    able = [one for one in reversed(toolbox.backends) if "code" in one.capabilities]
    for other in [one.name for one in able if one.name not in tried.asked][: spec.others]:
        yield "write", replace(own, backend=other, preferred=(), tier=None)
        yield "repair", replace(own, backend=other, preferred=(), tier=None)


def question(step: Step, problem: Problem, tried: Attempts) -> ChatRequest:
    if step == "repair" and tried.said and not tried.repeated:
        return repair_request(problem, tried.said, tried.failures, tried.found)
    if step == "adapt":
        shown = {each.version for each in offered(tried.found).values()}
        known = [each for each in problem.work.known if each.version in shown]
        asked = write_request(problem, found=tried.found)
        return adapting(asked, known) if known else asked
    # What others wrote was looked at; whoever begins afresh after failures does so without it.
    found = NOTHING if tried.failures else tried.found
    return write_request(problem, simpler=step == "simplify", failures=tried.failures, found=found)
