"""A look-up as the request path, the trace and the client are told of it. Pure.

Called by desk.py.
"""

from __future__ import annotations

from agents.records import Draft, Json
from agents.shaping import conform
from registry.solution_records import Candidate, Hit, Miss, Solution
from runtime.library.code import checks_of, text_of
from runtime.library.looked import Looked
from runtime.records import Request


def looked_of(found: Hit | Miss, solution: Solution | None) -> Looked:
    if isinstance(found, Hit) and solution is not None:
        return Looked(
            result=found.how,
            reason=found.reason,
            tier=found.tier,
            steps=found.steps,
            similarity=found.similarity,
            solution=found.solution,
            simulated=checks_of(solution).simulated,
        )
    nearest: Candidate | None = next(iter(found.candidates or found.kin), None) if isinstance(found, Miss) else None
    other_form = isinstance(found, Miss) and not found.candidates and nearest is not None and found.reason == "nothing near"
    return Looked(
        result="miss",
        reason="near is only what gives another form of answer" if other_form else found.reason,
        tier=nearest.tier if nearest else "generation",
        steps=nearest.steps if nearest else 6,
        similarity=nearest.similarity if nearest else None,
        solution=nearest.solution if nearest else None,
    )


def told(looked: Looked, found: Hit | Miss) -> dict[str, Json]:
    """A look-up as an event of the trace."""
    data: dict[str, Json] = {"state": looked.result, "tier": looked.tier, "steps": looked.steps, "reason": looked.reason}
    if looked.similarity is not None:
        data["similarity"] = round(looked.similarity, 4)
    if looked.solution is not None:
        data["solution"] = looked.solution
    if isinstance(found, Hit):
        data |= {"error": round(found.error, 5), "values": dict(found.values)}
    elif found.audit:
        data["audit"] = True
    return data


def draft_of(request: Request, hit: Hit) -> Draft:
    answer = hit.answer if isinstance(hit.answer, dict) else {"text": str(hit.answer)}
    if "data" not in answer or request.schema is None:
        return Draft(text=text_of(answer), backend="library")
    data = conform(answer["data"], request.schema)
    return Draft(text=text_of({"data": data}), data=data, backend="library")


def solution_in(trace: Json) -> str | None:
    """The solution that a kept trace says its answer came from."""
    events = trace.get("events") if isinstance(trace, dict) else None
    for event in reversed(events or []):
        data = event.get("data") if event.get("kind") == "library" else None
        if isinstance(data, dict) and data.get("state") in ("exact", "rerun", "reused"):
            return str(data.get("solution") or "") or None
    return None
