"""The strategy of a request's body, by name or as JSON: the same for every surface.

Called by native.py and openai.py; sees the daemon only through ``Service``.
"""

from __future__ import annotations

from agents.records import InvalidRequest, Json
from agents.strategies.compose import parse_strategy
from agents.strategy_specs import StrategySpec
from runtime.api.errors import bad_request
from runtime.committees.rules import check_caps
from runtime.records import Service, Target


def read_strategy(service: Service, value: Json, *, param: str) -> StrategySpec:
    """The strategy that ``value`` says. Raises ApiError 400 with the place of what cannot be, unknown backends included."""

    def is_backend(name: str) -> bool:
        try:
            return service.resolve(name).kind == "backend"
        except InvalidRequest:
            return False

    try:
        found = parse_strategy(value, named=service.settings.strategies, is_backend=is_backend)
        check_caps(found, service.settings.committee)
    except InvalidRequest as error:
        raise bad_request(error.message, param=param) from None
    return found


def named_strategy(service: Service, name: str, *, param: str) -> Target:
    """The target that a strategy's bare name stands for. Raises ApiError 400 where there is none."""
    try:
        return service.resolve(f"strategy/{name}")
    except InvalidRequest as error:
        raise bad_request(error.message, param=param) from None
