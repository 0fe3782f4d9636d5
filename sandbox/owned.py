"""What belongs to the code itself, and may therefore be changed by it: its classes, their instances, its functions, containers.

Called by guards.py and classes.py, and by compiled code through ``write`` and ``items``. Runs in the zygote's children only.
"""

from __future__ import annotations

import collections
import types
from typing import Any

from sandbox.names import FRAMES, hide, is_dunder, reveal

_MISSING = object()

own: set[type] = set()
"""The classes that the code defined."""
code_globals: dict[str, Any] = {}
"""The name space that the code runs in; its functions are known by it."""
item_writable: set[type] = {
    dict, list, bytearray, collections.OrderedDict, collections.defaultdict, collections.Counter, collections.deque,
    collections.ChainMap, collections.UserDict, collections.UserList,
}  # fmt: skip
attribute_writable: dict[type, frozenset[str]] = {}
"""Types of libraries with the few attributes that may be set on their instances."""

# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_own(obj: Any) -> bool:
    """An own class, or a function that the code defined."""
    if isinstance(obj, type):
        return obj in own
    return type(obj) is types.FunctionType and obj.__globals__ is code_globals


def write(obj: Any) -> Any:
    """The object that ``obj.x = v`` may be done on: own instances, classes and functions, and the few others."""
    if type(obj) in own or is_own(obj):
        return obj
    allowed = attribute_writable.get(type(obj))
    if allowed is not None:
        return _Few(obj, allowed)
    raise TypeError(f"attributes of {kind_of(obj)} cannot be set here")


class _Few:
    """Lets a few attributes of a library's object be set."""

    __slots__ = ("_allowed", "_obj")

    def __init__(self, obj: Any, allowed: frozenset[str]) -> None:
        object.__setattr__(self, "_obj", obj)
        object.__setattr__(self, "_allowed", allowed)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in object.__getattribute__(self, "_allowed"):
            raise TypeError(f".{name} cannot be set here")
        setattr(object.__getattribute__(self, "_obj"), name, value)

    def __getattribute__(self, name: str) -> Any:
        """For ``x.prec += 5``."""
        if name not in object.__getattribute__(self, "_allowed"):
            raise TypeError(f".{name} cannot be set here")
        return getattr(object.__getattribute__(self, "_obj"), name)

    def __delattr__(self, name: str) -> None:
        raise TypeError(f".{name} cannot be deleted here")


def items(obj: Any) -> Any:
    """The object that ``obj[k] = v`` may be done on."""
    kind = type(obj)
    if kind in item_writable or kind in own or kind is Fields:
        return obj
    raise TypeError(f"{kind_of(obj)} object does not support item assignment")


def _settable(name: Any) -> str:
    if type(name) is not str:
        raise TypeError("attribute name must be a string")
    if is_dunder(name) or name in FRAMES:
        raise AttributeError(f"{name} cannot be set here")
    return hide(name)


def set_attribute(obj: Any, name: Any, value: Any) -> None:
    setattr(write(obj), _settable(name), value)


def delete_attribute(obj: Any, name: Any) -> None:
    delattr(write(obj), _settable(name))


def set_plainly(obj: Any, name: Any, value: Any) -> None:
    """object.__setattr__, as frozen dataclasses use it on themselves."""
    if type(obj) not in own:
        raise TypeError(f"attributes of {kind_of(obj)} cannot be set here")
    object.__setattr__(obj, _settable(name), value)


class Fields(dict[str, Any]):
    """``vars(obj)``: the attributes of an own object, as a copy that writes through, by the rules for setting attributes."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Any) -> None:
        super().__init__((reveal(name), value) for name, value in object.__getattribute__(owner, "__dict__").items())
        self._owner = owner

    def __setitem__(self, name: Any, value: Any) -> None:
        set_plainly(self._owner, name, value)
        super().__setitem__(name, value)

    def __delitem__(self, name: Any) -> None:
        super().__delitem__(name)
        delete_attribute(self._owner, name)

    def update(self, *args: Any, **named: Any) -> None:
        for name, value in dict(*args, **named).items():
            self[name] = value

    def setdefault(self, name: Any, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: Any, *default: Any) -> Any:
        if name not in self:
            return super().pop(name, *default)
        value = self[name]
        del self[name]
        return value

    def clear(self) -> None:
        for name in list(self):
            del self[name]

    def popitem(self) -> tuple[str, Any]:
        name = list(self)[-1]
        return name, self.pop(name)

    def __ior__(self, other: Any) -> Fields:  # type: ignore[override,misc]
        self.update(other)
        return self


def variables(obj: Any = _MISSING) -> Any:
    """The builtin vars, of own objects and classes."""
    if obj is not _MISSING and isinstance(obj, type) and obj in own:
        return {name: value for name, value in type.__getattribute__(obj, "__dict__").items() if not is_dunder(name)}
    if obj is _MISSING or type(obj) not in own or not hasattr(obj, "__dict__"):
        raise TypeError("vars() works on objects of your own classes here")
    return Fields(obj)


def kind_of(obj: Any) -> str:
    """The name of the type, for messages."""
    return type(obj).__name__
