"""Frozen faces of library modules: the listed names and no way to the module behind them.

Called by the facade_* modules and world.py, in the zygote, once.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any


class Facade:
    """What ``import name`` gives. Holds the names in a dictionary that code cannot reach; cannot be changed."""

    __slots__ = ("_members", "_name")

    def __init__(self, name: str, members: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_members", dict(members))

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_members")[name]
        except KeyError:
            raise AttributeError(f"{object.__getattribute__(self, '_name')}.{name} is not available here") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("modules cannot be changed here")

    def __delattr__(self, name: str) -> None:
        raise TypeError("modules cannot be changed here")

    def __dir__(self) -> list[str]:
        return sorted(object.__getattribute__(self, "_members"))

    def __repr__(self) -> str:
        return f"<module '{object.__getattribute__(self, '_name')}'>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("modules cannot be copied")


def names_of(facade: Facade) -> frozenset[str]:
    """The public names of a facade; for star imports."""
    return frozenset(object.__getattribute__(facade, "_members"))


def pick(module: types.ModuleType, names: str | Iterable[str]) -> dict[str, Any]:
    """The ``names`` of ``module``, where this version of Python has them."""
    wanted = names.split() if isinstance(names, str) else names
    return {name: getattr(module, name) for name in wanted if hasattr(module, name)}


def public(module: types.ModuleType, without: Iterable[str] = ()) -> dict[str, Any]:
    """All public names of ``module`` that are not modules themselves."""
    dropped = frozenset(without)
    found = vars(module).items()
    return {n: v for n, v in found if not n.startswith("_") and not isinstance(v, types.ModuleType) and n not in dropped}


class Hint:
    """A type hint without any power: can be indexed, joined with ``|`` and called for nothing."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("hints cannot be changed here")

    def __getitem__(self, key: Any) -> Hint:
        return self

    def __or__(self, other: Any) -> Hint:
        return self

    __ror__ = __or__

    def __repr__(self) -> str:
        return str(object.__getattribute__(self, "_name"))

    def __call__(self, *args: Any, **named: Any) -> Any:
        raise TypeError(f"{self!r} is a hint and makes no objects")

    def __deepcopy__(self, memo: Any) -> Hint:
        return self
