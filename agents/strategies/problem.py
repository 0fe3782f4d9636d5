"""What kind of problem a request is, and which of its fields code can work out: pure, by its words and its form.

Called by code_augmented.py. Reaches no model. A score of computing words and declared statistics decides where it is clear; what
lies between is ``unsure``, and a model is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from agents.quality.fields import parse_field
from agents.quality.statistical_constraints import STATISTICAL, fields_of
from agents.records import Json, Work
from agents.schema_check import resolve
from agents.shaping import array_path, array_schema
from agents.strategies.complexity import words_of_users
from agents.verdicts import Constraint

Kind = Literal["pattern", "computational", "hybrid"]

MAX_CHARS: Final = 20_000
CLEAR: Final = 2.0
"""From this score on it is computing without a doubt."""
_STATISTICS: Final = re.compile(
    r"normal(?:ly)?[- ]distribut\w+|(?:normal|gamma) distribution|log-?normal\w*|gaussian|bell[- ](?:curve|shaped)|bimodal\w*"
    r"|poisson|exponential(?:ly)?|uniform(?:ly)? (?:distribut\w+|between|from)|evenly distribut\w+|uniform distribution"
    r"|standard deviation|\bstd\b|\bsd\b|variance|correlat\w+|\br(?:²|\^2|2|-squared)|percentiles?|quantiles?|mixture of"
    r"|monoton\w+|sum(?:s|ming)? to|adds? up to|(?<![\w.])\d[\d.]*\s?(?:%|percent)|in the (?:ratio|proportions?)|\bratio of \d"
    r"|shares? of \d|\bmean (?:of |= ?)?\d[\d.]*|averag\w+ (?:of )?\d[\d.]*|\bmedian (?:of )?\d[\d.]*",
    re.I,
)
_WEAK: Final = re.compile(r"\d|mean|averag|median|ratio|share|in the|exponential|variance")
"""Statistics that are also spoken of without being meant to be exact."""
_COMPUTING: Final = re.compile(
    r"\b(?:calculat\w+|comput\w+|work out|determine exactly|how (?:many|much)|sum of|product of|average of|mean of|median of"
    r"|compound(?:ed)? interest|amorti[sz]\w+|instal+ments?|probabilit\w+|simulat\w+|monte[- ]carlo|primes?|factorial|fibonacci"
    r"|solve|equation|matrix|determinant|permutations?|combinations?|greatest common|least common|regression|integral|derivative"
    r"|convert \d|to the power|square root|decimal places|exact(?:ly)?|running total|cumulative)\b",
    re.I,
)
_CREATIVE: Final = re.compile(
    r"\b(?:story|poem|slogan|essay|haiku|joke|letter|translate|summari[sz]e|rewrite|explain|describe|brainstorm|suggest|tagline"
    r"|biograph\w+|creative|opinion|advice|review of)\b",
    re.I,
)
_NUMBER: Final = re.compile(r"(?<![\w.])\d[\d.,]*")
_COUNTED: Final = ("integer", "number", "boolean", "null")
_MADE_BY_CODE: Final = frozenset({"date", "date-time", "time", "uuid", "ipv4", "ipv6", "duration"})
_IDS: Final = re.compile(r"(?:^|_)(?:id|uuid|sku|code|number|no|ref|index)$|Id$|ID$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """``kind`` with what speaks for it; ``sure`` False where a model should be asked."""

    kind: Kind
    score: float
    sure: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which parts of an answer code works out and which want words.

    ``path`` leads to the one list (None: there is none, and ``items`` is the whole answer). ``computed`` and ``words`` are fields
    of an item, ``frame_computed`` and ``frame_words`` those that stand around the list. An item that is no object has no fields:
    then ``plain`` says that all of it is computed.
    """

    path: tuple[str, ...] | None
    computed: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    frame_computed: tuple[str, ...] = ()
    frame_words: tuple[str, ...] = ()
    plain: bool = False

    @property
    def wants_words(self) -> bool:
        return bool(self.words or self.frame_words)

    @property
    def computes(self) -> bool:
        return bool(self.computed or self.frame_computed or self.plain)


def layout_of(schema: Mapping[str, Json], constraints: Sequence[Constraint]) -> Layout:
    """Which fields code can fill: numbers, truth values, dates, identifiers, given options, and all that a statistic is about."""
    named = {field_name(path) for one in constraints if one.kind in STATISTICAL for path in fields_of(one)}
    path = array_path(schema)
    top = resolve(schema, schema)
    if path is None:
        computed, words = _split(top, schema, named, ())
        return Layout(path=None, computed=computed, words=words, plain=not (computed or words) and _is_computed(top, schema, 0))
    item = resolve(array_schema(schema, path).get("items", {}), schema)
    computed, words = _split(item, schema, named, ())
    frame = _split(top, schema, named, path) if path else ((), ())
    plain = not (computed or words) and _is_computed(item, schema, 0)
    return Layout(path=path, computed=computed, words=words, frame_computed=frame[0], frame_words=frame[1], plain=plain)


def field_name(path: str) -> str:
    """The field of the item (or of the answer) that a path leads into: ``age`` of ``users[].age``."""
    steps = parse_field(path)
    last = max((place for place, step in enumerate(steps) if step is None), default=-1)
    rest = [step for step in steps[last + 1 :] if isinstance(step, str)]
    return rest[0] if rest else ""


def _split(
    part: Json, root: Mapping[str, Json], named: set[str], without: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    properties = part.get("properties") if isinstance(part, Mapping) else None
    computed: list[str] = []
    words: list[str] = []
    for name, field in properties.items() if isinstance(properties, Mapping) else ():
        if name in without:
            continue
        own = name in named or (_IDS.search(name) is not None and not _is_nested(field, root))
        (computed if own or _is_computed(field, root, 0) else words).append(name)
    return tuple(computed), tuple(words)


def _is_nested(field: Json, root: Mapping[str, Json]) -> bool:
    found = resolve(field, root)
    return isinstance(found, Mapping) and found.get("type") in ("object", "array")


def _is_computed(field: Json, root: Mapping[str, Json], depth: int) -> bool:
    found = resolve(field, root)
    if not isinstance(found, Mapping) or depth > 8:
        return False
    if "enum" in found or "const" in found or found.get("format") in _MADE_BY_CODE:
        return True
    kinds = found.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if "array" in kinds:
        return _is_computed(found.get("items"), root, depth + 1)
    if "object" in kinds:
        inner = found.get("properties")
        return isinstance(inner, Mapping) and bool(inner) and all(_is_computed(one, root, depth + 1) for one in inner.values())
    return bool(kinds) and all(kind in _COUNTED for kind in kinds)


def classify(work: Work) -> Classified:
    """Pattern matching, computing, or both."""
    text = words_of_users(work)[-MAX_CHARS:]
    declared = [one for one in work.constraints if one.kind in STATISTICAL]
    statistics = {word.casefold() for word in _STATISTICS.findall(text)}
    computing = {word.casefold() for word in _COMPUTING.findall(text)}
    creative = {word.casefold() for word in _CREATIVE.findall(text)}
    numbers = len(_NUMBER.findall(text))
    strong = sum(_WEAK.match(word) is None for word in statistics)
    score = 2.0 * bool(declared) + min(3.0, len(statistics) + strong) + min(2.0, 0.8 * len(computing)) + 0.5 * (numbers >= 3)
    reasons = [f"{len(declared)} declared statistics"] if declared else []
    reasons += [f"it says {word!r}" for word in sorted(statistics | computing)[:8]]
    if work.schema is None:
        score -= 1.0 * len(creative)
        reasons += [f"but also {word!r}" for word in sorted(creative)[:3]]
        kind: Kind = "computational" if score >= 1.0 else "pattern"
        return Classified(kind=kind, score=score, sure=score >= CLEAR or score < 0.6, reasons=tuple(reasons))
    layout = layout_of(work.schema, work.constraints)
    if not layout.computes or score < 0.6:
        why = reasons or ["nothing in it is to be computed"]
        return Classified(
            kind="pattern", score=score, sure=True, reasons=tuple(why) if layout.computes else ("its form has only words",)
        )
    kind = computing_kind(layout)
    if layout.wants_words:
        reasons.append(f"words for {', '.join((*layout.words, *layout.frame_words)[:6])}")
    return Classified(kind=kind, score=score, sure=score >= CLEAR or bool(declared), reasons=tuple(reasons))


def computing_kind(layout: Layout) -> Kind:
    """Of a problem that is to be computed: with or without words."""
    return "hybrid" if layout.wants_words else "computational"


def names_statistics(work: Work) -> bool:
    """Whether its words speak of statistics, so that constraints should be found in them."""
    return _STATISTICS.search(words_of_users(work)[-MAX_CHARS:]) is not None
