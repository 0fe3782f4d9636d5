"""Reading and writing one object of a strategy's JSON by a table of its fields: the engine under forms.py.

Called by forms.py and parse.py. Imports no strategy and nothing of runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from typing import Any, Final

from agents.records import InvalidRequest, Json
from agents.strategy_specs import StrategySpec

MAX_PROMPT_CHARS: Final = 20_000


def invalid(path: str, words: str) -> InvalidRequest:
    """An error that names the place within the strategy."""
    return InvalidRequest(f"{path[:200]}: {words}", param="strategy")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. ``strategy`` reads a nested strategy, one level deeper; ``knows`` says whether a name is one, and
    ``is_backend`` whether a backend has it."""

    path: str
    strategy: Callable[[Json, str], StrategySpec]
    knows: Callable[[str], bool]
    is_backend: Callable[[str], bool]

    def at(self, step: str) -> Place:
        return replace(self, path=self.path + step)

    def invalid(self, words: str) -> InvalidRequest:
        return invalid(self.path, words)


@dataclass(frozen=True, slots=True)
class Field:
    """How one field is read (raises InvalidRequest) and written. ``nullable``: null and false stand for None."""

    read: Callable[[Json, Place], Any]
    write: Callable[[Any], Json] = lambda value: value
    nullable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A spec's JSON. ``lead``: a list may stand for the object with this field alone. ``check`` finds what no field can say."""

    kind: type
    fields: Mapping[str, Field]
    lead: str | None = None
    check: Callable[[Any, Place], None] | None = None

    def read(self, body: Json, place: Place) -> Any:
        """The spec that ``body`` says. Raises InvalidRequest naming the place."""
        if body is None:
            body = {}
        if isinstance(body, list) and self.lead is not None:
            body = {self.lead: body}
        if not isinstance(body, dict):
            raise place.invalid("must be an object" if self.lead is None else "must be an object or a list")
        values: dict[str, Any] = {}
        for key, value in body.items():
            field = self.fields.get(key)
            if field is None:
                raise place.invalid(f"unknown field {str(key)[:80]!r}; known are {', '.join(self.fields)}")
            if value is None or (value is False and field.nullable):
                if field.nullable:
                    values[key] = None
                continue
            values[key] = field.read(value, place if key == self.lead else place.at(f".{key}"))
        for key in _needed(self.kind):
            if key not in values:
                raise place.invalid(f"{key} is missing")
        spec = self.kind(**values)
        if self.check is not None:
            self.check(spec, place)
        return spec

    def write(self, spec: Any) -> Json:
        """JSON that ``read`` reads back as an equal spec; what has its default is left out."""
        defaults = _defaults(self.kind)
        body: dict[str, Json] = {}
        for key, field in self.fields.items():
            value = getattr(spec, key)
            if key not in defaults or value != defaults[key]():
                body[key] = None if value is None else field.write(value)
        return body[self.lead] if self.lead is not None and set(body) == {self.lead} else body


def _defaults(kind: type) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for one in fields(kind):
        if one.default_factory is not MISSING:
            found[one.name] = one.default_factory
        elif one.default is not MISSING:
            found[one.name] = partial(_same, one.default)
    return found


def _same(value: Any) -> Any:
    return value


def _needed(kind: type) -> list[str]:
    return [one.name for one in fields(kind) if one.name not in _defaults(kind)]


# ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def text(most: int = MAX_PROMPT_CHARS, *, nullable: bool = True) -> Field:
    def read(value: Json, place: Place) -> str:
        if not isinstance(value, str) or not value or len(value) > most:
            raise place.invalid(f"must be a text of 1 to {most} characters")
        return value

    return Field(read, nullable=nullable)


def option(words: tuple[str, ...], *, nullable: bool = False) -> Field:
    def read(value: Json, place: Place) -> str:
        if not isinstance(value, str) or value not in words:
            raise place.invalid(f"must be one of {', '.join(words)}")
        return value

    return Field(read, nullable=nullable)


def whole(low: int, high: int, *, nullable: bool = False) -> Field:
    def read(value: Json, place: Place) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise place.invalid(f"must be a whole number from {low} to {high}")
        return value

    return Field(read, nullable=nullable)


def texts(most: int, chars: int, words: str) -> Field:
    def read(value: Json, place: Place) -> tuple[str, ...]:
        if (
            not isinstance(value, list)
            or len(value) > most
            or not all(isinstance(one, str) and len(one) <= chars for one in value)
        ):
            raise place.invalid(f"must be a list of {words}, at most {most}")
        return tuple(value)

    return Field(read, list)


def _switch(value: Json, place: Place) -> bool:
    if not isinstance(value, bool):
        raise place.invalid("must be true or false")
    return value


SWITCH: Final = Field(_switch)
