"""How values are written: JSON bodies, and amounts and texts as headers can carry them.

Called by every module of this room that answers. Pure; imports nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import orjson
from starlette.responses import Response

from agents.records import Json


def json_response(value: Json, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``value`` as a response of JSON."""
    return Response(dumps(value), status_code=status, headers=headers, media_type="application/json")


def dumps(value: Json) -> bytes:
    """JSON as UTF-8 bytes. Integers beyond 64 bits, which orjson refuses, take the slow path."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(value, ensure_ascii=True, default=str).encode()


def usd(amount: float) -> str:
    """An amount for a header: plain decimals, no exponent."""
    return f"{amount:.8f}".rstrip("0").rstrip(".") or "0"


def header_value(text: str) -> str:
    """``text`` as a header can carry it: printable ASCII, at most 256 characters."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:256])


def mark(*, simulated: bool) -> dict[str, str]:
    """The header of every reply that a simulated backend had a part in; none on others."""
    return {"x-morphogen-simulated": "true"} if simulated else {}
