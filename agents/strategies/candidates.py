"""Code of others, shown to whoever writes a program, and what the writer makes of it: used, modified, or written anew. Pure.

Called by program.py. The shown code is data: it was checked before, and is run by the sandbox alone. Must not import a backend or
runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from agents.llm.prompts import render
from agents.programs import Candidate, CodeFound

MAX_SHOWN: Final = 3
MAX_SHOWN_CHARS: Final = 12_000
"""Of all programs together; what does not fit whole is left out."""
MAX_GUIDANCE_CHARS: Final = 4_000
MAX_IMPROVEMENTS: Final = 10
MAX_IMPROVEMENT_CHARS: Final = 200
LABELS: Final = "ABC"


def offered(found: CodeFound) -> dict[str, Candidate]:
    """The candidates that fit into a prompt, by the letter that the writer calls them by."""
    shown: dict[str, Candidate] = {}
    left = MAX_SHOWN_CHARS
    for candidate in found.candidates:
        if len(shown) < MAX_SHOWN and len(candidate.code) <= left:
            shown[LABELS[len(shown)]] = candidate
            left -= len(candidate.code)
    return shown


def told(found: CodeFound) -> str:
    """What the writer is told beyond the task: other programs, and what to keep to; "" where there is nothing."""
    parts = []
    if shown := offered(found):
        parts.append(render("code_reuse", programs="\n\n".join(_shown(label, each) for label, each in shown.items())))
    if found.guidance:
        parts.append(render("code_guidance", guidance=found.guidance[:MAX_GUIDANCE_CHARS]))
    return "\n\n".join(parts)


def _shown(label: str, candidate: Candidate) -> str:
    runs = f"{candidate.successes} of {candidate.runs} runs passed their checks" if candidate.runs else "not used by others yet"
    took = f", {candidate.latency_s:.3f} s on average" if candidate.latency_s is not None else ""
    stars = f", {candidate.stars} stars" if candidate.stars else ""
    mark = ", a breakthrough" if candidate.breakthrough else ""
    parameters = orjson.dumps(dict(candidate.parameters), default=dict).decode()
    return f"Program {label} ({runs}{took}{stars}{mark}); parameters: {parameters}\n```python\n{candidate.code}```"


def picked(block: Any, found: CodeFound, word: str) -> Candidate | None:
    """The candidate that a writer's JSON names under ``word`` (use, modify), by its letter or its version."""
    named = block.get(word) if isinstance(block, Mapping) else None
    if not isinstance(named, str):
        return None
    shown = offered(found)
    named = named.strip().removeprefix("Program ").strip()
    return shown.get(named.upper()) or next((each for each in shown.values() if each.version == named), None)


def combined(block: Any, found: CodeFound) -> tuple[Candidate, ...]:
    """The candidates that a program was made of: the one under ``modify``, or those under ``combine``, each once."""
    listed = block.get("combine") if isinstance(block, Mapping) else None
    names = listed[:MAX_SHOWN] if isinstance(listed, list) else []
    parts = [picked({"combine": name}, found, "combine") for name in names] or [picked(block, found, "modify")]
    return tuple({each.version: each for each in parts if each is not None}.values())


def same_code(code: str, found: CodeFound) -> Candidate | None:
    """The candidate that was handed back as it is: that is use, not writing."""
    return next((each for each in offered(found).values() if each.code.strip() == code.strip()), None)


def improvements_of(block: Any) -> tuple[str, ...]:
    """What the writer says was changed: short lines, at most ten."""
    listed = block.get("improvements") if isinstance(block, Mapping) else None
    if isinstance(listed, str):
        listed = [listed]
    texts = [" ".join(each.split())[:MAX_IMPROVEMENT_CHARS] for each in listed or () if isinstance(each, str)]
    return tuple(dict.fromkeys(text for text in texts if text))[:MAX_IMPROVEMENTS]
