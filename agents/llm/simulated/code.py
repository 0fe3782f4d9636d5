"""``def run(inputs):`` for what a question describes: templates over the names that it speaks of. Pure; called by words.py.

Skill decides whether the code is right; what is wrong is wrong in the ways of weak models (off by one, the opposite order).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from agents.llm.simulated.vocabulary import word_set

_QUOTED = re.compile(r"[`'\"]([A-Za-z_]\w{0,40})[`'\"]")
_KEYED = re.compile(r"inputs\[[\"'](\w{1,40})[\"']\]|inputs\.get\([\"'](\w{1,40})[\"']")
_GIVEN = re.compile(
    r"\b(?:given|takes?|with|inputs?|parameters?|arguments?|params?|fields?|keys?|named|called)\b:?\s+"
    r"((?:an?\s+|the\s+)?[A-Za-z_]\w*(?:\s*(?:,|and|&|,\s*and)\s+(?:an?\s+|the\s+)?[A-Za-z_]\w*){0,7})"
)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_NO_NAMES = word_set("""
    a an the list of numbers number string text value and or that which inputs input python function returns
    return dictionary dict run code def for in to by key keys field fields named called param parameters it its
    all two three some any each one only result output following this items words
    """)
_LISTY = re.compile(r"s$|list|values|numbers|items|array|records|rows", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """What the question says: names in order (lists first where one is meant), numbers, its words in lower case."""

    names: tuple[str, ...]
    numbers: tuple[float, ...]
    text: str

    @property
    def many(self) -> str:
        return next((name for name in self.names if _LISTY.search(name)), self.names[0] if self.names else "values")

    def one(self, place: int, default: str) -> str:
        return self.names[place] if place < len(self.names) else default

    @property
    def limit(self) -> str:
        named = next((name for name in self.names if name in ("threshold", "limit", "minimum", "maximum", "n", "k")), None)
        number = self.numbers[0] if self.numbers else 0
        return f"inputs[{named!r}]" if named else f"{number:g}"


def write_code(question: str, *, skilled: bool, rng: Random) -> str:
    """A fenced block with one function ``run(inputs)`` and one line that says what it does."""
    ask = _Ask(
        names=parameter_names(question),
        numbers=tuple(float(n) for n in _NUMBER.findall(question)[:8]),
        text=re.sub(r"\s+", " ", question.lower()),
    )
    about, body = next(((what, make(ask)) for pattern, what, make in _TEMPLATES if pattern.search(ask.text)), _fallback(ask))
    if not skilled:
        body = _spoiled(body, rng)
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    return f"```python\ndef run(inputs):\n{lines}\n```\n\nThe function {about}."


def function_body(question: str, names: tuple[str, ...], *, skilled: bool, rng: Random) -> str:
    """The body of a function over ``inputs`` with these names, for what the question asks."""
    ask = _Ask(names=names, numbers=(), text=re.sub(r"\s+", " ", question.lower()))
    _, body = next(((what, make(ask)) for pattern, what, make in _TEMPLATES if pattern.search(ask.text)), _fallback(ask))
    return body if skilled else _spoiled(body, rng)


def parameter_names(question: str) -> tuple[str, ...]:
    """The names of inputs that the question gives: used as keys, quoted, or listed after words like "given"; at most 8."""
    found = [a or b for a, b in _KEYED.findall(question)] + _QUOTED.findall(question)
    if not found:
        for match in _GIVEN.finditer(question):
            found += [word for word in re.findall(r"[A-Za-z_]\w*", match[1]) if word.lower() not in _NO_NAMES and len(word) > 1]
    return tuple(dict.fromkeys(name for name in found if name not in ("run", "inputs", "python")))[:8]


def _spoiled(body: str, rng: Random) -> str:
    """The body with one mistake in it."""
    mistakes = [
        (" + 1", ""),
        ("reverse=True", "reverse=False"),
        ("sorted(", "list("),
        (" >= ", " > "),
        (" > ", " < "),
        (" / ", " // "),
        (" * ", " + "),
        ("max(", "min("),
        ("sum(", "len("),
        ("return ", "return not "),
    ]
    possible = [(old, new) for old, new in mistakes if old in body]
    old, new = rng.choice(possible[:3])
    return body.replace(old, new, 1)


def _fallback(ask: _Ask) -> tuple[str, str]:
    if len(ask.names) >= 2:
        parts = ", ".join(f"{name!r}: inputs.get({name!r})" for name in ask.names)
        return "gathers its inputs", f"return {{{parts}}}"
    if ask.names:
        return f"works on {ask.names[0]}", f"value = inputs[{ask.names[0]!r}]\nreturn value"
    return "returns what it was given", "return dict(inputs)"


def _over_list(expression: str) -> Callable[[_Ask], str]:
    """A body over one list: ``v`` in ``expression`` is the list."""
    return lambda ask: f"values = inputs[{ask.many!r}]\nreturn {expression.replace('LIMIT', ask.limit)}"


def _binary(expression: str, a: str, b: str) -> Callable[[_Ask], str]:
    def make(ask: _Ask) -> str:
        first, second = ask.one(0, a), ask.one(1, b)
        return f"a = inputs[{first!r}]\nb = inputs[{second!r}]\nreturn {expression}"

    return make


def _on_text(expression: str) -> Callable[[_Ask], str]:
    return lambda ask: f"text = str(inputs[{(ask.names[0] if ask.names else 'text')!r}])\nreturn {expression}"


def _number_body(expression: str, name: str) -> Callable[[_Ask], str]:
    return lambda ask: f"n = inputs[{(ask.names[0] if ask.names else name)!r}]\n{expression}"


def _reduce(ask: _Ask, operation: str, listed: str) -> str:
    """Two scalars are combined, a list is folded."""
    plain = [name for name in ask.names if not _LISTY.search(name)]
    if len(plain) >= 2:
        return "return " + f" {operation} ".join(f"inputs[{name!r}]" for name in plain)
    return f"values = inputs[{ask.many!r}]\n{listed}"


def _discount(ask: _Ask) -> str:
    price, rate = ask.one(0, "price"), ask.one(1, "percent")
    return f"price = inputs[{price!r}]\nrate = inputs[{rate!r}]\nreturn round(price * (100 - rate) / 100, 2)"


def _gcd(ask: _Ask) -> str:
    first, second = ask.one(0, "a"), ask.one(1, "b")
    return f"a = abs(inputs[{first!r}])\nb = abs(inputs[{second!r}])\nwhile b > 0:\n    a, b = b, a % b\nreturn a"


def _mean(ask: _Ask) -> str:
    if len(ask.names) < 2:
        return f"values = inputs[{ask.many!r}]\nreturn sum(values) / len(values)"
    return f"return ({' + '.join(f'inputs[{name!r}]' for name in ask.names)}) / {len(ask.names)}"


_KEEP = r"\b(?:keep|filter|only|select)\b"
_ABOVE = r"\b(?:greater|more|larger|higher|above|over|exceed\w*)\b"
_SLUG = "'-'.join(''.join(c if c.isalnum() else ' ' for c in text.lower()).split())"
_FACTORIAL = "value = 1\nfor k in range(2, n + 1):\n    value = value * k\nreturn value"
_PRODUCT = "total = 1\nfor v in values:\n    total = total * v\nreturn total"
_DEVIATION = "(sum((v - sum(values) / len(values)) ** 2 for v in values) / len(values)) ** 0.5"
_FIBONACCI = "a, b = 0, 1\nfor _ in range(n):\n    a, b = b, a + b\nreturn a"
_PRIME = (
    "if n < 2:\n    return False\nfor k in range(2, int(n ** 0.5) + 1):\n    if n % k == 0:\n        return False\nreturn True"
)
_MEDIAN = (
    "values = sorted(inputs[{0!r}])\nm = len(values) // 2\n"
    "return values[m] if len(values) % 2 else (values[m - 1] + values[m]) / 2"
)
_GROUP = "found = {{}}\nfor value in inputs[{0!r}]:\n    found[value] = found.get(value, 0) + 1\nreturn found"
_PALINDROME = "''.join(c.lower() for c in text if c.isalnum()) == ''.join(c.lower() for c in text if c.isalnum())[::-1]"

_Template = tuple[re.Pattern[str], str, Callable[[_Ask], str]]
_TEMPLATES: tuple[_Template, ...] = tuple(
    (re.compile(pattern), what, make)
    for pattern, what, make in (
        (r"palindrome", "tells whether a text reads the same backwards", _on_text(_PALINDROME)),
        (r"vowels?", "counts vowels", _on_text("sum(1 for c in text.lower() if c in 'aeiou')")),
        (r"count.*words|number of words|word count", "counts words", _on_text("len(text.split())")),
        (r"reverse.*(string|text|word|name)", "reverses a text", _on_text("text[::-1]")),
        (r"upper ?case|capital letters", "writes a text in capitals", _on_text("text.upper()")),
        (r"lower ?case", "writes a text in small letters", _on_text("text.lower()")),
        (r"title ?case|capitali[sz]e", "capitalises a text", _on_text("text.title()")),
        (r"slug", "makes a slug", _on_text(_SLUG)),
        (r"factorial", "computes a factorial", _number_body(_FACTORIAL, "n")),
        (r"fibonacci", "computes a Fibonacci number", _number_body(_FIBONACCI, "n")),
        (r"\bprime", "tells whether a number is prime", _number_body(_PRIME, "n")),
        (r"\beven\b(?!.*(filter|only|keep))", "tells whether a number is even", _number_body("return n % 2 == 0", "n")),
        (r"celsius.*to.*fahrenheit|to fahrenheit", "converts degrees", _number_body("return n * 9 / 5 + 32", "celsius")),
        (r"fahrenheit.*to.*celsius|to celsius", "converts degrees", _number_body("return (n - 32) * 5 / 9", "fahrenheit")),
        (r"discount", "takes a discount off a price", _discount),
        (r"percent", "gives a percentage", _binary("round(a * 100 / b, 2)", "part", "whole")),
        (r"\bgcd|greatest common", "finds the greatest common divisor", _gcd),
        (r"area of a rectangle|rectang", "computes an area", _binary("a * b", "width", "height")),
        (r"area of a circle|circle", "computes an area", _number_body("return 3.141592653589793 * n * n", "radius")),
        (r"hypotenuse", "computes a hypotenuse", _binary("(a * a + b * b) ** 0.5", "a", "b")),
        (r"median", "finds the median", lambda ask: _MEDIAN.format(ask.many)),
        (r"average|\bmean\b", "computes the mean", _mean),
        (r"second (largest|highest)", "finds the second largest value", _over_list("sorted(set(values), reverse=True)[1]")),
        (r"maxim|largest|highest|biggest|greatest", "finds the largest value", _over_list("max(values)")),
        (r"minim(?!um of)|smallest|lowest|least", "finds the smallest value", _over_list("min(values)")),
        (rf"{_KEEP}.*{_ABOVE}|{_ABOVE}.*{_KEEP}", "keeps values above a limit", _over_list("[v for v in values if v > LIMIT]")),
        (
            r"(keep|filter|select|only).*(less|smaller|below|under)",
            "keeps values below a limit",
            _over_list("[v for v in values if v < LIMIT]"),
        ),
        (r"even numbers|only even|filter.*even", "keeps even numbers", _over_list("[v for v in values if v % 2 == 0]")),
        (r"odd numbers|only odd", "keeps odd numbers", _over_list("[v for v in values if v % 2 == 1]")),
        (r"sort.*(descending|decreasing|largest first|reverse)", "sorts downwards", _over_list("sorted(values, reverse=True)")),
        (r"\bsort|in order\b|ascending", "sorts", _over_list("sorted(values)")),
        (r"duplicate|dedup|\bunique|distinct", "drops what comes twice", _over_list("list(dict.fromkeys(values))")),
        (r"how often|frequenc|occurrences|group", "counts each value", lambda ask: _GROUP.format(ask.many)),
        (r"revers", "turns a list round", _over_list("list(values)[::-1]")),
        (r"flatten", "flattens a list", _over_list("[v for inner in values for v in inner]")),
        (r"\bjoin|concatenat", "joins texts", _over_list("' '.join(str(v) for v in values)")),
        (r"standard deviation", "computes a standard deviation", _over_list(_DEVIATION)),
        (r"squares?\b", "squares values", _over_list("[v * v for v in values]")),
        (r"double|twice", "doubles a value", _number_body("return n * 2", "value")),
        (r"product|multipl|\btimes\b", "multiplies", lambda ask: _reduce(ask, "*", _PRODUCT)),
        (r"\bsum|total|\badds?\b|adding|\bplus\b", "adds up", lambda ask: _reduce(ask, "+", "return sum(values)")),
        (r"difference|subtract|minus", "subtracts", _binary("a - b", "a", "b")),
        (r"divid|quotient|ratio", "divides", _binary("a / b if b else None", "a", "b")),
        (r"\bcount|how many|length|number of", "counts", _over_list("len(values)")),
        (r"greet|hello", "greets", lambda ask: f'return f"Hello, {{inputs[{ask.one(0, "name")!r}]}}!"'),
    )
)
