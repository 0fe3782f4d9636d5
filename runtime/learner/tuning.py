"""Settings of routing that hold instead of the configuration's: which may be, how they are written, what they come to.

Called by trials.py and proposing.py (settings that won an experiment), by desk.py, and by the controller's checks. Pure.
Written as ``name=value``, the value as JSON, or as plain text where it is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from pydantic import ValidationError

from agents.records import Json
from runtime.config.routing import RoutingSettings
from runtime.routing.records import RoutingError

CHANGEABLE: Final = frozenset(
    {"objective", "quality_weight", "cost_weight", "latency_weight", "exploration_floor", "switch_margin"}
)


def changed(settings: RoutingSettings, changes: Mapping[str, Json]) -> RoutingSettings:
    """``settings`` with some of them changed. Raises RoutingError that names the field."""
    if not changes:
        raise RoutingError("name at least one setting that the challenger changes", field="changes")
    made = _with(settings, changes, "changes")
    if made == settings:
        raise RoutingError("the challenger is the same as what is in force", field="changes")
    return made


def laid_over(settings: RoutingSettings, tuned: Sequence[str]) -> RoutingSettings:
    """``settings`` with those of ``tuned`` in their place. Raises RoutingError that names the field."""
    return _with(settings, read(tuned), "settings") if tuned else settings


def read(tuned: Sequence[str]) -> dict[str, Json]:
    """By name. Raises RoutingError for what is no ``name=value`` and for a name that comes twice."""
    found: dict[str, Json] = {}
    for each in tuned:
        name, sign, value = each.partition("=")
        if not sign or not name or not value or name in found:
            raise RoutingError(f"{each[:100]!r} is not name=value, or comes twice", field="settings")
        try:
            found[name] = orjson.loads(value)
        except ValueError:
            found[name] = value
    return found


def written(tuned: Sequence[str], changes: Mapping[str, Json]) -> tuple[str, ...]:
    """``tuned`` with ``changes`` on top of it, by name, so that equal settings are written alike. Raises RoutingError."""
    both = {**read(tuned), **changes}
    return tuple(f"{name}={orjson.dumps(both[name]).decode()}" for name in sorted(both))


def _with(settings: RoutingSettings, changes: Mapping[str, Json], at: str) -> RoutingSettings:
    for name in changes:
        if name not in CHANGEABLE:
            raise RoutingError(f"{name!r} cannot be changed; these can: {', '.join(sorted(CHANGEABLE))}", field=f"{at}.{name}")
    try:
        return RoutingSettings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise RoutingError(str(first["msg"]), field=f"{at}.{first['loc'][0]}") from None
