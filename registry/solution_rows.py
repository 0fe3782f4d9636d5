"""Solutions as rows of tables and back. Called by solution_store.py. Pure; knows table_specs.py but no library of tables."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from registry.alignment import Parameter
from registry.records import RegistryDamaged
from registry.solution_records import Phrasing, Solution
from registry.table_specs import TableSpec, Vector
from registry.trust import EntryTrust

Row = dict[str, Any]

_TEXTS = ("id", "partition", "tenant", "kind", "request", "answer", "artifact", "parameters", "checks", "metrics", "trust")
SOLUTIONS = TableSpec(name="solutions", key="id", columns={**dict.fromkeys(_TEXTS, "text"), "made_at": "float"})
LEARNED = TableSpec(name="solution_trust", key="name", columns={"name": "text", "state": "text"}, retention_s=86_400.0)


def phrasings_spec(dimension: int) -> TableSpec:
    """What requests a solution answers, with their embeddings of ``dimension``."""
    return TableSpec(
        name=f"solution_phrasings_{dimension}",
        key="id",
        columns={**dict.fromkeys(("id", "solution", "partition", "text", "model"), "text"), "vector": Vector(dimension)},
    )


def solution_row(solution: Solution) -> Row:
    trust = solution.trust
    parameters = [
        {"name": each.name, "value": each.value, "minimum": each.minimum, "maximum": each.maximum, "choices": list(each.choices)}
        for each in solution.parameters
    ]
    return {
        "id": solution.id,
        "partition": solution.partition,
        "tenant": solution.tenant,
        "kind": solution.kind,
        "request": solution.request,
        "answer": json.dumps(solution.answer),
        "made_at": solution.made_at,
        "artifact": solution.artifact,
        "parameters": json.dumps(parameters),
        "checks": json.dumps(solution.checks),
        "metrics": json.dumps(dict(solution.metrics)),
        "trust": json.dumps([trust.offset, trust.variance, trust.held, trust.failed, trust.suspended]),
    }


def solution_of(row: Row) -> Solution:
    """Raises RegistryDamaged where a row cannot be read."""
    try:
        offset, variance, held, failed, suspended = json.loads(row["trust"])
        parameters = [Parameter(**{**each, "choices": tuple(each["choices"])}) for each in json.loads(row["parameters"])]
        return Solution(
            **{name: row[name] for name in ("id", "partition", "tenant", "kind", "request", "artifact")},
            answer=json.loads(row["answer"]),
            made_at=float(row["made_at"]),
            parameters=tuple(parameters),
            checks=json.loads(row["checks"]),
            metrics=json.loads(row["metrics"]),
            trust=EntryTrust(offset=offset, variance=variance, held=held, failed=failed, suspended=int(suspended)),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RegistryDamaged(SOLUTIONS.name, f"row {row.get('id')!r}: {type(error).__name__}: {error}") from error


def phrasing_row(phrasing: Phrasing) -> Row:
    return {
        "id": phrasing.key,
        "solution": phrasing.solution,
        "partition": phrasing.partition,
        "text": phrasing.text,
        "model": phrasing.model,
        "vector": np.asarray(phrasing.vector, dtype=np.float32).tolist(),
    }


def phrasing_of(row: Row) -> Phrasing:
    """Raises RegistryDamaged where a row cannot be read."""
    try:
        named = {name: str(row[name]) for name in ("partition", "solution", "text", "model")}
        return Phrasing(key=str(row["id"]), vector=np.array(row["vector"], dtype=np.float32), **named)
    except (ValueError, TypeError, KeyError) as error:
        raise RegistryDamaged("solution_phrasings", f"row {row.get('id')!r}: {type(error).__name__}: {error}") from error


def learned_row(name: str, state: bytes) -> Row:
    return {"name": name, "state": base64.b64encode(state).decode("ascii")}


def learned_of(row: Row) -> bytes:
    """Raises ValueError where it is not base64."""
    return base64.b64decode(row["state"], validate=True)
