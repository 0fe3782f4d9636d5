"""What every strategy is: an async function over the Toolbox. Imported by the strategies and by compose.py."""

from __future__ import annotations

from typing import Protocol

from agents.records import Choice, Draft, StrategySpec, Work
from agents.toolbox import Toolbox


class RunChild(Protocol):
    """Runs a strategy inside another one."""

    async def __call__(
        self, work: Work, spec: StrategySpec, toolbox: Toolbox, choice: Choice, *, visible: bool
    ) -> Draft: ...


def as_text(draft: Draft) -> str:
    """What a later stage is shown of an earlier one."""
    return draft.text


def say(work: Work, content: str) -> Work:
    """``work`` with one more message of the user."""
    return Work(
        messages=(*work.messages, {"role": "user", "content": content}),
        params=work.params,
        schema=work.schema,
        count=work.count,
        rules=work.rules,
    )
