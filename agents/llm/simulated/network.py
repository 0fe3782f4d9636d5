"""What a simulated model makes of a network that is described to it: recommendations with measures that it quotes. Pure.

Called by answers.py for the schema of recommendations. It looks at nothing but the description: a busy group of requests that is
scored low and has nobody of its own should get one, a node that hardly anything comes to should go. A weak model quotes numbers
that are not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Final

from agents.llm.simulated.reading import Reading
from agents.records import Json

LOW: Final = 0.85
FEW: Final = 0.01
BUSY: Final = 10
MOST: Final = 3


def about_network(reading: Reading, schema: Mapping[str, Any], skill: float, rng: Random) -> Json | None:
    """Recommendations for the network of the conversation; None for anything else."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not {"efficiency_score", "recommendations"} <= set(properties):
        return None
    found = next((each for each in reading.data if isinstance(each, Mapping) and {"topology", "measures"} <= set(each)), None)
    if found is None:
        return None
    said = [each if rng.random() < skill else _misquoted(each, rng) for each in list(_recommended(found))[:MOST]]
    score = _number((found.get("efficiency") or {}).get("score")) or 50.0
    wrong = sum(each["action"] != "keep" for each in said)
    summary = f"{wrong or 'No'} change{'' if wrong == 1 else 's'} would help." if said else "There is too little to go by."
    return {"summary": summary, "efficiency_score": min(100.0, max(0.0, round(score - 2 * wrong, 1))), "recommendations": said}


def _recommended(found: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
    """The lowest scores first, then what is hardly used, then what is well as it is."""
    measures, topology = found["measures"], found["topology"]
    nodes = _rows(topology.get("nodes") if isinstance(topology, Mapping) else None)
    served = {pattern for node in nodes for pattern in node.get("patterns") or ()}
    patterns = _rows(measures.get("pattern") if isinstance(measures, Mapping) else None)
    judged = [row for row in patterns if _number(row.get("quality")) is not None and (_number(row.get("count")) or 0) >= BUSY]
    for row in sorted(judged, key=lambda each: float(each["quality"])):
        if row["quality"] < LOW and row["name"] not in served:
            reason = f"{row.get('called', row['name'])} comes often and is answered badly"
            yield _one("spawn", row, "pattern", ("count", "quality"), reason)
    used = {row["name"]: row for row in _rows(measures.get("node") if isinstance(measures, Mapping) else None)}
    for node in nodes:
        of = used.get(node.get("name"))
        if of is not None and node.get("role") == "specialist" and (_number(of.get("share")) or 1.0) < FEW:
            yield _one("prune", of, "node", ("count", "share"), f"hardly anything comes to {of['name']}")
    for row in judged:
        if row["quality"] >= LOW:
            yield _one("keep", row, "pattern", ("quality",), f"{row.get('called', row['name'])} is answered well")


def _one(action: str, row: Mapping[str, Any], table: str, named: tuple[str, ...], reason: str) -> dict[str, Json]:
    evidence = [{"table": table, "name": row["name"], "measure": name, "value": row[name]} for name in named if name in row]
    return {"action": action, "subject": row["name"], "reason": reason[:400], "expected": "", "evidence": evidence}


def _misquoted(each: dict[str, Json], rng: Random) -> dict[str, Json]:
    wrong = [{**named, "value": round(float(named["value"]) * rng.uniform(1.5, 3.0), 4)} for named in each["evidence"]]
    return {**each, "evidence": wrong}


def _rows(value: Json) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping) and "name" in row] if isinstance(value, list) else []


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
