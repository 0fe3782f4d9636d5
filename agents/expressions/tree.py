"""Rules over fields as a small immutable tree. Made by syntax.py, worked out by evaluation.py. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from agents.records import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    value: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """``root`` and what follows: a field's name, an index, or None for every item (``[]``)."""

    root: str
    steps: tuple[str | int | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    operand: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """``-`` or ``+`` before a number."""

    negative: bool
    operand: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """``and`` (all of ``parts``) or ``or`` (any of them), from left to right as far as needed."""

    every: bool
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """``sign`` is a comparison, ``in`` or ``not in``."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Operators of one rank from left to right; ``signs`` has one entry for each operand but the first."""

    operands: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Each:
    """``all`` (``every``) or ``any`` over the items of the list at ``source``.

    In ``body`` a path with ``[]`` begins with ``source`` and means the one item that is looked at.
    """

    every: bool
    source: Path
    body: Node


Node = Literal | Path | ListOf | Not | Sign | Both | Compare | Chain | Call | Each


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below."""
    for field in fields(node):
        value = getattr(node, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Node):
                yield part


def walk(node: Node) -> Iterator[Node]:
    """``node`` and everything below it."""
    stack = [node]
    while stack:
        found = stack.pop()
        yield found
        stack.extend(children(found))
