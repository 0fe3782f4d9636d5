"""A request as JSON and back: how accepted work survives the daemon, with nothing cut and nothing left out.

Called by runner.py. Pure. Imports no database.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson

from agents.records import InvalidRequest, Json, Place
from agents.strategies.compose import parse_strategy, to_json
from agents.verdicts import Constraint
from runtime.records import Request, Target

_FORM = 1
_OWN = frozenset({"strategy", "target", "constraints", "place"})
_TUPLES = frozenset({"messages", "rules"})
_PLAIN = tuple(field.name for field in dataclasses.fields(Request) if field.name not in _OWN)


def encode(request: Request) -> str:
    """Every field of ``request``."""
    fields: dict[str, Any] = {name: getattr(request, name) for name in _PLAIN}
    fields["target"] = {"kind": request.target.kind, "name": request.target.name}
    fields["constraints"] = [{"kind": c.kind, "field": c.field, "value": c.value} for c in request.constraints]
    fields["strategy"] = None if request.strategy is None else to_json(request.strategy)
    fields["place"] = None if request.place is None else [request.place.first, request.place.total]
    return orjson.dumps({"form": _FORM, **fields}, default=dict).decode()


def decode(text: str) -> Request:
    """The inverse; fields that a later version added are left out. Raises InvalidRequest when it cannot be understood."""
    try:
        fields: dict[str, Json] = orjson.loads(text)
        known: dict[str, Any] = {name: fields[name] for name in _PLAIN if name in fields}
        known |= {name: tuple(known[name]) for name in _TUPLES if name in known}
        strategy, place = fields.get("strategy"), fields.get("place")
        return Request(
            **known,
            target=Target(**fields["target"]),
            constraints=tuple(Constraint(**part) for part in fields.get("constraints") or ()),
            strategy=None if strategy is None else parse_strategy(strategy, named={}),
            place=None if place is None else Place(first=place[0], total=place[1]),
        )
    except (TypeError, ValueError, KeyError, AttributeError, LookupError) as error:
        raise InvalidRequest(f"the stored request cannot be read by this version: {error}") from error
