"""Asks a model about the network, within the bounds of the registry's own questions, and keeps what came of it.

Built by build.py, run by observer.py beside its looks. What is believed of the answer is decided in
runtime/topology/introspect.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import orjson

from agents.llm.prompts import render
from agents.records import Capability, Json
from runtime.topology.efficiency import ASKS, Efficiency
from runtime.topology.introspect import KINDS, SCHEMA, Introspected, describe, judged
from runtime.topology.situation import Situation

MAX_PROMPT_CHARS: Final = 60_000


class Answered(Protocol):
    """What is needed of an answer (runtime/programs/asks.py: Said)."""

    @property
    def data(self) -> Json: ...

    @property
    def simulated(self) -> bool: ...


class Ask(Protocol):
    """``Asks.ask``: None where nobody may be asked, or nobody answered."""

    async def __call__(
        self, text: str, *, node: str | None, need: Capability, schema: Mapping[str, Json] | None = None
    ) -> Answered | None: ...


class Introspection:
    """``changes`` gives the newest changes of shape, for the model to know what was tried; ``why`` says why nobody was asked."""

    def __init__(
        self,
        *,
        ask: Ask,
        changes: Callable[[], Awaitable[Sequence[Mapping[str, Json]]]],
        why: Callable[[], str] = lambda: "",
    ) -> None:
        self._ask, self._changes, self._why = ask, changes, why
        self.newest: Introspected | None = None
        self.window = 0
        self.trouble = ""

    async def ask(self, situation: Situation, score: Efficiency) -> Introspected:
        """What a model says of the network. Without an answer: no drafts, and ``trouble`` says why. Raises LedgerError."""
        words = asked(situation, score, await self._changes())
        said = await self._ask(words, node=None, need="critique", schema=SCHEMA)
        if said is None or not isinstance(said.data, dict):
            self.trouble = self._why() or "no model answered"
            return Introspected(summary="", score=0.0, heard=(), drafts=())
        found = judged(situation, said.data)
        drafts = tuple(replace(draft, simulated=draft.simulated or said.simulated) for draft in found.drafts)
        found = replace(found, drafts=drafts, simulated=said.simulated)
        self.newest, self.window, self.trouble = found, situation.window.number, ""
        return found


def asked(situation: Situation, score: Efficiency, changes: Sequence[Mapping[str, Json]]) -> str:
    """The whole prompt; a network that is too large for it is told of its busiest parts."""
    described = describe(situation, score, changes)
    text = orjson.dumps(described).decode()
    if len(text) > MAX_PROMPT_CHARS:
        described["measures"] = {name: rows[:8] for name, rows in described["measures"].items()}
        described["topology"]["nodes"] = described["topology"]["nodes"][:8]
        text = orjson.dumps(described).decode()[:MAX_PROMPT_CHARS]
    low = score.score is not None and score.score < ASKS
    urgency = "Its efficiency is low: name the changes that help most." if low else "Recommend a change only where it helps."
    return render("introspect", network=text, kinds=", ".join(KINDS), urgency=urgency)
