"""Which requests go to a committee, and how large one may be.

Called by choosing.py, tasks.py, the router and the surfaces. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, TypeVar, cast

from agents.llm.chat import BackendSpec
from agents.records import InvalidRequest, Json, Work
from agents.strategies.complexity import MAX_SCORE, complexity
from agents.strategy_specs import Committee, StrategySpec
from runtime.config.committee import CommitteeSettings
from runtime.records import Request

Part = TypeVar("Part")
READ_CHARS: Final = 8_000
"""Of the users' words, the last: every request is looked at."""
COMMITTEE: Final = "committee"
"""The strategy's name, in routes, metrics and the ledger; and the source of requests that are asked to compare with one."""
_NEVER: Final = frozenset({COMMITTEE, "mock"})
"""Requests to compare with, and mock data, whose forms may be large and whose answers must be quick."""
_OF_ONE_MODEL: Final = frozenset({"tools", "functions", "tool_choice", "logprobs", "modalities", "audio"})
_NOT_TEXT: Final = frozenset({"image_url", "input_audio", "file"})


def committee_of(settings: CommitteeSettings) -> Committee:
    """The strategy as configured."""
    return Committee(size=settings.size, rounds=settings.rounds)


def hardness(request: Request) -> float:
    """Complexity as a share of its scale, 0 to 1; some tenths of a millisecond."""
    work = Work(
        messages=request.messages,
        schema=request.schema,
        count=request.count,
        rules=request.rules,
        constraints=request.constraints,
    )
    return complexity(work, chars=READ_CHARS).score / MAX_SCORE


def wants_committee(request: Request, settings: CommitteeSettings, backends: Sequence[BackendSpec]) -> bool:
    """Whether a request is left to a committee where nothing better is known: it names no strategy, node or backend, is hard
    enough, and nothing in it is for one model alone (tools, several choices, pictures, a stream, a part of a longer list). Models
    none of which declares ``plan`` are too weak to make anything of each other's words."""
    if not any("plan" in spec.capabilities for spec in backends):
        return False
    if not settings.enabled or request.source in _NEVER or request.target.kind != "auto":
        return False
    if request.strategy is not None or request.backend is not None or request.stream or request.place is not None:
        return False
    if _OF_ONE_MODEL & request.params.keys() or (request.params.get("n") or 1) != 1:
        return False
    return not any(map(_has_more_than_text, request.messages)) and hardness(request) >= settings.threshold


def _has_more_than_text(message: Mapping[str, Json]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(isinstance(part, Mapping) and part.get("type") in _NOT_TEXT for part in content)


def check_caps(strategy: StrategySpec, settings: CommitteeSettings) -> None:
    """Raises InvalidRequest(param="strategy") where somebody gave a committee more members than the host allows."""
    if any(len(found.members) > settings.size for found in _committees(strategy)):
        raise InvalidRequest(f"strategy: a committee has at most {settings.size} members here (committee.size)", param="strategy")


def capped(part: Part, settings: CommitteeSettings) -> Part:
    """A strategy whose committees, at any depth, are no larger and discuss no longer than the host allows."""
    if isinstance(part, tuple):
        return cast(Part, tuple(capped(one, settings) for one in part))
    if not is_dataclass(part) or isinstance(part, type):
        return part
    inner = {each.name: getattr(part, each.name) for each in fields(part)}
    changed = {name: new for name, old in inner.items() if (new := capped(old, settings)) != old}
    if isinstance(part, Committee):
        changed |= {"size": min(part.size, settings.size), "rounds": min(part.rounds, settings.rounds)}
    return replace(part, **changed) if changed else part


def _committees(part: Any) -> Iterator[Committee]:
    """Every committee in a strategy, at any depth."""
    if isinstance(part, tuple):
        for one in part:
            yield from _committees(one)
    elif is_dataclass(part):
        if isinstance(part, Committee):
            yield part
        for each in fields(part):
            yield from _committees(getattr(part, each.name))
