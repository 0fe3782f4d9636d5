"""Whether the named strategies of a configuration can be used. Pure.

Called wherever a configuration is read (file.py) or begins to hold (daemon.py, live.py). Must not import a service.
"""

from __future__ import annotations

from agents.records import InvalidRequest
from agents.strategies.parse import BUILTIN, parse_strategy
from runtime.committees.rules import check_caps
from runtime.config.settings import Settings


def check_strategies(settings: Settings) -> None:
    """Raises InvalidRequest (its ``param`` is the setting) for a named strategy that cannot be used.

    Backends are looked up where any is configured, disabled ones included: switching one off for a while breaks no strategy.
    """
    known = {name for backend in settings.backends for name in (backend.name, *backend.aliases)}
    for name in settings.strategies:
        if name in BUILTIN:
            raise InvalidRequest("this name is built in; choose another", param=f"strategies.{name}")
    for name in settings.strategies:
        try:
            found = parse_strategy(name, named=settings.strategies, is_backend=lambda one: not known or one in known)
            check_caps(found, settings.committee)
        except InvalidRequest as error:
            raise InvalidRequest(error.message, param=f"strategies.{name}") from None
