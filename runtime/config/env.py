"""Variables ``MORPHOGEN_SECTION__FIELD``: what they set, and how that is laid over the values of the file. Pure.

Called by file.py. Only variables that name a section count: MORPHOGEN_GGUF, MORPHOGEN_KEY and the like belong to others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic_settings import EnvSettingsSource, SettingsError

from runtime.config.lines import SettingPath
from runtime.config.settings import Settings

ENV_PREFIX = "MORPHOGEN_"
LISTS_OF_A_BACKEND = frozenset({"aliases", "capabilities"})


class NotJson(Exception):
    """The variable of a whole ``section`` must hold JSON and does not."""

    def __init__(self, section: str) -> None:
        super().__init__(section)
        self.section = section


def overrides(env: Mapping[str, str]) -> dict[str, Any]:
    """The settings that variables name, as nested tables; keys that are list indices stay strings. Raises NotJson."""
    try:
        found = dict(_Environment(env)())
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        raise NotJson(field[1] if field else "") from None
    backends = found.get("backends")
    if isinstance(backends, dict):  # pydantic-settings does not look into lists, so the lists in there are still text
        for backend in (each for each in backends.values() if isinstance(each, dict)):
            backend.update({key: _json(backend[key]) for key in LISTS_OF_A_BACKEND & backend.keys()})
    return found


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text


class _Environment(EnvSettingsSource):
    """pydantic-settings' reading of variables, over a mapping that is handed in."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._env.items()}


def overlay(base: Any, over: Any) -> Any:
    """``over`` laid on ``base``: tables key by key, lists by index where ``over`` names indices, all else replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: overlay(base.get(key), value) for key, value in over.items()}}
    if isinstance(over, dict) and over and all(key.isdecimal() for key in over):
        items = list(base) if isinstance(base, list) else []
        for key in sorted(over, key=int):
            if int(key) < len(items):
                items[int(key)] = overlay(items[int(key)], over[key])
            else:
                items.append(over[key])
        return items
    return over


def from_environment(set_by_variables: Any, where: SettingPath, *, tables: bool = False) -> bool:
    """Whether the value at ``where`` came from a variable; with ``tables`` also where variables only set parts of it."""
    value = set_by_variables
    for part in where:
        if not isinstance(value, dict):
            return value is not None
        value = value.get(str(part))
    return value is not None and (tables or not isinstance(value, dict))
