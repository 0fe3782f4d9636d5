"""What compiled code calls at run time instead of touching objects itself: reading and writing attributes, types, classes, text.

Called by code under the policy (policy.py puts the calls in) and put into its name space by world.py. Runs in the zygote's
children only. The guards decide by the object, the policy decided by the name already; ``getattr`` with a computed name passes
both here.

Own classes are those that the code under guard defined: only they and their instances can be given attributes.
"""

from __future__ import annotations

import abc
import builtins
import enum
import string
import types
import typing
from _string import formatter_field_name_split  # type: ignore[import-not-found]
from collections.abc import Callable, Iterable
from typing import Any

from sandbox.classes import subclassable, type_of
from sandbox.names import FRAMES, METHODS, NAMED_TUPLE, READABLE, WATCHED, hide, is_dunder
from sandbox.owned import code_globals, is_own, items, kind_of, own, set_plainly, variables

_OPAQUE = (types.ModuleType, types.FrameType, types.CodeType, types.TracebackType, types.CellType)
_ALIASES = (types.GenericAlias, types.UnionType, typing._BaseGenericAlias)  # type: ignore[attr-defined]
_REGISTER = abc.ABCMeta.register
_MISSING = object()

watched: dict[str, tuple[type, ...]] = {"obj": (AttributeError, NameError, memoryview)}
"""Name -> the types on whose instances and subclasses it cannot be read. Facades of libraries add theirs with ``watch``."""


def watch(names: Iterable[str], kinds: Iterable[type]) -> None:
    """Refuse to read the attributes ``names`` of instances and subclasses of ``kinds``. At start only."""
    for name in names:
        watched[name] = (*watched.get(name, ()), *kinds)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(obj: Any, name: str) -> Any:
    """``obj.name`` for a name that the policy let pass."""
    if name in WATCHED:
        return _read_watched(obj, name)
    if isinstance(obj, _OPAQUE):
        raise AttributeError(f"{type(obj).__name__} objects cannot be looked into")
    return getattr(obj, name)


def _read_watched(obj: Any, name: str) -> Any:
    real = _behind_super(obj) if type(obj) is super else obj
    if isinstance(real, (*_OPAQUE, *_ALIASES)) or _is_of(real, watched.get(name, ())):
        raise AttributeError(f".{name} of {kind_of(real)} cannot be used here")
    found = getattr(obj, name)
    if name in ("format", "format_map"):
        return _safe_format(found, name)
    if name in ("mro", "register") and _is_of_metaclass(found):
        raise AttributeError(f".{name} of classes cannot be used here")
    return found


def _is_of_metaclass(found: Any) -> bool:
    """``type.mro`` or ``ABCMeta.register``, bound or not: an author's own method of that name is neither."""
    if found is _REGISTER or getattr(found, "__func__", None) is _REGISTER:
        return True
    return getattr(found, "__objclass__", None) is type or (
        isinstance(found, types.BuiltinMethodType) and isinstance(found.__self__, type)
    )


def _behind_super(obj: Any) -> Any:
    """What a super object stands for; it would hide its type from isinstance."""
    bound = super.__dict__["__self__"].__get__(obj)
    return bound if bound is not None else super.__dict__["__thisclass__"].__get__(obj)


def _is_of(obj: Any, kinds: tuple[type, ...]) -> bool:
    return issubclass(type(obj), kinds) or (isinstance(obj, type) and issubclass(obj, kinds))


def _safe_format(found: Any, name: str) -> Any:
    """str.format with its attribute access guarded, however it was reached: bound, unbound, by super or by an alias."""
    if isinstance(found, types.BuiltinMethodType) and isinstance(found.__self__, str):
        text = str.__str__(found.__self__)
        if name == "format":
            return lambda *args, **named: _FORMATTER.vformat(text, args, named)
        return lambda mapping: _MAP_FORMATTER.vformat(text, (), mapping)
    if isinstance(found, types.MethodDescriptorType):
        if name == "format":
            return lambda text, *args, **named: _FORMATTER.vformat(str.__str__(text), args, named)
        return lambda text, mapping: _MAP_FORMATTER.vformat(str.__str__(text), (), mapping)
    return found


class _Formatter(string.Formatter):
    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        first, rest = formatter_field_name_split(field_name)
        found = self.get_value(first, args, kwargs)
        for is_attribute, key in rest:
            found = get_attribute(found, key) if is_attribute else found[key]
        return found, first


class _MapFormatter(_Formatter):
    def get_value(self, key: Any, args: Any, kwargs: Any) -> Any:
        return kwargs[key]

    def check_unused_args(self, used_args: Any, args: Any, kwargs: Any) -> None:
        """Nothing is unused in a mapping."""


_FORMATTER = _Formatter()
_MAP_FORMATTER = _MapFormatter()


def named_tuple(obj: Any, name: str) -> Any:
    """``obj._asdict`` and the like: the real one of a tuple, else the author's own private attribute."""
    if name in NAMED_TUPLE and (isinstance(obj, tuple) or (isinstance(obj, type) and issubclass(obj, tuple))):
        return getattr(obj, name)
    return getattr(obj, hide(name))


def get_attribute(obj: Any, name: Any, default: Any = _MISSING) -> Any:
    """The builtin getattr: any name, so all rules apply here again."""
    try:
        if type(name) is not str:
            raise TypeError("attribute name must be a string")
        if is_dunder(name):
            return dunder(obj, name)
        if name in NAMED_TUPLE:
            return named_tuple(obj, name)
        if name in FRAMES:
            raise AttributeError(f".{name} cannot be used here")
        return read(obj, hide(name))
    except AttributeError:
        if default is _MISSING:
            raise
        return default


def has_attribute(obj: Any, name: Any) -> bool:
    return get_attribute(obj, name, _MISSING_TOO) is not _MISSING_TOO


_MISSING_TOO = object()


def dunder(obj: Any, name: str) -> Any:
    """``obj.__name__`` and the like. Text, the author's own things, and methods that stand for operators."""
    if name in METHODS or name in ("__new__", "__post_init__"):
        return _method(obj, name)
    if name not in READABLE:
        raise AttributeError(f"{name} cannot be used here")
    special = _READERS.get(name)
    if special is not None:
        return special(obj)
    found = getattr(obj, name)
    if found is not None and type(found) is not str:
        raise AttributeError(f"{name} of {kind_of(obj)} cannot be used here")
    return found


def _method(obj: Any, name: str) -> Any:
    if name in ("__setitem__", "__delitem__") and not isinstance(obj, type):
        items(obj)
    if isinstance(obj, type):
        if not (obj in own or obj in subclassable or issubclass(obj, BaseException)):
            raise AttributeError(f"{name} of {obj.__name__} cannot be used here")
    elif (name in ("__new__", "__init__", "__post_init__") and type(obj) not in own) or isinstance(obj, (*_OPAQUE, *_ALIASES)):
        raise AttributeError(f"{name} of {kind_of(obj)} cannot be used here")
    return getattr(obj, name)


def _annotations(obj: Any) -> dict[str, Any]:
    if is_own(obj) or type(obj) in own:
        return dict(getattr(obj, "__annotations__", {}))
    raise AttributeError("__annotations__ cannot be used here")


def _context(name: str) -> Callable[[Any], Any]:
    def get(obj: Any) -> Any:
        if isinstance(obj, BaseException):
            return getattr(obj, name)
        raise AttributeError(f"{name} cannot be used here")

    return get


def _members(obj: Any) -> Any:
    if isinstance(obj, enum.EnumMeta):
        return dict(obj.__members__)
    raise AttributeError(f"{kind_of(obj)} has no members")


def _dataclass_fields(obj: Any) -> Any:
    if type(obj) in own or obj in own:
        return dict(obj.__dataclass_fields__)
    raise AttributeError("__dataclass_fields__ cannot be used here")


def _setter(obj: Any) -> Any:
    if obj is object:
        return set_plainly
    if type(obj) is super:
        target = super.__dict__["__self__"].__get__(obj)
        return lambda name, value: set_plainly(target, name, value)
    raise AttributeError("use setattr(object, name, value)")


def _fields_of(obj: Any) -> Any:
    try:
        return variables(obj)
    except TypeError:
        raise AttributeError(f"__dict__ of {kind_of(obj)} cannot be used here") from None


def directory(*objs: Any) -> list[str]:
    """The builtin dir, without private names."""
    if not objs:
        raise TypeError("dir() needs an object here")
    return [name for name in dir(objs[0]) if not name.startswith("_") and not name.startswith("private")]


_READERS: dict[str, Callable[[Any], Any]] = {
    "__class__": type_of,
    "__dict__": _fields_of,
    "__annotations__": _annotations,
    "__cause__": _context("__cause__"),
    "__context__": _context("__context__"),
    "__suppress_context__": _context("__suppress_context__"),
    "__members__": _members,
    "__setattr__": _setter,
    "__dataclass_fields__": _dataclass_fields,
}


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def apply(function: Any, *args: Any, **named: Any) -> Any:
    return function(*args, **named)


def attrgetter(*names: Any) -> Callable[[Any], Any]:
    def follow(obj: Any, name: str) -> Any:
        for part in name.split("."):
            obj = get_attribute(obj, part)
        return obj

    if not names or not all(type(name) is str for name in names):
        raise TypeError("attribute names must be strings")
    if len(names) == 1:
        return lambda obj: follow(obj, names[0])
    return lambda obj: tuple(follow(obj, name) for name in names)


def methodcaller(name: Any, /, *args: Any, **named: Any) -> Callable[[Any], Any]:
    return lambda obj: get_attribute(obj, name)(*args, **named)


def wraps(wrapped: Any, *_: Any, **__: Any) -> Callable[[Any], Any]:
    """functools.wraps: carries name and docstring over, as text, to the author's own functions."""

    def decorate(function: Any) -> Any:
        if type(function) is types.FunctionType and function.__globals__ is code_globals:
            for name in ("__name__", "__qualname__", "__doc__"):
                value = getattr(wrapped, name, None)
                if type(value) is str:
                    setattr(function, name, value)
        return function

    return decorate


class cached_property:
    """functools.cached_property, under the rules for setting attributes: the name comes from the class body alone."""

    __slots__ = ("_function", "_name", "_owner")

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self
        values = obj.__dict__
        if self._name not in values:
            set_plainly(obj, self._name, self._function(obj))
        return values[self._name]


def masked_id(obj: Any) -> int:
    """The builtin id, without telling addresses."""
    return id(obj) ^ _MASK


_MASK = 0


def reseed_mask(mask: int) -> None:
    global _MASK
    _MASK = mask


def formatted(value: Any, spec: str = "") -> str:
    return builtins.format(value, spec)
