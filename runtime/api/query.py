"""What stands behind the question mark of a path: read, bounded, refused by name. Called by the surfaces. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from starlette.requests import Request

from runtime.api.errors import bad_request

_Word = TypeVar("_Word", bound=str)


def whole_number(request: Request, name: str, *, low: int, high: int, default: int) -> int:
    """The parameter ``name`` from ``low`` to ``high``; ``default`` where it is not there. Raises ApiError 400."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and low <= int(text) <= high):
        raise bad_request(f"'{name}' must be a whole number from {low} to {high}", param=name)
    return int(text)


def choice(request: Request, name: str, among: Sequence[_Word]) -> _Word | None:
    """The one of ``among`` that the parameter ``name`` is; None where it is not there. Raises ApiError 400."""
    text = request.query_params.get(name)
    found = next((word for word in among if word == text), None)
    if text is not None and found is None:
        raise bad_request(f"'{name}' must be one of {', '.join(among)}", param=name)
    return found
