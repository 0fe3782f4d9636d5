"""What a committee did, told: who sat in it, what each said, who objected, how it ended. Called by story.py.

Pure; tolerant of missing fields, as story.py is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runtime.cli.tables import clip, seconds

Json = Any
SAID_CHARS = 400
MAX_LINES = 12
_DESIGNED = {
    "given": "as the request or the configuration says",
    "pooled": "a design that did well at requests like this one",
    "model": "designed by a model",
    "rules": "designed by rule",
}
_BY = {
    "specialist": "a specialist",
    "kept": "a node that waited from an earlier committee",
    "warm": "a node of the warm pool",
    "role": "a role of the node itself",
}
_ENDED = {
    "agreed": "all agreed",
    "rounds": "its rounds were over",
    "time": "time was kept for the answer",
    "budget": "money was kept for the answer",
}


def committee_told(data: Mapping[str, Json]) -> tuple[str, list[str]]:
    """(the line, what stands below it)."""
    state = str(data.get("state") or "")
    tell = _TOLD.get(state)
    words = tell(data) if tell is not None else f"committee: {state}{_facts(data)}"
    return words, list(_below(state, data))


def _below(state: str, data: Mapping[str, Json]) -> Iterator[str]:
    if state == "formed":
        for seat in data.get("members") or ():
            if isinstance(seat, dict):
                node = f" ({seat['node']})" if seat.get("node") else ""
                code = ", writes the program" if seat.get("code") else ""
                task = f": {clip(str(seat['task']), SAID_CHARS)}" if seat.get("task") else ""
                yield f"- {seat.get('speciality', '?')}, {_BY.get(str(seat.get('by')), 'a member')}{node}{code}{task}"
    if state in ("contributed", "said", "summed up"):
        lines = [line for line in str(data.get("text") or "").splitlines() if line.strip()]
        yield from (f"| {clip(line, SAID_CHARS)}" for line in lines[:MAX_LINES])
        if len(lines) > MAX_LINES:
            yield f"| … and {len(lines) - MAX_LINES} lines more"
    objections = data.get("objections")
    if state == "discussed" and isinstance(objections, dict):
        yield from (f"- {member} still objects: {clip(str(words), SAID_CHARS)}" for member, words in objections.items())
    for issue in data.get("issues") or () if state in ("gate", "revised", "undone") else ():
        yield f"- {clip(str(issue), SAID_CHARS)}"


def _formed(data: Mapping[str, Json]) -> str:
    members = data.get("members") or ()
    how = _DESIGNED.get(str(data.get("designed")), "")
    took = f", formed in {seconds(data['took_s'])}" if data.get("took_s") is not None else ""
    return (
        f"a committee of {len(members)}: {how}; {data.get('chair', '?')} chairs it, "
        f"at most {data.get('rounds', '?')} rounds{took}"
    )


def _said(data: Mapping[str, Json]) -> str:
    what = "contributes" if data.get("state") == "contributed" else f"says in round {data.get('round', '?')}"
    agrees = data.get("agrees")
    side = ", and agrees" if agrees is True else ", and objects" if agrees is False else ""
    where = ", ".join(str(data[name]) for name in ("node", "backend") if data.get(name))
    return f"{data.get('member', '?')} {what}{side}" + (f" ({where})" if where else "")


def _discussed(data: Mapping[str, Json]) -> str:
    return f"the discussion ended after {data.get('rounds', '?')} rounds: {_ENDED.get(str(data.get('ended')), data.get('ended'))}"


def _silent(data: Mapping[str, Json]) -> str:
    return f"{data.get('member', '?')} is silent in round {data.get('round', '?')}: {data.get('why', '?')}"


def _gate(data: Mapping[str, Json]) -> str:
    what = "the revised answer" if data.get("state") == "revised" else "the answer"
    return f"the quality gate: {what} {'passes' if data.get('passed') else 'does not pass'}"


def _dissolved(data: Mapping[str, Json]) -> str:
    nodes = data.get("nodes") or ()
    return "the committee is dissolved" + (f"; {', '.join(map(str, nodes))} go back" if nodes else "")


def _answered(data: Mapping[str, Json]) -> str:
    return f"the answer is put together by the {data.get('by', 'chairperson')}"


def _summed_up(data: Mapping[str, Json]) -> str:
    return "what was said so far is summed up"


def _undone(data: Mapping[str, Json]) -> str:
    return "the revision made it worse and is undone"


def _program(data: Mapping[str, Json]) -> str:
    return f"the committee's program: {data.get('outcome', '?')}{_facts({'why': data.get('why')})}"


def _stood_in(data: Mapping[str, Json]) -> str:
    return f"{data.get('node', 'a node')} failed ({data.get('error', '?')}); a role takes the seat"


def _facts(data: Mapping[str, Json]) -> str:
    told = [f"{name} {value}" for name, value in data.items() if name != "state" and value not in (None, [], {}, "")]
    return f", {clip(', '.join(told), SAID_CHARS)}" if told else ""


_TOLD: Mapping[str, Callable[[Mapping[str, Json]], str]] = {
    "formed": _formed,
    "contributed": _said,
    "said": _said,
    "discussed": _discussed,
    "silent": _silent,
    "gate": _gate,
    "revised": _gate,
    "dissolved": _dissolved,
    "answered": _answered,
    "summed up": _summed_up,
    "undone": _undone,
    "program": _program,
    "stood in for": _stood_in,
}
