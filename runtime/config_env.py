"""Variables ``MORPHOGEN_SECTION__FIELD``: what they set, and how that is laid over the values of the file. Pure.

Called by config_file.py. Only variables that name a section count: MORPHOGEN_GGUF, MORPHOGEN_KEY and the like belong to others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_settings import EnvSettingsSource, SettingsError

from runtime.config import Settings
from runtime.config_lines import SettingPath

ENV_PREFIX = "MORPHOGEN_"


class NotJson(Exception):
    """The variable of a whole ``section`` must hold JSON and does not."""

    def __init__(self, section: str) -> None:
        super().__init__(section)
        self.section = section


def overrides(env: Mapping[str, str]) -> dict[str, Any]:
    """The settings that variables name, as nested tables; keys that are list indices stay strings. Raises NotJson."""
    try:
        return dict(_Environment(env)())
    except SettingsError as error:
        found = re.search(r'field "(\w+)"', str(error))
        raise NotJson(found[1] if found else "") from None


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


def from_environment(set_by_variables: Any, where: SettingPath) -> bool:
    """Whether the value at ``where`` came from a variable."""
    value = set_by_variables
    for part in where:
        if not isinstance(value, dict):
            return value is not None
        value = value.get(str(part))
    return value is not None and not isinstance(value, dict)
