"""What generated routers are shown of a request, and what the one that its conversation falls to says of it.

Called by desk.py before it chooses. ``features_of`` is pure and takes some tenths of a millisecond at the most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from agents.records import Work
from agents.strategies.complexity import complexity
from runtime.learner.features import conversation_of, kind_of, text_of
from runtime.learner.records import Advisor, Told
from runtime.learner.trials import Trials
from runtime.open_request import OpenRequest
from runtime.routing.features import READ_CHARS
from runtime.routing.generated import MAX_TEXT_CHARS, offered
from runtime.routing.records import Arm, Decision

_NUMBER: Final = re.compile(r"(?<![\w.])[-+]?\d[\d.,]*")


def features_of(run: OpenRequest, arms: Sequence[Arm], *, load: float, now: float) -> dict[str, Any]:
    """The request as ``runtime.routing.generated.FEATURES`` says."""
    request = run.request
    text = text_of(request.messages)
    work = Work(
        messages=({"role": "user", "content": text[:READ_CHARS]},),
        schema=request.schema,
        count=request.count,
        rules=request.rules,
        constraints=request.constraints,
    )
    tools = request.params.get("tools")
    similarity = run.library.similarity if run.library is not None else None
    return {
        "text": text[:MAX_TEXT_CHARS].lower(),
        "words": len(text.split()),
        "numbers": len(_NUMBER.findall(text[:READ_CHARS])),
        "lines": text.count("\n") + 1,
        "question": "?" in text,
        "messages": len(request.messages),
        "goes_on": any(message.get("role") == "assistant" for message in request.messages),
        "kind": kind_of(work, text),
        "complexity": complexity(work).score,
        "schema": request.schema is not None,
        "count": request.count or 0,
        "rules": len(request.rules) + len(request.constraints),
        "tools": len(tools) if isinstance(tools, list) else 0,
        "library_similarity": round(similarity or 0.0, 3),
        "pattern": run.pattern or "",
        "load": round(load, 2),
        "hour": datetime.fromtimestamp(now, UTC).hour,
        "arms": offered(arms),
    }


async def consult(advisor: Advisor, trials: Trials, run: OpenRequest, arms: Sequence[Arm], *, load: float, now: float) -> Told:
    """What the router in force says: the one under test, where the conversation is on its side of an experiment.

    While one is under test both are asked: a request on which they agree can say nothing of which is better.
    """
    features = features_of(run, arms, load=load, now=now)
    tried = trials.router
    if tried is None or not advisor.serves(tried):
        return await advisor.advise(None, features, arms)
    name, _ = conversation_of(run.request)
    said = {router: await advisor.advise(router, features, arms) for router in (None, tried)}
    differ = said[None].arm != said[tried].arm
    return replace(said[trials.router_of(name)], counted=differ)


def reasoned(decision: Decision, told: Told | None) -> Decision:
    """The decision with the router's own reason, where it is the router's."""
    if told is None or decision.way != "router":
        return decision
    said = f": {told.reason}" if told.reason else ""
    where = f", step {told.step}" if told.step else ""
    return replace(decision, reason=f"{decision.arm.label} by {told.router}{where} ({told.confidence:.0%} sure){said}")


def place_of(told: Told | None, arms: Sequence[Arm]) -> int | None:
    """Where the advised arm stands among ``arms``; None where there is no advice, or it is not open any more."""
    if told is None or told.arm is None:
        return None
    return next((at for at, arm in enumerate(arms) if arm.key == told.arm.key), None)
