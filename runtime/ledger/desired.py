"""Desired nodes as JSON: how a NodeSpec survives a restart.

Called by store.py. Strategies are written by a pair of functions that the daemon hands in, because their JSON belongs to
agents/strategies/; the default pair knows ``Single`` only.
"""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
from collections.abc import Callable

import aiosqlite
import orjson

from agents.records import AgentError, Json, NodeSpec
from agents.strategy_specs import Single, StrategySpec
from runtime.ledger.records import LedgerError, LedgerUnavailable

log = logging.getLogger(__name__)

_FIELDS = frozenset(f.name for f in dataclasses.fields(NodeSpec))


def encode_single(strategy: StrategySpec) -> Json:
    """``{"kind": "single", …}``. Raises TypeError for any other strategy."""
    if not isinstance(strategy, Single):
        raise TypeError(f"no encoder was given for a strategy of kind {type(strategy).__name__}")
    return {"kind": "single", "backend": strategy.backend, "tier": strategy.tier, "prompt": strategy.prompt}


def decode_single(value: Json) -> StrategySpec:
    """The inverse of encode_single. Raises ValueError."""
    if not isinstance(value, dict) or value.get("kind") != "single":
        raise ValueError("no decoder was given for this strategy")
    return Single(backend=value.get("backend"), tier=value.get("tier"), prompt=value.get("prompt"))


def node_to_json(spec: NodeSpec, encode: Callable[[StrategySpec], Json]) -> str:
    """Every field of ``spec``. Raises LedgerError when its strategy cannot be encoded."""
    fields = {name: getattr(spec, name) for name in _FIELDS}
    try:
        fields["strategy"] = encode(spec.strategy)
        return orjson.dumps(fields).decode()
    except (TypeError, ValueError, AgentError) as error:
        raise LedgerError(f"node {spec.name}: {error}") from error


def node_from_json(text: str, decode: Callable[[Json], StrategySpec]) -> NodeSpec:
    """The inverse; fields that a later version added are left out. Raises LedgerError."""
    try:
        fields = {name: value for name, value in orjson.loads(text).items() if name in _FIELDS}
        fields["strategy"] = decode(fields["strategy"])
        fields["backends"] = tuple(fields.get("backends", ()))
        return NodeSpec(**fields)
    except (TypeError, ValueError, KeyError, AttributeError, AgentError) as error:
        raise LedgerError(f"cannot read a node: {error}") from error


async def save(
    writer: aiosqlite.Connection, spec: NodeSpec, state: str, *, at: float, encode: Callable[[StrategySpec], Json]
) -> None:
    """One transaction, durable on return. Raises LedgerError."""
    fields = (spec.node_id, node_to_json(spec, encode), state, at)
    try:
        await writer.execute_fetchall("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?)", fields)
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"cannot keep node {spec.name}: {error}") from error


async def load(reader: aiosqlite.Connection, decode: Callable[[Json], StrategySpec]) -> list[tuple[NodeSpec, str]]:
    """All desired nodes by id; one broken row must not keep the daemon from starting."""
    found = []
    for node_id, text, state in await reader.execute_fetchall("SELECT node_id, spec, state FROM nodes ORDER BY node_id"):
        try:
            found.append((node_from_json(text, decode), str(state)))
        except LedgerError as error:
            log.error("node %s cannot be read from the ledger and was left out: %s", node_id, error)
    return found
