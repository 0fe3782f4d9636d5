"""Works a rule over fields out: what its tree gives for given values. Called by the package itself only. Pure.

Every step is counted, so that no rule can cost more than its budget. Whatever cannot be worked out is ExpressionFailed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from agents.expressions.functions import FUNCTIONS
from agents.expressions.operations import Steps, as_items, as_number, as_truth, equal, kept, ordered, within, worked
from agents.expressions.tree import Both, Call, Chain, Compare, Each, ListOf, Literal, Node, Not, Path, Sign
from agents.records import ExpressionFailed, Json

_NOTHING: Final = object()
_SHOWN: Final = 40


def evaluate(node: Node, names: Mapping[str, Json], steps: Steps) -> Json:
    """The value of ``node``. Raises ExpressionFailed."""
    return _Evaluation(names, steps).of(node)


class _Evaluation:
    """One evaluation. ``_item`` is the item that an ``all`` or ``any`` is looking at."""

    def __init__(self, names: Mapping[str, Json], steps: Steps) -> None:
        self._names = names
        self._steps = steps
        self._item: Any = _NOTHING

    def of(self, node: Node) -> Json:
        self._steps.spend()
        match node:
            case Literal():
                return node.value
            case Path():
                return self._path(node)
            case Compare():
                return self._compare(node)
            case Both():
                return self._both(node)
            case Not():
                return not as_truth(self.of(node.operand), "not")
            case Chain():
                return self._chain(node)
            case Sign():
                number = as_number(self.of(node.operand), "the sign")
                return kept(-number) if node.negative else number
            case ListOf():
                return [self.of(item) for item in node.items]
            case Each():
                return self._each(node)
            case Call():
                return FUNCTIONS[node.name](self._steps, *[self.of(argument) for argument in node.arguments])

    def _both(self, node: Both) -> bool:
        word = "and" if node.every else "or"
        return (all if node.every else any)(as_truth(self.of(part), word) for part in node.parts)

    def _each(self, node: Each) -> bool:
        word = "all" if node.every else "any"
        items = as_items(self.of(node.source), _spelled(node.source))
        outer = self._item
        try:
            for item in items:
                self._item = item
                if as_truth(self.of(node.body), word) is not node.every:
                    return not node.every
        finally:
            self._item = outer
        return node.every

    def _path(self, node: Path) -> Json:
        steps: Sequence[str | int | None] = node.steps
        if self._item is not _NOTHING and None in steps:
            value, steps = self._item, steps[steps.index(None) + 1 :]
        elif node.root in self._names:
            value = self._names[node.root]
        else:
            known = ", ".join(str(name)[:_SHOWN] for name in islice(self._names, 10))
            raise ExpressionFailed(f"there is no {node.root[:_SHOWN]!r} here" + (f"; there is: {known}" if known else ""))
        for place, step in enumerate(steps):
            if step is None:
                return self._spread(value, steps[place:], node)
            value = below(value, step)
        return value

    def _spread(self, value: Json, steps: Sequence[str | int | None], node: Path) -> list[Json]:
        """The values of a path from its first ``[]`` on; those of several ``[]`` are one list."""
        found = [value]
        for step in steps:
            if step is None:
                found = [item for one in found for item in as_items(one, _spelled(node))]
            else:
                found = [below(one, step) for one in found]
            self._steps.spend(len(found))
        return found

    def _compare(self, node: Compare) -> bool:
        left, right = self.of(node.left), self.of(node.right)
        match node.sign:
            case "==":
                return equal(left, right, self._steps)
            case "!=":
                return not equal(left, right, self._steps)
            case "in":
                return within(left, right, self._steps)
            case "not in":
                return not within(left, right, self._steps)
            case sign:
                return ordered(sign, left, right)

    def _chain(self, node: Chain) -> Json:
        value = self.of(node.operands[0])
        for sign, operand in zip(node.signs, node.operands[1:], strict=True):
            value = worked(sign, value, self.of(operand))
            if isinstance(value, str):
                self._steps.spend(len(value) // 1000)
        return value


def below(value: Json, step: str | int) -> Json:
    if isinstance(step, str):
        return value.get(step) if isinstance(value, Mapping) else None
    return value[step] if isinstance(value, list | tuple) and step < len(value) else None


def _spelled(path: Path) -> str:
    parts = ("[]" if step is None else f"[{step}]" if isinstance(step, int) else f".{step}" for step in path.steps)
    return (path.root + "".join(parts))[: 2 * _SHOWN]
