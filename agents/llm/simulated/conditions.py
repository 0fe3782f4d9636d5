"""Conditions on data in plain words, read as the JSON that is asked for: "ages are normal around 40, give or take 9". Pure.

Called by answers.py for the schema ``constraints`` and by datacode.py. Everything is found by the names of the fields that stand
near it; what is not said is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from agents.llm.simulated.reading import Reading
from agents.llm.simulated.rules import words_of
from agents.records import Json

MAX_TEXT: Final = 20_000
_N: Final = r"(-?\d[\d,_]*(?:\.\d+)?(?:\s?[kKmM]\b)?)"
_REQUEST: Final = "\nThe request:"
_LINE: Final = re.compile(r"^- ([^\s:]+): (\w+)(?:, one of (\[.*\]))?", re.M)
_SENTENCE: Final = re.compile(r"(?<=[a-z0-9)%])[.;!?](?:\s+|$)|\n+")
_FAMILIES: Final = (
    ("lognormal", r"log-?\s?normal(?:ly)?"),
    ("bimodal", r"bimodal(?:ly)?|two peaks|two humps|mixture of two"),
    ("normal", r"(?<!log)(?<!log-)(?<!log )(?:normal(?:ly)?|gaussian|bell[- ](?:curve|shaped))"),
    ("uniform", r"uniform(?:ly)?|evenly (?:spread|distributed)"),
    ("exponential", r"exponential(?:ly)?"),
    ("poisson", r"poisson"),
    ("gamma", r"\bgamma\b"),
)
_FAMILY: Final = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _FAMILIES), re.I)
_OF: Final = r"\s*(?:\(\w{1,6}\)\s*)?(?:of|=|is|are|:|at|around|near|about)?\s*"
_BETWEEN: Final = re.compile(rf"(?:between|from|in|to|within|on)\s+{_N}\s*(?:and|to|-|–|…|through)\s*{_N}", re.I)
_LEAST: Final = re.compile(
    rf"(?:at least|no (?:less|lower|younger) than|never below|not below|minimum(?: of)?|floor of|≥)\s*{_N}", re.I
)
_MOST: Final = re.compile(
    rf"(?:at most|no (?:more|higher|older) than|never above|not above|maximum(?: of)?|capped at|up to|≤)\s*{_N}", re.I
)
_R2: Final = re.compile(
    r"\br\s?(?:²|\^2|2|-?\s?squared)\s*(?:\w+\s){0,2}?(?:of|>=?|≥|above|over|exceed\w*|at least|is|must be)?\s*"
    rf"(?:at least|above|over)?\s*{_N}",
    re.I,
)
_R: Final = re.compile(rf"correlat\w+\b[^.;]{{0,60}}?(?:of|>=?|≥|above|over|at least|around|=)\s*(?:at least |above )?{_N}", re.I)
_SHARE: Final = re.compile(
    rf"{_N}\s?(?:%|percent|per cent)\s+(?:of (?:them|all|the \w+)\s+)?(?:(?:are|is|be|being|should be|have|on)\s+)?"
    r"([A-Za-z][\w-]*)",
    re.I,
)
_SHARE_AFTER: Final = re.compile(rf"([A-Za-z][\w-]*)\s*(?:[:=(]|at|with|for|in|gets?)?\s*{_N}\s?(?:%|percent)", re.I)
_SUM: Final = re.compile(
    rf"(?:sums? to|summing to|adds? up to|adding up to|total(?:s|ling)? (?:of )?)\s*(?:exactly )?[$€£]?{_N}", re.I
)
_ORDER: Final = re.compile(
    r"\b(strictly )?(increas\w+|ascending|rising|rises?|grow\w*|chronological\w*|decreas\w+|descending|falling)\b", re.I
)
_DOWN: Final = ("decreas", "descend", "falling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field that conditions may be about: its path, its type and the values that it may have."""

    path: str
    kind: str
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def is_number(self) -> bool:
        return self.kind in ("integer", "number")


def listed_fields(text: str) -> tuple[Field, ...]:
    """The fields that a prompt lists as ``- users[].age: integer``."""
    return tuple(
        Field(path=path, kind=kind, options=tuple(re.findall(r"'([^']*)'", options)))
        for path, kind, options in _LINE.findall(text)
    )


def conditions(fields: Sequence[Field], text: str) -> list[dict[str, Json]]:
    """What ``text`` says about ``fields``, as entries of a list of constraints."""
    found: list[dict[str, Json]] = []
    previous: Field | None = None
    for sentence in _SENTENCE.split(text[:MAX_TEXT]):
        if not sentence or not sentence.strip():
            continue
        spots = sorted(_mentions(fields, sentence), key=lambda spot: spot[0])
        found += _distributions(fields, sentence, spots, previous)
        found += _others(fields, sentence, spots)
        previous = spots[-1][1] if spots else previous
    logged = {one["field"] for one in found if one.get("distribution", {}).get("family") == "lognormal"}
    for one in found:
        if "correlation" in one and logged & set(one["fields"]):
            one["correlation"]["scale"] = "log"
    ranged = {one.get("field") for one in found if "distribution" in one or "ratios" in one}
    kept = [one for one in found if "range" not in one or one["field"] not in ranged]
    return list({str(one): one for one in kept}.values())


def misread(entries: list[dict[str, Json]], rng: Random) -> list[dict[str, Json]]:
    """The same with one number wrong, as a careless reader has it."""
    numbers = [(one["distribution"], key) for one in entries if "distribution" in one for key in one["distribution"]]
    usable = [(holder, key) for holder, key in numbers if isinstance(holder[key], float)]
    if usable:
        holder, key = rng.choice(usable)
        holder[key] = holder[key] * 1.37
    return entries


def _mentions(fields: Sequence[Field], sentence: str) -> Iterator[tuple[int, Field]]:
    """Where each field is spoken of: by its whole name, else by a word of it that no other field has."""
    heard: dict[str, int] = {}
    for field in fields:
        for word in set(words_of(field.name)):
            heard[word] = heard.get(word, 0) + 1
    for field in fields:
        words = list(words_of(field.name))
        # Behind a number it is a unit: "for 30 days" speaks of no field called day.
        whole = re.search(r"(?<!\d )\b" + r"[\s_-]+".join(map(re.escape, words)) + r"(?:s|es)?\b", sentence, re.I)
        if whole is None:
            single = [word for word in words if len(word) > 2 and heard[word] == 1]
            whole = next(
                (m for word in single if (m := re.search(rf"(?<!\d )\b{re.escape(_stem(word))}\w{{0,3}}\b", sentence, re.I))),
                None,
            )
        if whole is not None:
            yield whole.start(), field


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] in "ys" else word


def _near(spots: Sequence[tuple[int, Field]], at: int, *, number: bool = True) -> Field | None:
    """The field that stands closest before ``at``, else after it."""
    fitting = [(place, field) for place, field in spots if field.is_number or not number]
    before = [one for one in fitting if one[0] <= at]
    return (before[-1] if before else fitting[0])[1] if fitting else None


def _distributions(
    fields: Sequence[Field], sentence: str, spots: Sequence[tuple[int, Field]], previous: Field | None
) -> Iterator[dict[str, Json]]:
    matches = list(_FAMILY.finditer(sentence))
    numeric = [field for field in fields if field.is_number]
    for number, match in enumerate(matches):
        end = matches[number + 1].start() if number + 1 < len(matches) else len(sentence)
        last = (
            [place for place, field in spots if field.is_number and match.end() < place < end]
            if number + 1 < len(matches)
            else []
        )
        window = sentence[match.start() : last[-1] if last else end]
        field = _near(spots, match.start()) or (previous if previous and previous.is_number else None)
        field = field or (numeric[0] if len(numeric) == 1 else None)
        family = match.lastgroup or "normal"
        if field is not None:
            yield {
                "field": field.path,
                "distribution": {"family": family, **_parameters(family, window)} | _rounding(field, family),
            }


def _rounding(field: Field, family: str) -> dict[str, Json]:
    return {"round": True} if field.kind == "integer" and family != "poisson" else {}


def _parameters(family: str, text: str) -> dict[str, Json]:
    mean = _after(r"(?:mean|average|expect\w+|centred|centered|around)(?: value)?(?: of)?", text)
    std = _after(r"(?:standard deviation|std\.?(?: ?dev\w*)?|\bsd\b|give or take|spread|±)", text)
    between = _BETWEEN.search(text)
    if family == "uniform":
        return {"low": _value(between[1]), "high": _value(between[2])} if between else {}
    if family == "bimodal":
        return _components(text)
    found: dict[str, Json] = {}
    if family == "lognormal":
        sigma = _after(r"(?:log[- ](?:sd|std|standard deviation)|sigma|σ|standard deviation of the log\w*)", text)
        mu = _after(r"(?:log[- ]mean|\bmu\b|μ|mean of the log\w*)", text)
        median = _after(r"median", text)
        if mu is not None and sigma is not None:
            found = {"mu": mu, "sigma": sigma}
        elif median is not None and sigma is not None:
            found = {"median": median, "sigma": sigma}
        elif mean is not None and std is not None:
            found = {"mean": mean, "std": std}
    elif family == "gamma":
        shape, scale = _after(r"shape", text), _after(r"scale", text)
        found = {"shape": shape, "scale": scale} if shape is not None and scale is not None else {}
    elif family in ("exponential", "poisson"):
        rate = _after(r"(?:rate|lambda|λ)", text)
        if mean is not None or rate is not None:
            found = {"mean": mean} if mean is not None else {"mean" if family == "poisson" else "rate": rate}
    elif mean is not None and std is not None:
        found = {"mean": mean, "std": std}
    return {**found, **_clip(text, between)}


def _clip(text: str, between: re.Match[str] | None) -> dict[str, Json]:
    if between:
        return {"clip": [_value(between[1]), _value(between[2])]}
    least, most = _LEAST.search(text), _MOST.search(text)
    if least is None and most is None:
        return {}
    return {"clip": [_value(least[1]) if least else None, _value(most[1]) if most else None]}


def _components(text: str) -> dict[str, Json]:
    centres = re.search(rf"(?:peaks?|modes?|humps?|cent(?:re|er)s?|means?|around){_OF}{_N}\s*and\s*(?:\w+ )?{_N}", text, re.I)
    spreads = re.search(rf"(?:standard deviations?|std|sds?|spreads?){_OF}{_N}(?:\s*and\s*{_N})?", text, re.I)
    if centres is None or spreads is None:
        return {}
    both = (_value(spreads[1]), _value(spreads[2] or spreads[1]))
    shares = [_value(share) for share in re.findall(rf"{_N}\s?%", text)]
    weights = [share / 100 for share in shares] if len(shares) == 2 else [0.5, 0.5]
    parts = [{"mean": _value(centres[n + 1]), "std": both[n], "weight": weights[n]} for n in (0, 1)]
    return {"components": parts}


def _others(fields: Sequence[Field], sentence: str, spots: Sequence[tuple[int, Field]]) -> Iterator[dict[str, Json]]:
    numbers = list(dict.fromkeys(field for _, field in spots if field.is_number))
    if re.search(r"correlat|\br\s?(?:²|\^2|-?squared)", sentence, re.I) and len(numbers) >= 2:
        yield from _correlation(sentence, numbers)
    yield from _shares(fields, sentence, spots)
    total = _SUM.search(sentence)
    if total and (field := _near(spots, total.start())) is not None:
        yield {"field": field.path, "sum": _value(total[1])}
    order = _ORDER.search(sentence)
    if order and not re.search(r"correlat", sentence, re.I) and (field := _near(spots, order.start(), number=False)) is not None:
        word = "decreasing" if order[2].lower().startswith(_DOWN) else "increasing"
        yield {"field": field.path, "monotonic": f"strictly_{word}" if order[1] else word}
    for at in re.finditer(r"\bunique\b|\bno two\b", sentence, re.I):
        if (field := _near(spots, at.start(), number=False)) is not None:
            yield {"field": field.path, "unique": True}
    between = _BETWEEN.search(sentence)
    if between and not _FAMILY.search(sentence) and (field := _near(spots, between.start())) is not None:
        yield {"field": field.path, "range": [_value(between[1]), _value(between[2])]}


def _correlation(sentence: str, numbers: Sequence[Field]) -> Iterator[dict[str, Json]]:
    fields = [numbers[0].path, numbers[1].path]
    squared = _R2.search(sentence)
    if squared:
        yield {"fields": fields, "correlation": {"r2_at_least": _value(squared[1])}}
        return
    plain = _R.search(sentence)
    if plain:
        amount = abs(_value(plain[1]))
        negative = plain[1].startswith("-") or re.search(r"negativ|invers", sentence, re.I)
        yield {"fields": fields, "correlation": {"r": [-1.0, -amount] if negative else [amount, 1.0]}}


def _shares(fields: Sequence[Field], sentence: str, spots: Sequence[tuple[int, Field]]) -> Iterator[dict[str, Json]]:
    before = {name: _value(share) for share, name in _SHARE.findall(sentence)}
    after = {name: _value(share) for name, share in _SHARE_AFTER.findall(sentence)}
    for shares in (before, after):
        if len(shares) < 2 or abs(sum(shares.values()) - 100) > 1:
            continue
        for field in fields:
            options = {option.lower(): option for option in field.options}
            if options and all(name.lower() in options for name in shares):
                yield {"field": field.path, "ratios": {options[name.lower()]: share / 100 for name, share in shares.items()}}
                return
        place = re.search(rf"{_N}\s?(?:%|percent)", sentence)
        texts = [spot for spot in spots if spot[1].kind == "string"]
        field_near = _near(texts, place.start() if place else 0, number=False)
        if field_near is not None:
            yield {"field": field_near.path, "ratios": {name: share / 100 for name, share in shares.items()}}
            return


def _after(words: str, text: str) -> float | None:
    match = re.search(rf"{words}{_OF}{_N}", text, re.I)
    return _value(match[1]) if match else None


def _value(digits: str) -> float:
    plain = digits.replace(",", "").replace("_", "").strip()
    factor = {"k": 1e3, "m": 1e6}.get(plain[-1].lower(), 1.0)
    return float(plain.rstrip("kKmM").strip()) * factor


def of_prompt(reading: Reading) -> dict[str, Any]:
    """The answer to a conversation in which a message lists fields and gives a request."""
    texts = (reading.text(number) for number in range(len(reading.messages)))
    text = next((one for one in texts if _REQUEST in one and _LINE.search(one)), "")
    listed, _, request = text.partition(_REQUEST)
    return {
        "constraints": conditions(listed_fields(listed), re.sub(r"^(?:user|system|assistant): ", "", request.strip(), flags=re.M))
    }
