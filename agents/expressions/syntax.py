"""The grammar of rules over fields: from text to a small immutable tree. Called by the package itself only. Pure.

A text that is too long, too large or nested too deep is refused while it is read.

::

    or:       and ("or" and)*                       and:   not ("and" not)*             not: "not" not | compare
    compare:  sum [("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in") sum]     (once: no chains)
    sum:      product (("+" | "-") product)*        product: sign (("*" | "/" | "//" | "%") sign)*
    sign:     ("-" | "+") sign | atom
    atom:     number | text | "true" | "false" | "null" | "(" or ")" | "[" [or ("," or)*] "]" | name "(" [or ("," or)*] ")" | path
    path:     name ("." name | "[" [whole number | text] "]")*
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agents.expressions.tree import Both, Call, Chain, Compare, Each, ListOf, Literal, Node, Not, Path, Sign, children, walk
from agents.records import InvalidRequest, Json
from agents.schema_check import compile_pattern

MAX_CHARS: Final = 2000
MAX_DEPTH: Final = 32
MAX_NODES: Final = 500
MAX_WHOLE: Final = 2**63 - 1

# name: (fewest, most) arguments; None: any number.
ARITY: Final[dict[str, tuple[int, int | None]]] = {
    "len": (1, 1),
    "sum": (1, 1),
    "min": (1, None),
    "max": (1, None),
    "abs": (1, 1),
    "round": (1, 2),
    "lower": (1, 1),
    "upper": (1, 1),
    "contains": (2, 2),
    "starts_with": (2, 2),
    "ends_with": (2, 2),
    "matches": (2, 2),
    "count": (1, 2),
    "unique": (1, 1),
    "all": (1, 1),
    "any": (1, 1),
    "date": (1, 1),
    "days": (2, 2),
}
_CONSTANTS: Final[dict[str, Json]] = {"true": True, "false": False, "null": None}
_WORDS: Final = frozenset({"and", "or", "not", "in", *_CONSTANTS})
_COMPARE: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<name>[^\W\d]\w*)
    |(?P<sign>==|!=|<=|>=|//|[<>+\-*/%().,\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def read(text: str) -> Node:
    """The tree of ``text``. Raises InvalidRequest that says where (characters counted from 1) and what is wrong."""
    if len(text) > MAX_CHARS:
        raise InvalidRequest(f"longer than {MAX_CHARS} characters")
    return _Reader(text).whole()


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            what = "a text that does not end" if text[at] in "'\"" else f"unexpected {text[at]!r}"
            hint = " (use == to compare)" if text[at] == "=" else ""
            raise _wrong(at, what + hint)
        if match.lastgroup != "space":
            found.append(_Token(str(match.lastgroup), match[0], at))
        at = match.end()
    return found


def _wrong(at: int, what: str) -> InvalidRequest:
    return InvalidRequest(f"at character {at + 1}: {what}")


class _Reader:
    """Recursive descent. Its own depth is bounded by ``_nested`` and the tree's by ``_made``."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._end = len(text)
        self._next = 0
        self._nesting = 0
        self._nodes = 0
        self._depths: dict[int, int] = {}
        self._kept: list[Node] = []

    def whole(self) -> Node:
        node = self._or()
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            raise _wrong(token.at, f"unexpected {token.text[:20]!r}")
        return node

    # ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _at(self) -> int:
        return self._tokens[self._next].at if self._next < len(self._tokens) else self._end

    def _peek(self, ahead: int = 0) -> str:
        """The text of a sign or word that comes; empty for a literal text, a number, and at the end."""
        place = self._next + ahead
        if place >= len(self._tokens) or self._tokens[place].kind not in ("sign", "name"):
            return ""
        return self._tokens[place].text

    def _take(self, text: str) -> bool:
        if self._peek() != text:
            return False
        self._next += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise _wrong(self._at, f"{text!r} is missing")

    # ── bounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _made(self, node: Node) -> Node:
        depth = 1 + max((self._depths[id(child)] for child in children(node)), default=0)
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise _wrong(self._at, f"nested deeper than {MAX_DEPTH}")
        if self._nodes > MAX_NODES:
            raise _wrong(self._at, f"more than {MAX_NODES} parts")
        self._kept.append(node)  # an id is only good while its object lives
        self._depths[id(node)] = depth
        return node

    def _nested(self, rule: Callable[[], Node]) -> Node:
        self._nesting += 1
        if self._nesting > MAX_DEPTH:
            raise _wrong(self._at, f"nested deeper than {MAX_DEPTH}")
        node = rule()
        self._nesting -= 1
        return node

    # ── the grammar ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _or(self) -> Node:
        return self._joined("or", self._and)

    def _and(self) -> Node:
        return self._joined("and", self._not)

    def _joined(self, word: str, rule: Callable[[], Node]) -> Node:
        parts = [rule()]
        while self._take(word):
            parts.append(rule())
        return parts[0] if len(parts) == 1 else self._made(Both(every=word == "and", parts=tuple(parts)))

    def _not(self) -> Node:
        if self._take("not"):
            return self._made(Not(operand=self._nested(self._not)))
        return self._compare()

    def _compare(self) -> Node:
        left = self._sum()
        sign = self._comparison()
        if not sign:
            return left
        node = self._made(Compare(sign=sign, left=left, right=self._sum()))
        at = self._at
        if self._comparison():
            raise _wrong(at, "comparisons cannot be chained: write a < b and b < c")
        return node

    def _comparison(self) -> str:
        """The comparison that comes, taken; empty where none does."""
        word = self._peek()
        if word in _COMPARE or word == "in":
            self._next += 1
            return word
        if word == "not" and self._peek(1) == "in":
            self._next += 2
            return "not in"
        return ""

    def _sum(self) -> Node:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain(("*", "/", "//", "%"), self._sign)

    def _chain(self, signs: tuple[str, ...], rule: Callable[[], Node]) -> Node:
        operands, used = [rule()], []
        while (sign := self._peek()) in signs:
            self._next += 1
            used.append(sign)
            operands.append(rule())
        return self._made(Chain(operands=tuple(operands), signs=tuple(used))) if used else operands[0]

    def _sign(self) -> Node:
        sign = self._peek()
        if sign in ("-", "+"):
            self._next += 1
            return self._made(Sign(negative=sign == "-", operand=self._nested(self._sign)))
        return self._atom()

    def _atom(self) -> Node:
        if self._next >= len(self._tokens):
            raise _wrong(self._end, "a value is missing")
        token = self._tokens[self._next]
        self._next += 1
        if token.kind == "number":
            return self._made(Literal(value=_number(token)))
        if token.kind == "text":
            return self._made(Literal(value=_text(token)))
        if token.text in _CONSTANTS:
            return self._made(Literal(value=_CONSTANTS[token.text]))
        if token.text == "(":
            node = self._nested(self._or)
            self._expect(")")
            return node
        if token.text == "[":
            return self._made(ListOf(items=self._list("]")))
        if token.kind != "name" or token.text in _WORDS:
            raise _wrong(token.at, f"a value is missing before {token.text[:20]!r}")
        return self._call(token) if self._take("(") else self._path(token.text)

    def _list(self, end: str) -> tuple[Node, ...]:
        if self._take(end):
            return ()
        items = [self._nested(self._or)]
        while self._take(","):
            items.append(self._nested(self._or))
        self._expect(end)
        return tuple(items)

    def _path(self, root: str) -> Node:
        steps: list[str | int | None] = []
        while True:
            if self._take("."):
                if self._next >= len(self._tokens) or self._tokens[self._next].kind != "name":
                    raise _wrong(self._at, "a field's name is missing after '.'")
                steps.append(self._tokens[self._next].text)
                self._next += 1
            elif self._take("["):
                steps.append(self._index())
            else:
                return self._made(Path(root=root, steps=tuple(steps)))

    def _index(self) -> str | int | None:
        if self._take("]"):
            return None
        token = self._tokens[self._next] if self._next < len(self._tokens) else None
        step: Json = None
        if token is not None and token.kind == "number":
            step = _number(token)
        elif token is not None and token.kind == "text":
            step = _text(token)
        if not isinstance(step, str | int):
            raise _wrong(self._at, "only a whole number, a quoted name or nothing (every item) may stand between [ and ]")
        self._next += 1
        self._expect("]")
        return step

    def _call(self, token: _Token) -> Node:
        name = token.text
        if name not in ARITY:
            raise _wrong(token.at, f"there is no function {name[:40]!r}; functions: {', '.join(sorted(ARITY))}")
        arguments = self._list(")")
        low, high = ARITY[name]
        if len(arguments) < low or (high is not None and len(arguments) > high):
            wanted = str(low) if low == high else f"{low} or more" if high is None else f"{low} to {high}"
            raise _wrong(token.at, f"{name} takes {wanted} argument{'s' if wanted != '1' else ''}, not {len(arguments)}")
        if name == "matches":
            _check_pattern(arguments[1], token.at)
        if name in ("all", "any"):
            return self._each(name == "all", arguments[0], token)
        return self._made(Call(name=name, arguments=arguments))

    def _each(self, every: bool, body: Node, token: _Token) -> Node:
        """``all(items[].price > 0)`` looks at one item after the other; without a ``[]`` it is about a list of booleans."""
        parts = list(walk(body))
        if any(isinstance(part, Each) for part in parts):
            raise _wrong(token.at, "all and any cannot stand inside all or any")
        sources = {_source(part) for part in parts if isinstance(part, Path) and None in part.steps}
        if len(sources) > 1:
            raise _wrong(token.at, f"{token.text} can go over the items of one list only")
        if not sources:
            return self._made(Call(name=token.text, arguments=(body,)))
        source = sources.pop()
        self._made(source)
        return self._made(Each(every=every, source=source, body=body))


def _source(path: Path) -> Path:
    return Path(root=path.root, steps=path.steps[: path.steps.index(None)])


def _number(token: _Token) -> int | float:
    if token.text.isdigit():
        whole = int(token.text)
        if whole > MAX_WHOLE:
            raise _wrong(token.at, "a number beyond 64 bits")
        return whole
    value = float(token.text)
    if not math.isfinite(value):
        raise _wrong(token.at, "a number that is too large")
    return value


def _text(token: _Token) -> str:
    """Backslash before a quote, a backslash, n, t or r; before anything else it stays, so that patterns read as usual."""
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[0]), token.text[1:-1])


def _check_pattern(node: Node, at: int) -> None:
    if not isinstance(node, Literal) or not isinstance(node.value, str):
        raise _wrong(at, "the pattern of matches must be a quoted text")
    try:
        compile_pattern(node.value)
    except InvalidRequest as error:
        raise _wrong(at, error.message) from error
