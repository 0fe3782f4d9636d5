"""The small safe language for rules over fields: ``total == sum(items[].price) and status in ["open", "paid"]``.

Called by agents/quality/, the strategies' skip rules and gates, and whoever lets a client or an operator write a
condition. Nothing is ever evaluated by Python: a text becomes a small immutable tree (syntax.py), and the tree is
worked out step by step within a budget (evaluation.py). Pure. Must not import a toolbox, a backend or runtime.

- Values: numbers, texts in ``'…'`` or ``"…"``, ``true``, ``false``, ``null``, lists ``[1, 2]``; booleans are not numbers.
- Fields: ``order.total``, ``items[0].price``, ``order["unit-price"]``; ``items[].price`` is the list of all values. What is
  missing below a name is null, an unknown name itself is an error.
- ``+ - * / // %``, ``== != < <= > >=`` (not chained), ``in``, ``not in``, ``and``, ``or``, ``not``, parentheses. Ordering takes
  two numbers or two texts; numbers with a fraction are equal when they differ by a billionth at most. ``+`` joins texts.
- ``len sum min max abs round lower upper contains(whole, part) starts_with ends_with matches(text, "pattern")`` (found anywhere;
  ``^`` and ``$`` anchor), ``count(list)`` (not null) and ``count(list, value)``, ``unique(list)`` (no value twice, nulls aside),
  ``date(text)`` (ISO 8601 to Unix seconds), ``days(from, to)``.
- ``all(…)`` and ``any(…)`` look at one item after the other where their argument has a ``[]``: ``all(items[].price > 0)``;
  otherwise they take a list of booleans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from agents.expressions.evaluation import evaluate
from agents.expressions.operations import Steps, kind_of
from agents.expressions.syntax import MAX_CHARS, read
from agents.expressions.tree import Node, Path, walk
from agents.records import ExpressionFailed, InvalidRequest, Json

__all__ = ["MAX_STEPS", "Expression", "Steps", "parse"]

MAX_STEPS: Final = 100_000
_CACHED: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A rule that was read. Equal to every other of the same text; safe to share and to send."""

    text: str
    tree: Node = field(repr=False, compare=False)

    def value(self, names: Mapping[str, Json], *, steps: Steps | None = None) -> Json:
        """What the rule gives for these values, within ``steps`` (None: ``MAX_STEPS``). Raises ExpressionFailed and nothing else:
        an unknown name, a wrong type, a division by zero, a number or text that is too large, too many steps."""
        return evaluate(self.tree, names, steps if steps is not None else Steps(MAX_STEPS))

    def holds(self, names: Mapping[str, Json], *, steps: Steps | None = None) -> bool:
        """Whether it is true. Raises ExpressionFailed as ``value`` does, and where the result is neither true nor false."""
        result = self.value(names, steps=steps)
        if not isinstance(result, bool):
            raise ExpressionFailed(f"the expression gives {kind_of(result)}, not true or false")
        return result

    @property
    def names(self) -> frozenset[str]:
        """The names that it starts from (``order`` of ``order.total``)."""
        return frozenset(node.root for node in walk(self.tree) if isinstance(node, Path))


def parse(text: str, *, param: str = "expression") -> Expression:
    """Read a rule of at most 2,000 characters, 32 levels and 500 parts; cached.

    Raises InvalidRequest(param=``param``) that says at which character, counted from 1, and what is wrong.
    """
    if not isinstance(text, str):
        raise InvalidRequest(f"an expression must be a text, not {kind_of(text)}", param=param)
    if len(text) > MAX_CHARS:
        raise InvalidRequest(f"an expression must not be longer than {MAX_CHARS} characters", param=param)
    try:
        return _parsed(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"the expression cannot be read: {error.message}", param=param) from error


@lru_cache(maxsize=_CACHED)
def _parsed(text: str) -> Expression:
    return Expression(text=text, tree=read(text))
