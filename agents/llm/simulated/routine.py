"""What a simulated model writes when a specialist's routine is asked for: a program that weighs the words which set requests of
one kind apart from others. Pure for a seed; called by answers.py. It knows no kind: all comes from the examples in the question.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any, Final

from agents.llm.simulated.reading import Reading

_ASKED: Final = re.compile(r"\bspecialist routine\b", re.I)
_EXAMPLES: Final = re.compile(r"```json\n(\{.*\})\n```", re.S)
_WORD: Final = re.compile(r"[a-z]{3,}")
_MOST_WORDS: Final = 60


def asks_for_routine(reading: Reading) -> bool:
    """Whether the question is one for a routine, with examples of both sorts."""
    return bool(_ASKED.search(reading.question)) and _examples(reading) is not None


def write_routine(reading: Reading, skill: float, rng: Random) -> str:
    """The routine in a fenced block. A weak author overlooks words."""
    examples = _examples(reading) or {"own": [], "others": []}
    own, others = _counted(examples["own"]), _counted(examples["others"])
    weights = {}
    for word in sorted({*own, *others}):
        here, there = (own[word] + 0.3) / (len(examples["own"]) + 0.6), (others[word] + 0.3) / (len(examples["others"]) + 0.6)
        weight = math.log(here / there)
        if abs(weight) > 0.4 and rng.random() < 0.5 + skill / 2:
            weights[word] = round(weight, 2)
    chosen = dict(sorted(weights.items(), key=lambda each: (-abs(each[1]), each[0]))[:_MOST_WORDS])
    return f"It goes by the words that set them apart.\n\n```python\n{_code(chosen)}```\n"


def _examples(reading: Reading) -> Mapping[str, Any] | None:
    found = _EXAMPLES.search(reading.question)
    try:
        told = json.loads(found[1]) if found else None
    except ValueError:
        return None
    if not isinstance(told, dict) or not all(isinstance(told.get(name), list) for name in ("own", "others")):
        return None
    return told


def _counted(texts: list[Any]) -> Counter[str]:
    return Counter(word for text in texts for word in set(_WORD.findall(str(text).lower())))


def _code(weights: Mapping[str, float]) -> str:
    return f"""import math
import re

WEIGHTS = {json.dumps(weights)}


def run(inputs):
    words = set(re.findall("[a-z]{{3,}}", inputs["text"].lower()))
    score = sum(WEIGHTS.get(word, 0.0) for word in words) - 0.5
    confidence = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, score))))
    match = confidence >= 0.5
    return {{"match": match, "confidence": confidence, "backend": None, "prompt": "Answer it as a request of this kind."}}
"""
