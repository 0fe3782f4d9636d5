"""What differs between a new request and a stored one, and which of it the stored code's parameters can take up.

Called by the library (solutions.py): numbers, quoted texts and names of the two requests are lined up by the words around them;
where everything that differs belongs to a parameter of the stored code, the code can be run again with new values and no model is
asked. Differences in polarity («with» / «without») never line up. Also says what kind of change a distance calls for. Pure.
Imports wording.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Final

from registry.wording import MAX_CHARS, negation_differs, read, stem

Value = str | int | float
MAX_PIECES: Final = 400
"""Words of a request that are lined up; what is longer is not a parametric request."""

_PIECE: Final = re.compile(
    r"(?P<quoted>\"[^\"]{0,200}\"|«[^»]{0,200}»|`[^`]{0,200}`)"
    r"|(?P<number>(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)(?P<unit>\s?(?:%|[kKmM]\b))?"
    r"|(?P<word>[^\W\d][\w'’-]*)"
)
_FACTORS: Final = {"k": 1000, "m": 1_000_000}
_COUNTING: Final = "zero one two three four five six seven eight nine ten eleven twelve"
_WORDS_FOR_NUMBERS: Final = {word: value for value, word in enumerate(_COUNTING.split())} | {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
}


# ── tiers and paths ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """From which similarity on which kind of change is tried, and how long the path is. Trust decides who may answer."""

    parameter_tuning: float = 0.95
    field_substitution: float = 0.85
    logic_adaptation: float = 0.70
    combination: float = 0.60
    paths: tuple[float, float, float] = (0.9, 0.7, 0.5)

    def __post_init__(self) -> None:
        steps = (1.0, self.parameter_tuning, self.field_substitution, self.logic_adaptation, self.combination, -1.0)
        if not all(high >= low for high, low in pairwise(steps)):
            raise ValueError(
                "tiers must fall: parameter_tuning, field_substitution, logic_adaptation, combination, within -1 and 1"
            )
        if not 1.0 >= self.paths[0] >= self.paths[1] >= self.paths[2] >= -1.0:
            raise ValueError("paths must be three falling similarities within -1 and 1")

    def name(self, similarity: float) -> str:
        """Which change ``similarity`` calls for; ``generation`` where nothing stored helps."""
        for tier in ("parameter_tuning", "field_substitution", "logic_adaptation", "combination"):
            if similarity >= getattr(self, tier):
                return tier
        return "generation"

    def steps(self, similarity: float) -> int:
        """How many steps the path to an answer has: 3 to 6."""
        return 3 + sum(not similarity >= bound for bound in self.paths)


# ── lining up ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Piece:
    """A word, number or quoted text. ``value`` is what a parameter would take; ``key`` what two pieces are compared by."""

    kind: str
    key: str
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of stored code: its ``value`` when it was stored, and the bounds that its schema sets."""

    name: str
    value: Value
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """``values`` are all parameters for the new request. ``covered``: every difference is one of a parameter.

    ``changes`` lists what differs as (old, new) texts; ``reason`` says why it is not covered, or "".
    """

    values: Mapping[str, Value]
    changes: tuple[tuple[str, str], ...]
    covered: bool
    reason: str = ""


def form_of(text: str) -> str:
    """The words of ``text`` with a sign for each value: what is the same for requests that differ in values alone."""
    return " ".join(piece.key if piece.kind == "word" else f"<{piece.kind}>" for piece in pieces(text))


def pieces(text: str) -> list[Piece]:
    """Words, numbers (also in words, with «k», «m» and «%») and quoted texts of ``text``, in order."""
    found: list[Piece] = []
    for match in _PIECE.finditer(text[:MAX_CHARS]):
        if quoted := match["quoted"]:
            found.append(Piece("text", quoted[1:-1], quoted[1:-1]))
        elif number := match["number"]:
            unit = (match["unit"] or "").strip().lower()
            value = _number(number, _FACTORS.get(unit, 1))
            found.append(Piece("number", f"{value}", value))
            found += [Piece("word", "%", "%")] if unit == "%" else []
        else:
            word = match["word"].lower().replace("’", "'")
            if word in _WORDS_FOR_NUMBERS and word != "one":  # «one» is more often a word than a number
                found.append(Piece("number", f"{_WORDS_FOR_NUMBERS[word]}", _WORDS_FOR_NUMBERS[word]))
            else:
                found.append(Piece("word", stem(word), match["word"]))
    return found[: MAX_PIECES + 1]


def _number(text: str, factor: int) -> Value:
    plain = float(text.replace(",", "")) * factor
    return int(plain) if math.isfinite(plain) and plain == int(plain) and abs(plain) < 2**53 else plain


def align(stored: str, new: str, parameters: Sequence[Parameter]) -> Alignment:
    """Line up the two requests and map what differs onto ``parameters``.

    A difference is taken up when it replaces one value of the stored request by one of the same kind, and exactly one parameter
    that is not taken up otherwise held the old value. Everything else leaves the alignment uncovered.
    """
    kept = {parameter.name: parameter.value for parameter in parameters}

    def refused(reason: str, changes: Sequence[tuple[str, str]] = ()) -> Alignment:
        return Alignment(values=kept, changes=tuple(changes), covered=False, reason=reason)

    if negation_differs(read(stored), read(new)):
        return refused("one negates what the other does not")
    old_pieces, new_pieces = pieces(stored), pieces(new)
    if max(len(old_pieces), len(new_pieces)) > MAX_PIECES:
        return refused("too long to line up")
    differences = _differences(old_pieces, new_pieces)
    changes = [(_shown(old), _shown(after)) for old, after in differences]
    values, taken = dict(kept), dict[str, Value]()
    for old, after in differences:
        if len(old) != len(after):
            return refused(f"«{_shown(old)}» became «{_shown(after)}»", changes)
        for before, behind in zip(old, after, strict=True):
            if before.key == behind.key:
                continue
            reason = _take_up(before, behind, parameters, values, taken)
            if reason:
                return refused(reason, changes)
    for parameter in parameters:
        if parameter.name in taken and _count(parameter.value, old_pieces) != sum(
            _count(parameter.value, a) for a, _ in differences
        ):
            return refused(f"«{parameter.value}» changed in one place and not in another", changes)
    return Alignment(values=values, changes=tuple(changes), covered=True)


def _count(value: Value, some: Sequence[Piece]) -> int:
    return sum(_same(value, piece) for piece in some)


def _differences(old: Sequence[Piece], new: Sequence[Piece]) -> list[tuple[list[Piece], list[Piece]]]:
    """Stretches that differ. Values are compared by kind, so that the words around them hold the two texts together."""
    shape_old = [piece.key if piece.kind == "word" else f"<{piece.kind}>" for piece in old]
    shape_new = [piece.key if piece.kind == "word" else f"<{piece.kind}>" for piece in new]
    found: list[tuple[list[Piece], list[Piece]]] = []
    for how, a, b, c, d in SequenceMatcher(None, shape_old, shape_new, autojunk=False).get_opcodes():
        if how != "equal":
            found.append((list(old[a:b]), list(new[c:d])))
            continue
        pairs = zip(old[a:b], new[c:d], strict=True)
        found += [([before], [after]) for before, after in pairs if before.key != after.key]
    return found


def _take_up(
    before: Piece, after: Piece, parameters: Sequence[Parameter], values: dict[str, Value], taken: dict[str, Value]
) -> str:
    """Give the one parameter that held ``before`` the value ``after``; returns why not, or ""."""
    if before.kind != after.kind:
        return f"«{before.value}» and «{after.value}» are of different kinds"
    holders = [each for each in parameters if _same(each.value, before) and each.name not in taken]
    if len(holders) != 1:
        again = [each for each in parameters if _same(each.value, before) and taken.get(each.name) == after.value]
        if again:  # the same value stands in the request twice, and changed in the same way
            return ""
        many = "no parameter holds" if not holders else "several parameters hold"
        return f"{many} «{before.value}»"
    (holder,) = holders
    value = after.value
    if isinstance(holder.value, str) and before.kind == "word":
        value = str(after.value)
    if isinstance(holder.value, int) and not isinstance(value, int):
        return f"{holder.name} is a whole number, «{after.value}» is not"
    if isinstance(value, int | float):
        if holder.minimum is not None and value < holder.minimum:
            return f"{holder.name} must be at least {holder.minimum:g}"
        if holder.maximum is not None and value > holder.maximum:
            return f"{holder.name} must be at most {holder.maximum:g}"
    if holder.choices and value not in holder.choices:
        return f"{holder.name} cannot be «{value}»"
    values[holder.name] = value
    taken[holder.name] = after.value
    return ""


def _same(value: Value, piece: Piece) -> bool:
    if piece.kind == "number":
        return not isinstance(value, str) and float(value) == float(piece.value)
    return isinstance(value, str) and (stem(value.lower()) == piece.key if piece.kind == "word" else value == piece.value)


def _shown(some: Sequence[Piece]) -> str:
    return " ".join(str(piece.value) for piece in some)
