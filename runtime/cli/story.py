"""One trace, told: who asked what, which node did the work how, each call with what it cost and why it was made.

Called by show.py and demo.py with the JSON of GET /v1/requests/{id}. Pure; tolerant of missing fields, since old rows stay
readable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from runtime.cli.story_committee import committee_told
from runtime.cli.tables import MADE_UP, clip, printable, seconds, usd

Json = Any
TEXT_CHARS = 300
MESSAGE_CHARS = 80
MAX_CODE_LINES = 200
_WIDE = 110
_ERRORS = {
    "backend_unreachable": "could not be reached",
    "backend_timeout": "was too slow",
    "backend_failed": "failed",
    "backend_rejected": "refused the request",
    "backend_garbled": "answered something that is not the protocol",
    "stream_broken": "broke off in the middle of its answer",
    "rate_limited": "was at its rate limit",
    "breaker_open": "was resting after failures",
    "cancelled": "was cancelled",
}


def story_of(trace: Mapping[str, Json]) -> list[str]:
    """The lines of the story, without colours."""
    request, outcome = trace.get("request") or {}, trace.get("outcome") or {}
    calls, events = trace.get("calls") or [], trace.get("events") or []
    lines = [f"{trace.get('id', '')}: {_verdict(trace, outcome)}"]
    if outcome.get("simulated") or any(call.get("simulated") for call in calls):
        lines.append(MADE_UP)
    lines += ["", *_asked(request), "", *_done(request, outcome, calls)]
    if calls:
        lines += ["", "The calls, in order", *_calls(calls)]
    happened = list(_events(events, start=request.get("at")))
    if happened:
        lines += ["", "What happened", *happened]
    lines += ["", *_came_out(outcome), *_later(trace)]
    return [printable(line).rstrip() for line in lines]


def _verdict(trace: Mapping[str, Json], outcome: Mapping[str, Json]) -> str:
    if not outcome:
        return str(trace.get("status") or "running")
    took = seconds(outcome.get("latency_s"))
    status = outcome.get("status")
    if status == "ok":
        return f"answered in {took} for {usd(outcome.get('cost_usd'))}"
    if status == "partial":
        return f"answered in part in {took} for {usd(outcome.get('cost_usd'))}"
    if status == "cancelled":
        return f"the client hung up after {took}; {usd(outcome.get('cost_usd'))} were spent"
    return f"failed after {took} ({outcome.get('error_code') or status}); {usd(outcome.get('cost_usd'))} were spent"


def _asked(request: Mapping[str, Json]) -> Iterator[str]:
    when = datetime.fromtimestamp(request["at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if request.get("at") else "unknown"
    extras = [
        "streamed" if request.get("streamed") else "",
        f"{request['item_count']} items" if request.get("item_count") else "",
        f"key {request['key_id']}" if request.get("key_id") else "no key (this machine)",
        f"preferred backend {request['backend']}" if request.get("backend") else "",
        f"deadline {seconds(request['deadline_s'])}" if request.get("deadline_s") else "",
    ]
    yield f"  asked    {when}, {request.get('source', '?')} surface, {', '.join(extra for extra in extras if extra)}"
    yield f"  of       {request.get('target', '?')}"
    text = _question(request.get("body"))
    if text:
        yield f"  words    {clip(text, TEXT_CHARS)}"


def _question(body: Json) -> str:
    """The last user message, or whatever of the body was kept."""
    if not isinstance(body, dict):
        return body if isinstance(body, str) else ""
    messages = body.get("messages")
    if isinstance(messages, list):
        for message in reversed(messages):
            if isinstance(message, dict) and message.get("role") == "user":
                content = message.get("content")
                return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return json.dumps(body, ensure_ascii=False)


def _done(request: Mapping[str, Json], outcome: Mapping[str, Json], calls: Sequence[Json]) -> Iterator[str]:
    node, backend = outcome.get("node"), outcome.get("backend")
    if node:
        attempts = outcome.get("attempts") or 1
        again = f" (handed over {attempts} times, since a node was lost)" if attempts > 1 else ""
        yield f"  node     {node}{again}"
    elif outcome.get("library") in ("exact", "rerun", "reused"):
        yield "  node     none: the library answered"
    elif outcome.get("status") in ("ok", "partial"):
        yield "  node     none: the request named a backend, so it went straight there"
    if outcome.get("strategy"):
        yield f"  strategy {outcome['strategy']}"
    yield f"  why      {_why(request, node)}"
    if backend:
        yield f"  backend  {backend} gave the final answer"
    tokens = (outcome.get("prompt_tokens") or 0, outcome.get("completion_tokens") or 0)
    estimated = " (estimated in part: a backend did not report them)" if outcome.get("estimated") else ""
    yield f"  tokens   {tokens[0]} in, {tokens[1]} out{estimated}"
    failed = sum(1 for call in calls if call.get("error"))
    made = f"{len(calls)} call{'' if len(calls) == 1 else 's'}"
    yield f"  cost     {usd(outcome.get('cost_usd'))} over {made}, {failed} of them failed"
    if outcome.get("overhead_s") is not None:
        yield f"  time     {seconds(outcome.get('latency_s'))}, of which {seconds(outcome['overhead_s'])} outside the backends"
    yield from _quality(outcome)


def _quality(outcome: Mapping[str, Json]) -> Iterator[str]:
    """The score, who says so, and what keeps it from being 1."""
    score = outcome.get("quality_score")
    if score is None:
        return
    says = {
        "checks": "by checks",
        "judge": "by checks and a judge",
        "feedback": "by the client's feedback",
        "none": "nothing could be checked",
    }.get(str(outcome.get("quality_source")), "")
    yield f"  quality  {_share(score)}, {says}"
    for check in outcome.get("quality_checks") or ():
        if isinstance(check, dict) and (check.get("score") or 0.0) < 1.0:
            detail = f": {clip(str(check['detail']), TEXT_CHARS)}" if check.get("detail") else ""
            yield f"           {_share(check.get('score') or 0.0)} {check.get('name', '?')}{detail}"


def _share(score: float) -> str:
    """What is nearly 1 must not read as 1."""
    return "1.00" if score >= 1.0 else f"{min(score, 0.999):.3f}"


def _why(request: Mapping[str, Json], node: Json) -> str:
    target = str(request.get("target") or "auto")
    if target.startswith("strategy/"):
        return f"the client named the strategy {target.removeprefix('strategy/')}"
    if target.startswith("node/"):
        return f"the client named the node {target.removeprefix('node/')}"
    if target != "auto":
        return f"the client named {target}"
    if request.get("backend"):
        return f"the client left the node open and preferred the backend {request['backend']}"
    return "the client left it open; the daemon chose" + (f" {node}" if node else "")


def _calls(calls: Sequence[Json]) -> Iterator[str]:
    before: Mapping[str, Json] | None = None
    start = min((call.get("started_at") or 0.0 for call in calls), default=0.0)
    for number, call in enumerate(calls, start=1):
        usage = f"{call.get('prompt_tokens', 0)} → {call.get('completion_tokens', 0)} tokens"
        error = call.get("error")
        result = f"✗ {_ERRORS.get(str(error), str(error))}" if error else "✓ answered"
        first = f", first token after {seconds(call['first_token_s'])}" if call.get("first_token_s") is not None else ""
        at = f"+{seconds((call.get('started_at') or start) - start)}"
        yield (
            f"  {number:>2}. {at:>8}  {call.get('backend', '?')} ({call.get('model', '?')}){_again(call, before)}: "
            f"{result} in {seconds(call.get('latency_s'))}{first}, {usage}, {usd(call.get('cost_usd'))}"
        )
        if error and call.get("detail"):
            yield f"                {clip(str(call['detail']), _WIDE)}"
        before = call


def _again(call: Mapping[str, Json], before: Mapping[str, Json] | None) -> str:
    """Why this call was made after a failed one."""
    if before is not None and before.get("error") and before.get("backend") != call.get("backend"):
        return f", standing in for {before.get('backend')}"
    return f", attempt {call['attempt']}" if (call.get("attempt") or 1) > 1 else ""


def _events(events: Sequence[Json], *, start: Json) -> Iterator[str]:
    for event in events:
        kind, data = event.get("kind"), event.get("data") or {}
        if kind in ("call", "delta"):  # the calls are told above, with all that is known of them
            continue
        at = f"+{seconds(max(0.0, event['at'] - start))}" if event.get("at") and start else ""
        if kind == "committee" and isinstance(data, dict):
            words, below = committee_told(data)
            yield f"      {at:>8}  {words}"
            yield from (f"                  {line}" for line in below)
            continue
        yield f"      {at:>8}  {_event_words(str(kind), data)}"
        yield from _told_whole(str(kind), data)


_LISTED = ("constraints", "checks", "failures")


def _told_whole(kind: str, data: Json) -> Iterator[str]:
    """What needs lines of its own: a program, the constraints that were read, what each check measured."""
    if not isinstance(data, dict):
        return
    if kind == "code" and isinstance(data.get("code"), str):
        yield from (f"                  | {line}" for line in data["code"].splitlines()[:MAX_CODE_LINES])
    for name in _LISTED:
        for one in data[name] if isinstance(data.get(name), list) else ():
            told = one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)
            yield f"                  - {'failed: ' if name == 'failures' else ''}{clip(told, TEXT_CHARS)}"


def _event_words(kind: str, data: Json) -> str:
    if kind in ("code", "stage") and isinstance(data, dict):
        whole = {"code", *(name for name in _LISTED if isinstance(data.get(name), list))}
        data = {name: value for name, value in data.items() if name not in whole}
    if kind == "code" and isinstance(data, dict) and "state" in data and "step" not in data:
        return _with_facts(f"the registry is told or asked: {data.pop('state')}", data)
    if kind == "code" and isinstance(data, dict):
        return _with_facts(f"a program ({data.pop('step', 'write')}) by {data.pop('backend', None) or 'no model'}", data)
    if kind == "stage" and isinstance(data, dict):
        data = dict(data)
        place = f" ({data.pop('number')} of {data.pop('of', '?')})" if "number" in data else ""
        if idle := [name for name, mattered in dict(data.pop("useful", None) or {}).items() if not mattered]:
            data["changed nothing"] = ", ".join(idle)
        return _with_facts(f"stage {data.pop('name', '?')}{place}: {data.pop('state', '')}".rstrip(": "), data)
    if kind == "route" and isinstance(data, dict):
        return f"who answers: {clip(str(data.get('reason') or data.get('backend')), TEXT_CHARS)}"
    if kind == "run" and isinstance(data, dict):
        return _with_facts(f"a run in the sandbox: {data.get('outcome', '?')}", {**data, "outcome": None})
    if kind == "pattern" and isinstance(data, dict):
        return f"a request of the kind {clip(str(data.get('name')), TEXT_CHARS)} ({data.get('pattern')})"
    if kind == "library" and isinstance(data, dict):
        return _looked_up(dict(data))
    if kind == "peer" and isinstance(data, dict) and "message" in data:
        return _message(data)
    words = {
        "restart": "what had been streamed was void; the answer began again",
        "node_lost": "the node died with the request, or was put away; another was asked",
        "structured": "a structured answer was checked against its schema",
        "peer": "a message between nodes",
    }.get(kind, kind)
    return _with_facts(words, data)


def _looked_up(data: dict[str, Json]) -> str:
    """What the library had, and why that was or was not the answer."""
    state, tier, similarity = str(data.pop("state", "")), str(data.pop("tier", "")), data.pop("similarity", None)
    said = {
        "exact": "the same request was answered before",
        "rerun": "stored code ran again with the values of this request",
        "reused": "the stored answer to a like request",
        "miss": "nothing stored may answer",
    }.get(state, state)
    near = f", nearest at {similarity:.4f}" if isinstance(similarity, float) else ""
    path = f", a path of {data.pop('steps')} steps" if "steps" in data else ""
    return _with_facts(f"library ({state}): {said}; {tier.replace('_', ' ')}{near}{path}; {data.pop('reason', '')}", data)


def _message(data: Mapping[str, Json]) -> str:
    """A message between nodes: who said what to whom, and what the answer took."""
    asking, asked, text = data.get("asking") or "?", data.get("asked") or "?", clip(str(data.get("text") or ""), MESSAGE_CHARS)
    if data["message"] == "ask":
        return f"{asking} asks {asked}: {text}"
    if data["message"] != "answer":
        return f"{asking} tells all nodes: {text}"
    took = f" after {seconds(data.get('latency_s'))}, {usd(data.get('cost_usd'))}"
    return (
        f"{asked} gives {asking} no answer{took}: {data['error']}"
        if data.get("error")
        else f"{asked} answers {asking}{took}: {text}"
    )


def _with_facts(words: str, data: Json) -> str:
    if not isinstance(data, dict):
        return f"{words}: {clip(str(data), _WIDE)}" if data else words
    told = ", ".join(f"{name} {_fact(value)}" for name, value in data.items() if value not in (None, [], {}, ""))
    return f"{words}, {clip(told, _WIDE)}" if told else words


def _fact(value: Json) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _came_out(outcome: Mapping[str, Json]) -> Iterator[str]:
    body = outcome.get("body")
    if outcome.get("error_code"):
        message = outcome.get("error_message")
        field = f" (field {outcome['error_param']})" if outcome.get("error_param") else ""
        yield f"The client got: {outcome['error_code']}{field}" + (f": {clip(str(message), TEXT_CHARS)}" if message else "")
    if isinstance(body, dict):
        for issue in body.get("issues") or ():
            yield f"Known to be wrong with it: {clip(str(issue), TEXT_CHARS)}"
        text = body.get("text") or (json.dumps(body["data"], ensure_ascii=False) if body.get("data") is not None else "")
        if text:
            yield f"The answer: {clip(str(text), TEXT_CHARS)}"
    elif isinstance(body, str) and body:
        yield f"The answer: {clip(body, TEXT_CHARS)}"


def _later(trace: Mapping[str, Json]) -> Iterator[str]:
    """What only requests in parts have, and what people said of the answer."""
    progress = trace.get("progress") or {}
    if trace.get("items") and progress:
        there = f"{progress.get('done')} of {progress.get('total')} items are there"
        yield f"In parts: {there}; read them with: morphogen result {trace['id']}"
    for given in trace.get("feedback") or ():
        comment = f": {clip(str(given['comment']), TEXT_CHARS)}" if given.get("comment") else ""
        yield f"Feedback: {given.get('score')} of 1{comment}"
