"""Names for patterns: of the words that set a pattern's requests apart, or from a model, whose answer is checked. Pure.

Called by work.py. Requests of clients are data in the question.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from agents.llm.prompts import render
from agents.records import Json

BY_WORDS: Final = "words"
MAX_NAME_CHARS: Final = 60
MAX_EXAMPLES: Final = 12
_NAME_WORDS: Final = 3
_WORD: Final = re.compile(r"[^\W\d_][^\W_]{2,23}")
_NAME: Final = r"^[^\W_][\w &'()/-]*$"
_EVERYDAY: Final = re.compile(
    r"the|and|for|are|was|were|with|what|that|this|have|has|had|not|you|your|how|can|could|would|should|will|from|please|there"
    r"|when|where|which|who|why|does|did|about|into|out|get|give|make|want|need|like|some|any|all|its|our|their|just|tell|help"
    r"|also|one"
)

NAME_SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 3, "maxLength": MAX_NAME_CHARS}},
    "required": ["name"],
    "additionalProperties": False,
}


class _Named(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: Annotated[str, StringConstraints(min_length=3, max_length=MAX_NAME_CHARS, pattern=_NAME, strip_whitespace=True)]


def by_words(own: Sequence[str], others: Sequence[str], taken: Collection[str], fallback: str) -> str:
    """A name of the words that are in many of ``own`` texts and few of ``others``, none of ``taken``; deterministic."""
    here, there = _in_texts(own), _in_texts(others)
    weight = {
        word: count / max(len(own), 1) * math.log((1 + len(others)) / (1 + there[word]) + 1)
        for word, count in here.items()
        if not _EVERYDAY.fullmatch(word) and (count > 1 or len(own) == 1)
    }
    words = sorted(weight, key=lambda word: (-weight[word], word))[:_NAME_WORDS]
    # In the order in which they mostly come, so that it reads like a request.
    order = {word: sum(text.lower().find(word) for text in own if word in text.lower()) / here[word] for word in words}
    name = " ".join(sorted(words, key=lambda word: (order[word], word)))[:MAX_NAME_CHARS] or fallback
    return name if name not in taken else f"{name} {fallback}"[:MAX_NAME_CHARS]


def _in_texts(texts: Sequence[str]) -> Counter[str]:
    return Counter(word for text in texts for word in {each.lower() for each in _WORD.findall(text)})


def question(own: Sequence[str], others: Sequence[str]) -> str:
    """What a model is asked."""
    return render("pattern_name", requests=_listed(own), others=_listed(others))


def _listed(texts: Sequence[str]) -> str:
    return json.dumps([" ".join(text.split())[:200] for text in texts[:MAX_EXAMPLES]], ensure_ascii=False, indent=1)


def name_of(data: Json, taken: Collection[str]) -> str | None:
    """The name in a model's answer; None where it is no usable name, or another pattern has it."""
    try:
        name = " ".join(_Named.model_validate(data).name.split())
    except ValidationError:
        return None
    return None if name.casefold() in {each.casefold() for each in taken} else name
