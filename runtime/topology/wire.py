"""Shapes, steps, plans and proposals as JSON and back, and the digests that sign them.

Called by the ledger's room (which keeps them as text) and by the surfaces (which show them). JSON has the records' own field
names; a record of several kinds carries its ``kind``. Reading checks types and raises BadProposal, which names the field;
strategies are read by agents/strategies/. Pure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, Literal, Union

import orjson

from agents.records import AgentError, Json, NodeSpec
from agents.strategies.compose import parse_strategy, to_json
from agents.strategy_specs import StrategySpec
from runtime.topology.payloads import KIND_OF, Payload
from runtime.topology.records import BadProposal, Draft
from runtime.topology.shape import Member, MemberStep, Plan, PoolStep, RouterStep, Step, TuneStep

_STEPS: Final[Mapping[str, type[Any]]] = {"node": MemberStep, "router": RouterStep, "tune": TuneStep, "pool": PoolStep}
_PAYLOADS: Final[Mapping[str, type[Any]]] = {str(kind): record for record, kind in KIND_OF.items()}
_HINTS: Final[dict[type[Any], Mapping[str, Any]]] = {}
_TAGS: Final[Mapping[type[Any], str]] = {record: tag for table in (_STEPS, _PAYLOADS) for tag, record in table.items()}


def encode(value: Any) -> Json:
    """Any of the room's records, or a tuple, mapping or plain value in one, as JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        body: dict[str, Json] = {field.name: encode(getattr(value, field.name)) for field in _unlike_strategy(value)}
        if isinstance(value, NodeSpec):
            body["strategy"] = to_json(value.strategy)
        tag = _TAGS.get(type(value))
        return {"kind": tag, **body} if tag is not None else body
    if isinstance(value, Mapping):
        return {str(name): encode(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [encode(each) for each in value]
    return value


def _unlike_strategy(value: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(value) if not (isinstance(value, NodeSpec) and field.name == "strategy")]


def dumps(value: Any) -> str:
    """``encode`` as text with sorted keys, so that equal records are equal texts."""
    return orjson.dumps(encode(value), option=orjson.OPT_SORT_KEYS).decode()


def digest_of(draft: Draft, base_revision: int, plan: Plan) -> str:
    """SHA-256 (hex) of what an approval is for: the draft, the revision that it was made against, and the steps."""
    return hashlib.sha256(dumps((draft, base_revision, plan.apply, plan.finish)).encode()).hexdigest()


def chain(previous: str, body: Json) -> str:
    """The digest of a revision: of the one before it and of all that is in it, so that no past one can be changed unseen."""
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(previous.encode() + b"\n" + text).hexdigest()


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def draft_from(value: Json) -> Draft:
    """Raises BadProposal."""
    return typing.cast(Draft, _record(Draft, value, "draft"))


def payload_from(value: Json, at: str = "payload") -> Payload:
    """Raises BadProposal."""
    return typing.cast(Payload, _tagged(_PAYLOADS, value, at))


def member_from(value: Json) -> Member:
    """Raises BadProposal."""
    return typing.cast(Member, _record(Member, value, "member"))


def spec_from(value: Json) -> NodeSpec:
    """Raises BadProposal."""
    return typing.cast(NodeSpec, _record(NodeSpec, value, "spec"))


def plan_from(value: Json) -> Plan:
    """Raises BadProposal."""
    return typing.cast(Plan, _record(Plan, value, "plan"))


def steps_from(value: Json) -> tuple[Step, ...]:
    """Raises BadProposal."""
    return typing.cast("tuple[Step, ...]", _read(tuple[Step, ...], value, "steps"))


def loads(text: str) -> Json:
    """JSON text. Raises BadProposal."""
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise BadProposal(f"this is not JSON: {error}") from None


def _hints_of(record: type[Any]) -> Mapping[str, Any]:
    if record not in _HINTS:
        _HINTS[record] = typing.get_type_hints(record)
    return _HINTS[record]


def _record(record: type[Any], value: Json, at: str) -> Any:
    if not isinstance(value, dict):
        raise BadProposal(f"{at} must be an object", param=at)
    hints, fields = _hints_of(record), {field.name: field for field in dataclasses.fields(record)}
    given: dict[str, Any] = {}
    for name, each in value.items():
        if name in fields:  # what a later version added is left out
            given[name] = _read(hints[name], each, f"{at}.{name}")
    for name, field in fields.items():
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BadProposal(f"{at}.{name} is missing", param=f"{at}.{name}")
    return record(**given)


def _tagged(records: Mapping[str, type[Any]], value: Json, at: str) -> Any:
    kind = value.get("kind") if isinstance(value, dict) else None
    record = records.get(kind) if isinstance(kind, str) else None
    if record is None:
        raise BadProposal(f"{at}.kind must be one of {', '.join(records)}", param=f"{at}.kind")
    return _record(record, value, at)


def _read(hint: Any, value: Json, at: str) -> Any:
    """``value`` as the type ``hint``, which is one that the records use."""
    hint = getattr(hint, "__supertype__", hint)
    if hint == StrategySpec:
        return _strategy(value, at)
    if hint in (Step, Payload):
        return _tagged(_STEPS if hint == Step else _PAYLOADS, value, at)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        inner = [arg for arg in args if arg is not type(None)]
        return None if value is None and len(inner) < len(args) else _read(inner[0], value, at)
    if origin is Literal:
        if value not in args:
            raise BadProposal(f"{at} must be one of {', '.join(map(str, args))}", param=at)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise BadProposal(f"{at} must be a list", param=at)
        return tuple(_read(args[0], each, f"{at}[{number}]") for number, each in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast("type[Any]", hint), value, at)
    return _plain(hint, value, at)


def _plain(hint: type[Any], value: Json, at: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint in (int, str) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    names = {float: "a finite number", bool: "true or false", int: "a whole number", str: "a string"}
    raise BadProposal(f"{at} must be {names.get(hint, hint.__name__)}", param=at)


def _strategy(value: Json, at: str) -> StrategySpec:
    try:
        return parse_strategy(value, named={})
    except AgentError as error:
        raise BadProposal(f"{at}: {error.message}", param=at) from None
