"""Calculations in plain words, computed: "what is 12 * 7 plus 3". Pure; called by words.py and critic.py.

Nothing is ever evaluated but numbers and the usual operations, with bounded sizes.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_CHARS = 4000
_N = r"-?\d[\d,]*(?:\.\d+)?"
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.I), replacement)
    for pattern, replacement in (
        (r"(?<=\d),(?=\d{3}\b)", ""),
        (rf"({_N})\s*(?:%|percent|per cent)\s+of\s+({_N})", r"(\1 / 100 * \2)"),
        (rf"\bsquare root of\s+\(?({_N})\)?", r"(\1 ** 0.5)"),
        (rf"({_N})\s*squared\b", r"(\1 ** 2)"),
        (rf"({_N})\s*cubed\b", r"(\1 ** 3)"),
        (rf"\b(?:half)\s+of\s+({_N})", r"(\1 / 2)"),
        (rf"\b(?:twice|double)\s+({_N})", r"(\1 * 2)"),
        (rf"\bsum of\s+({_N})\s+and\s+({_N})", r"(\1 + \2)"),
        (rf"\bproduct of\s+({_N})\s+and\s+({_N})", r"(\1 * \2)"),
        (rf"\bdifference (?:between|of)\s+({_N})\s+and\s+({_N})", r"(\1 - \2)"),
        (rf"\bsubtract\s+({_N})\s+from\s+({_N})", r"(\2 - \1)"),
        (rf"\badd\s+({_N})\s+(?:and|to)\s+({_N})", r"(\1 + \2)"),
        (rf"\bmultiply\s+({_N})\s+(?:by|with|and)\s+({_N})", r"(\1 * \2)"),
        (rf"\bdivide\s+({_N})\s+by\s+({_N})", r"(\1 / \2)"),
        (r"\b(?:multiplied by|times)\b|[×·]|(?<=[\d)])\s*x\s*(?=[\d(])", " * "),
        (r"\b(?:divided by|over)\b|÷", " / "),
        (r"\bplus\b", " + "),
        (r"\bminus\b|[−–]", " - "),
        (r"\b(?:modulo|mod)\b", " % "),
        (r"\bto the power of\b|\^", " ** "),
    )
)
_EXPRESSION = re.compile(r"[-(]*\s*\d[\d\s.+*/()%-]*")
_EQUATION = re.compile(rf"(?<![\w.])({_N}(?:\s*[-+*/×]\s*{_N})+)\s*=\s*({_N})")
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}/\d{1,2}/\d{2,4}|\+?\d[\d-]{8,}\d")
_OPERATIONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
}


def calculation(text: str) -> float | None:
    """The value of the longest calculation in ``text``; None when there is none that can be done."""
    plain = _DATE.sub(" ", text[:MAX_CHARS])
    for pattern, replacement in _WORDS:
        plain = pattern.sub(replacement, plain)
    found = sorted((match.group() for match in _EXPRESSION.finditer(plain)), key=len, reverse=True)
    return next((value for value in map(evaluate, found[:5]) if value is not None), None)


def evaluate(expression: str) -> float | None:
    """The value of an expression of at least one operation; None when it is none, too large or impossible."""
    cleaned = expression.strip().rstrip(".-+*/% (")[:300]
    cleaned += ")" * (cleaned.count("(") - cleaned.count(")"))
    if not re.search(r"\d\s*\)*\s*(?:[-+%/]|\*\*?)\s*[(\s-]*\d", cleaned):
        return None
    try:
        value = _value(ast.parse(cleaned, mode="eval").body, 0)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError, TypeError):
        return None
    return value if math.isfinite(value) else None


def _value(node: ast.AST, depth: int) -> float:
    if depth > 60:
        raise ValueError("too deep")
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and abs(node.value) < 1e15:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, depth + 1)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, depth + 1), _value(node.right, depth + 1)
        if isinstance(node.op, ast.Pow):
            if abs(right) > 64 or abs(left) > 1e6:
                raise ValueError("too large")
            return float(left**right)
        if type(node.op) in _OPERATIONS:
            value = _OPERATIONS[type(node.op)](left, right)
            if abs(value) > 1e30:
                raise ValueError("too large")
            return float(value) if isinstance(value, float) else int(value)
    raise ValueError("not a calculation")


def equations_in(text: str) -> Iterator[tuple[str, str, float]]:
    """(left side, what is said, what is right) of each wrong equation in ``text``."""
    for match in list(_EQUATION.finditer(text[:20_000]))[:50]:
        right = evaluate(match[1].replace("×", "*").replace(",", ""))
        said = float(match[2].replace(",", ""))
        if right is not None and not math.isclose(right, said, rel_tol=1e-3, abs_tol=0.006):
            yield match[1], match[2], right


def shown(value: float) -> str:
    """A number as people write it: no ".0", at most six decimals."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6f}".rstrip("0").rstrip(".")
