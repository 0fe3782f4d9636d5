"""What a simulated model makes of a router's measured mistakes: edits of its steps, by rules that know no traffic. Pure.

Called by answers.py for the schema of edits. It takes the group of requests with which most is lost, and writes a step that tests
just that: a bound of a number, a flag, a kind, or words. Words with the same remedy go into one step; a step that has a similar
test for the same arm is extended instead; one whose decisions are worth less than another arm's is removed. A weak model names
a backend that is not there, takes the bound the wrong way round, or forgets to return.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

from agents.llm.simulated.reading import Reading
from agents.records import Json

REMOVED_BELOW: Final = 0.03
"""A step that loses less than this against the best arm on its requests is let be."""
_FOR: Final = re.compile(r"[^a-z0-9]+")


def about_router(reading: Reading, schema: Mapping[str, Any], skill: float, rng: Random) -> Json | None:
    """Edits of the router of the conversation (none where nothing is left to try), or guidance for writing routers; None for
    anything else."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return None
    if "guidance" in properties and len(properties) == 1:
        return {"guidance": _guidance(reading.question)}
    if "edits" not in properties:
        return None
    found = next((each for each in reading.data if isinstance(each, Mapping) and {"steps", "mistakes"} <= set(each)), None)
    if found is None:
        return None
    tried = found.get("tried_without_success")
    failed = [str(each) for each in tried] if isinstance(tried, list) else []
    edits = _edits(_dicts(found["mistakes"]), _dicts(found["steps"]), failed)
    return {"edits": [edit if rng.random() < skill else _spoiled(edit, rng) for edit in edits]}


def _dicts(value: Json) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _edits(
    mistakes: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]], failed: Sequence[str]
) -> list[dict[str, Json]]:
    """The first idea that was not tried already, by what is lost; then what could go."""
    ranked = sorted(mistakes, key=lambda each: -float(each.get("gain_at_least", 0)) * int(each.get("requests", 0)))
    for worst in ranked:
        edits = _about(worst, ranked, steps)
        if not any(old.startswith(f"{edit['op']} {edit['name']}") for edit in edits for old in failed):
            return edits
    return _removals(steps)


def _about(
    worst: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]
) -> list[dict[str, Json]]:
    names, arm = [str(step.get("name")) for step in steps], worst["best"]
    if worst.get("op") == "has":
        words = [str(each["value"]) for each in ranked if each.get("op") == "has" and each.get("best") == arm]
        return [_about_words(words, worst, steps, names)]
    whole = worst.get("op") == ">=" and float(worst.get("value") or 0) == 0
    name = _named("everything" if whole else f"{worst.get('feature')}_{worst.get('value')}_{arm['backend']}", names)
    source = _source(_condition(worst), worst, note="everything that is left" if whole else str(worst.get("when")))
    # What is general goes last, what is special first: a smaller group is the more special one.
    if whole and names and "everything" in names:
        return [_edit("rewrite", "everything", source, worst)]
    before = None if whole else _before(worst, steps)
    return [_edit("insert", name, source, worst, before=before)]


def _before(group: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> str | None:
    """In front of the first step that decides on as many requests as this group has, or more; else at the end."""
    mine = int(group.get("requests", 0))
    for step in steps:
        decided = step.get("measured")
        if not isinstance(decided, Mapping) or int(decided.get("requests", 0)) >= mine or str(step.get("name")) == "everything":
            return str(step.get("name"))
    return None


def _about_words(
    words: Sequence[str], group: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> dict[str, Json]:
    arm = group["best"]
    for step in steps:
        source = str(step.get("source") or "")
        known = _words_in(source)
        if known and repr(str(arm["backend"])) in source and repr(str(arm["strategy"])) in source and set(words) - set(known):
            return _edit("rewrite", str(step["name"]), _of_words([*known, *words], group), group)
    name = _named(f"words_{arm['backend']}", names)
    first = str(steps[0]["name"]) if steps else None
    return _edit("insert", name, _of_words(words, group), group, before=first)


def _removals(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Json]]:
    losing = [
        step
        for step in steps
        if isinstance(step.get("measured"), Mapping) and float(step["measured"].get("gain_at_least", 0)) > REMOVED_BELOW
    ]
    if not losing or len(steps) < 2:
        return []
    worst = max(losing, key=lambda step: float(step["measured"]["gain_at_least"]))
    why = "its decisions are worth less than another arm's on the same requests"
    return [{"op": "remove", "name": str(worst["name"]), "before": None, "source": None, "why": why}]


def _edit(op: str, name: str, source: str, group: Mapping[str, Any], *, before: str | None = None) -> dict[str, Json]:
    then, now = group.get("worth_then"), group.get("worth_now")
    why = f"where {group.get('when')}, {group['best']['backend']} is worth {then} and what was chosen {now}"
    return {"op": op, "name": name, "before": before, "source": source, "why": why[:300]}


def _condition(group: Mapping[str, Any]) -> str:
    feature, op, value = str(group.get("feature")), str(group.get("op")), group.get("value")
    if op == "is":
        return f"request[{feature!r}] == {value!r}" if not isinstance(value, bool) else f"bool(request[{feature!r}]) is {value}"
    return f"request[{feature!r}] {op} {value!r}"


def _decision(group: Mapping[str, Any], note: str) -> str:
    arm = group["best"]
    sure = min(0.95, max(0.55, float(group.get("worth_then") or 0.6)))
    named = {"backend": str(arm["backend"]), "strategy": str(arm["strategy"])}
    return repr({**named, "confidence": round(sure, 2), "reason": note[:120]})


def _source(condition: str, group: Mapping[str, Any], *, note: str) -> str:
    decided = _decision(group, note)
    return f'def step(request):\n    """{_plain(note)}"""\n    if {condition}:\n        return {decided}\n    return None\n'


def _of_words(words: Sequence[str], group: Mapping[str, Any]) -> str:
    listed = sorted(dict.fromkeys(word.lower() for word in words))
    note = f"words that {group['best']['backend']} is good at"
    return (
        f'import re\n\nWORDS = {listed!r}\nFOUND = re.compile(r"\\b(?:" + "|".join(WORDS) + r")\\b")\n\n\n'
        f'def step(request):\n    """{_plain(note)}"""\n    if FOUND.search(request["text"]):\n'
        f"        return {_decision(group, note)}\n    return None\n"
    )


def _words_in(source: str) -> list[str]:
    """The words of a step that looks for words; empty for any other."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "WORDS":
            try:
                return [str(each) for each in ast.literal_eval(node.value)]
            except (ValueError, TypeError):
                return []
    return []


def _named(wanted: str, taken: Sequence[str]) -> str:
    base = (_FOR.sub("_", wanted.lower()).strip("_") or "step")[:34]
    base = base if base[0].isalpha() else f"s_{base}"
    return base if base not in taken else next(f"{base}_{n}" for n in range(2, 100) if f"{base}_{n}" not in taken)


def _plain(text: str) -> str:
    return text.replace("\\", " ").replace('"', "'")[:120]


def _spoiled(edit: dict[str, Json], rng: Random) -> dict[str, Json]:
    """The edit with one careless mistake in it."""
    source = edit.get("source")
    if not isinstance(source, str):
        return edit
    mistakes = [
        (r"'backend': '([^']+)'", r"'backend': '\1-large'"),
        (r"    return None\n", "    return request['budget']\n"),
        (r" >= ", " <= "),
        (r" < ", " > "),
    ]
    possible = [(old, new) for old, new in mistakes if re.search(old, source)]
    old, new = rng.choice(possible)
    return {**edit, "source": re.sub(old, new, source, count=1)}


def _guidance(text: str) -> list[str]:
    """The guidance of the conversation, with what the outcomes speak for."""
    lines = [line[2:].strip() for line in text.splitlines() if line.startswith("- ") and 10 <= len(line) - 2 <= 300]
    kept = [line for line in lines if line[:1].isupper() and line.endswith(".") and ":" not in line[:20]][:8]
    if "refused" in text or "unusable" in text:
        kept.append("Name only backends and strategies of the list, and return None where a step has nothing to say.")
    if "lost" in text or "inconclusive" in text:
        kept.append("Prefer the group with the most requests over the one with the largest gain.")
    kept += ["Change what costs most first.", "End with a step that decides for everything that is left."]
    return list(dict.fromkeys(kept))[:10]
