"""Types and classes as the code sees them: tokens for what must not be called, and class statements with their bases checked.

A real class of the interpreter gives more than its name: ``type`` makes classes with any dunder, ``numpy.ndarray`` makes objects
out of raw bytes. So ``type(x)`` hands out a Token for all but harmless ones. Called by guards.py and world.py.
"""

from __future__ import annotations

import collections
import types
import typing
from typing import Any

from sandbox.names import WATCHED
from sandbox.owned import Fields, own

public_types: set[type] = {
    int, float, complex, str, bytes, bytearray, bool, list, dict, tuple, set, frozenset, range, slice, object, type(None),
    type(Ellipsis), type(NotImplemented), collections.Counter, collections.OrderedDict, collections.defaultdict,
    collections.deque, collections.ChainMap, collections.UserDict, collections.UserList,
}  # fmt: skip
"""Classes that ``type(x)`` returns as they are; of others it returns a Token."""
subclassable: set[type] = {
    object, int, float, complex, str, bytes, list, dict, tuple, set, frozenset, collections.Counter, collections.OrderedDict,
    collections.defaultdict, collections.deque, collections.UserDict, collections.UserList, typing.Generic, typing.Protocol,
}  # fmt: skip
instead: dict[type, Any] = {}
"""Real class -> what code sees of it."""


_classes: dict[int, type] = {}
_tokens: dict[type, Token] = {}


class Token:
    """Stands for a class that code may name, print, compare and test with, but not call, subclass or look into."""

    __slots__ = ()

    def __init__(self, real: type) -> None:
        _classes[id(self)] = real

    def __getattribute__(self, name: str) -> Any:
        if name in ("__name__", "__qualname__"):
            return _classes[id(self)].__name__
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("a class of the interpreter cannot be changed here")

    def __call__(self, *args: Any, **named: Any) -> Any:
        raise TypeError(f"{_classes[id(self)].__name__} objects cannot be made here")

    def __instancecheck__(self, obj: Any) -> bool:
        return isinstance(obj, _classes[id(self)])

    def __subclasscheck__(self, kind: Any) -> bool:
        return issubclass(_classes.get(id(kind), kind), _classes[id(self)])

    def __repr__(self) -> str:
        return f"<class '{_classes[id(self)].__name__}'>"

    def __or__(self, other: Any) -> Any:
        return object

    __ror__ = __or__

    def __getitem__(self, key: Any) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Token:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a class of the interpreter cannot be copied")


class _TypeToken(Token):
    """The builtin ``type``, with one argument."""

    __slots__ = ()

    def __call__(self, *args: Any, **named: Any) -> Any:
        if len(args) != 1 or named:
            raise TypeError("type() takes one argument here: write a class statement")
        return type_of(args[0])

    def __eq__(self, other: Any) -> bool:
        return other is self or other is type

    __hash__ = object.__hash__


TYPE = _TypeToken(type)


def token(real: type) -> Token:
    """The one token of ``real``."""
    if real not in _tokens:
        _tokens[real] = Token(real)
    return _tokens[real]


def type_of(obj: Any) -> Any:
    """What ``type(obj)`` gives: the class where code may have it, else its token."""
    kind = type(obj)
    if kind in own or kind in public_types:
        return kind
    if issubclass(kind, type) or isinstance(obj, Token):
        return TYPE
    if kind is Fields:
        return dict
    if kind in instead:
        return instead[kind]
    if issubclass(kind, BaseException) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return kind
    return token(kind)


class Metaclass:
    """What class statements are made with: checks the real bases, remembers the class as the code's own."""

    def __prepare__(self, name: str, bases: tuple[type, ...], **named: Any) -> Any:
        return types.prepare_class(name, bases)[1]

    def __call__(self, name: str, bases: tuple[type, ...], space: Any, **named: Any) -> Any:
        for base in bases:
            if base not in own and base not in subclassable and not _is_exception(base):
                raise TypeError(f"cannot inherit from {getattr(base, '__name__', base)} here")
        made = types.prepare_class(name, bases)[0](name, bases, space, **named)
        if isinstance(made, type):
            _check_matching(made)
            own.add(made)
        return made


def _is_exception(base: Any) -> bool:
    return isinstance(base, type) and issubclass(base, BaseException) and base.__module__ == "builtins"


def _check_matching(made: type) -> None:
    """Patterns read attributes without a guard, by the names of a dataclass's fields."""
    if not issubclass(made, (str, AttributeError, NameError)):
        return
    for kind in made.__mro__:
        names = {*vars(kind).get("__annotations__", ()), *vars(kind).get("__match_args__", ())}
        if kind in own | {made} and names & WATCHED:
            raise TypeError(
                f"fields named {', '.join(sorted(names & WATCHED))} cannot be in a subclass of a class of text or of errors"
            )


def own_class(made: Any) -> Any:
    """Remember a class that a library made out of an own one (dataclass with slots, a named tuple)."""
    if isinstance(made, type):
        own.add(made)
    return made
