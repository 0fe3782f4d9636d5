"""The name space that code runs in: builtins, guards and importable modules. Built once, in the zygote, and copied by forking.

Called by zygote.py and child.py (and by the benchmark, in a throwaway process). Must not be imported in a daemon.
"""

from __future__ import annotations

import builtins
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from sandbox import classes, facade_numpy, facade_stdlib, guards, owned
from sandbox.facade import Facade, names_of
from sandbox.records import MAX_STDOUT_BYTES

MODULE_NAME = "__code__"
_PLAIN = """None False True Ellipsis NotImplemented abs all any ascii bin bool bytearray bytes callable chr classmethod complex
dict divmod enumerate filter float frozenset hash hex int isinstance issubclass iter len list map max min next object oct ord pow
property range repr reversed round set slice sorted staticmethod str sum super tuple zip aiter anext __build_class__"""
_NO_GROUPS = frozenset({"ExceptionGroup", "BaseExceptionGroup", "EncodingWarning"})
_ABSENT: Mapping[str, str] = {
    "open": "there are no files here: take data from inputs and return the result",
    "input": "there is nobody to ask here: take data from inputs",
    "compile": "code cannot be made from text here",
    "globals": "use a dictionary of your own",
    "locals": "use a dictionary of your own",
    "memoryview": "use bytes, a bytearray or an array",
    "breakpoint": "there is no debugger here",
    "help": "there is no help here",
}


class Output:
    """What the run prints, up to a bound."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.parts: list[str] = []
        self.room = MAX_STDOUT_BYTES
        self.cut = False

    def write(self, text: str) -> None:
        size = len(text.encode("utf-8", "replace"))
        if size > self.room:
            text = text.encode("utf-8", "replace")[: self.room].decode("utf-8", "ignore")
            size, self.cut = self.room, True
        if text:
            self.parts.append(text)
        self.room -= size

    def text(self) -> str:
        return "".join(self.parts)


class World:
    """``fresh()`` gives the globals of one run; ``modules`` what may be imported, for the policy."""

    def __init__(self, facades: Mapping[str, Facade], output: Output) -> None:
        self.output = output
        self._facades = dict(facades)
        self.modules = {name: names_of(facade) for name, facade in facades.items()}
        self._builtins = _builtins(output)
        self._builtins["__import__"] = _import_for_c

    def fresh(self) -> dict[str, Any]:
        """The globals; one name space a process, since guards know the code's functions by it."""
        space = owned.code_globals
        space.clear()
        space.update(
            __builtins__=self._builtins,
            __name__=MODULE_NAME,
            __metaclass__=classes.Metaclass(),
            _getattr_=guards.read,
            _dunder_=guards.dunder,
            _named_tuple_=guards.named_tuple,
            _write_=owned.write,
            _items_=owned.items,
            _apply_=guards.apply,
            _import_=self._import,
            _from_=self._from,
        )
        return space

    def _import(self, name: str, aliased: bool) -> Facade:
        if name not in self._facades:
            raise self._missing(name)
        return self._facades[name if aliased else name.partition(".")[0]]

    def _from(self, module: str, name: str) -> Any:
        whole = self._facades.get(f"{module}.{name}")
        if whole is not None:
            return whole
        if module not in self._facades:
            raise self._missing(module)
        try:
            return getattr(self._facades[module], name)
        except AttributeError:
            raise ImportError(f"cannot import name {name!r} from {module!r} here") from None

    def _missing(self, name: str) -> ImportError:
        here = ", ".join(sorted(each for each in self._facades if "." not in each))
        return ModuleNotFoundError(f"module {name!r} is not available; there are {here}")


def _builtins(output: Output) -> dict[str, Any]:
    made = {name: getattr(builtins, name) for name in _PLAIN.split()}
    for name, value in vars(builtins).items():
        if isinstance(value, type) and issubclass(value, BaseException) and name not in _NO_GROUPS:
            made[name] = value
    made.update({name: _absent(name, reason) for name, reason in _ABSENT.items()})
    made.update(
        getattr=guards.get_attribute,
        hasattr=guards.has_attribute,
        setattr=owned.set_attribute,
        delattr=owned.delete_attribute,
        vars=owned.variables,
        dir=guards.directory,
        type=classes.TYPE,
        id=guards.masked_id,
        format=guards.formatted,
        print=_print(output),
        exit=_leave,
        quit=_leave,
    )
    return made


def _print(output: Output) -> Callable[..., None]:
    def print_(*values: Any, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False) -> None:
        text = (" " if sep is None else str(sep)).join([str(value) for value in values]) + ("\n" if end is None else str(end))
        if file is None:
            output.write(text)
        else:
            guards.get_attribute(file, "write")(text)

    return print_


def _absent(name: str, reason: str) -> Callable[..., Any]:
    def absent(*args: Any, **named: Any) -> Any:
        raise NameError(f"{name}() is not available: {reason}")

    return absent


def _leave(code: Any = None) -> None:
    raise SystemExit(code)


_NOTHING = Facade("internal", {})


def _import_for_c(name: str, *args: Any, **named: Any) -> Facade:
    """The builtin ``__import__``, which only C code reaches: it takes a loaded module from sys.modules, never from what is
    returned here."""
    if name in sys.modules:
        return _NOTHING
    raise ImportError(f"module {name!r} is not available here")


def build(*, scientific: bool = False) -> World:
    """Import everything, make the facades, and warm what a run will touch."""
    output = Output()
    facades = {**facade_stdlib.facades(output.write), **facade_numpy.facades()}
    if scientific:
        from sandbox import facade_scipy  # takes seconds and memory: only in the zygote that is started for it

        facades.update(facade_scipy.facades())
    sys.modules[MODULE_NAME] = types.ModuleType(MODULE_NAME)  # dataclasses looks the module of a class up
    facade_stdlib.warm()
    facade_numpy.warm()
    return World(facades, output)
