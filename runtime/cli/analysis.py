"""``morphogen topology analyse`` and ``morphogen proposals simulate``: what the network says of itself. Operator key.

Called by observe_commands.py. Must not import anything of the daemon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runtime.cli import client, proposals, tables

Json = Any
BASE: Final = "/v1/topology/analysis"
_PARTS: Final = ("quality", "answered", "thrift", "speed", "simplicity")


def show(*, ask: bool, as_json: bool) -> None:
    """Print the analysis."""
    with client.open_client() as daemon:
        found = daemon.post(BASE, None, operator=True) if ask else daemon.get(BASE, operator=True)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    for line in told(found):
        out.print(tables.printable(line), soft_wrap=True)


def told(found: Mapping[str, Json]) -> Iterator[str]:
    """The analysis as lines, as the network would say it."""
    window, efficiency = found["window"], found["efficiency"]
    yield f"Self-analysis of the last {window['requests']} requests"
    if found["simulated"]:
        yield tables.MADE_UP
    if efficiency["score"] is None:
        yield "Nothing was asked yet, so that there is nothing to say."
        return
    parts = ", ".join(f"{name} {_number(efficiency['parts'].get(name))}" for name in _PARTS)
    yield f"Current efficiency: {efficiency['score']:.0f}/100 ({parts})"
    if efficiency["asks_for_changes"]:
        yield "It is low: the network asks for changes."
    yield ""
    yield from _findings(found)
    yield from _model(found["model"])
    yield from _changes(found["changes"])
    before = [each["score"] for each in efficiency["before"] if each["score"] is not None]
    if len(before) > 1:
        yield ""
        yield "Efficiency over the last looks: " + " -> ".join(f"{score:.0f}" for score in before[-8:])


def _findings(found: Mapping[str, Json]) -> Iterator[str]:
    yield "Found:"
    number = 0
    for case in found["open"]:
        number += 1
        yield f"{number}. ✗ {case['reason']}"
        yield f"   → proposed: {case['kind']} {case['subject']} ({case['id']}, {case['status']})"
        yield from (f"   → expected: {_expected(each)}" for each in case["predictions"][:1])
    for wanted in found["wanted"]:
        number += 1
        if "reason" in wanted:
            yield f"{number}. ✗ {wanted['reason']}"
            yield from (f"   → expected: {_expected(each)}" for each in wanted["predictions"][:1])
        else:
            kind, _, subject = wanted["key"].partition(":")
            yield f"{number}. … {kind} {subject}: seen in {wanted['windows']} of {wanted['of']} looks before it is proposed"
    for row in found["fine"]:
        number += 1
        called = row.get("called") or row["pattern"]
        well = f"({row['share']:.0%} of the requests) is answered well ({row['quality']:.2f})"
        yield f"{number}. ✓ {called!r} {well}: keep it as it is"
    if found["flooded"]:
        yield "New kinds of requests come faster than any of them could be worth a node: none is proposed."
    if not number:
        yield "   nothing that the measures support"


def _expected(each: Mapping[str, Json]) -> str:
    change = each["expected"] - each["baseline"]
    return f"{each['metric']} from {each['baseline']:.4g} to {each['expected']:.4g} {each['units']} ({change:+.4g})"


def _model(model: Json) -> Iterator[str]:
    if model is None:
        return
    yield ""
    if "summary" in model:
        who = "A simulated model says (made up)" if model["simulated"] else "A model says"
        yield f"{who}, {model['score']:.0f}/100: {model['summary']}"
        for each in model["recommendations"]:
            yield f"   {each['action']} {each['subject']}: {each['result']}, {each['why']}"
    if model.get("trouble"):
        yield f"No model was heard: {model['trouble']}"


def _changes(changes: Json) -> Iterator[str]:
    if not changes:
        return
    yield ""
    yield "What changes brought:"
    marks = {"kept": "✓", "rolled_back": "↩", "rejected": "–"}
    for case in changes:
        yield f"{marks.get(case['status'], '·')} {case['kind']} {case['subject']}: {case['status'].replace('_', ' ')}"
        measured = case["measured"] or []
        for place, each in enumerate(case["predictions"]):
            if place < len(measured) and measured[place].get("measured") is not None:
                seen = measured[place]
                hoped, came = each["expected"] - each["baseline"], seen["measured"] - each["baseline"]
                yield f"   {each['metric']}: predicted {hoped:+.4g} {each['units']}, measured {came:+.4g}"


def simulate(name: str, *, as_json: bool) -> None:
    """Print what a proposal would have done."""
    with client.open_client() as daemon:
        found = daemon.post(f"{proposals.path_of(daemon, name)}/simulate", None, operator=True)
    if as_json:
        tables.print_json(found)
        return
    out = tables.console()
    out.print(
        f"{found['id']} ({found['kind']}) would have touched {found['affected']} of {found['requests']} logged requests; "
        f"{found['covered']} of them can be said something of",
        soft_wrap=True,
    )
    rows = [
        (
            metric,
            f"{each['now']:.4g}",
            f"{each['then']:.4g}",
            f"{each['change']:+.4g}",
            f"{each['low']:+.4g} to {each['high']:+.4g}",
            str(each["requests"]),
        )
        for metric, each in found["effects"].items()
    ]
    if rows:
        out.print(tables.table(("", "as it was", "as it would be", "change", "95 %", "requests"), rows))
    for limit in found["limits"]:
        out.print(tables.printable(f"Note: {limit}."), soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
