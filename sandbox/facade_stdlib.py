"""The standard library behind facades: names that compute, none that lead to files, sockets, processes, modules or frames.

Called by world.py, once. Modules whose whole public face is harmless are taken whole, of the others picked names.
"""

from __future__ import annotations

import abc
import base64
import bisect
import calendar
import cmath
import collections
import collections.abc
import contextlib
import copy
import csv
import dataclasses
import datetime
import decimal
import difflib
import enum
import fractions
import functools
import hashlib
import heapq
import html
import importlib
import io
import itertools
import json
import math
import numbers
import operator
import random
import re
import secrets
import statistics
import string
import sys
import textwrap
import time
import types
import typing
import unicodedata
import urllib.parse
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

from sandbox import classes, guards, owned
from sandbox.facade import Facade, Hint, pick, public
from sandbox.names import OF_BUFFERS, words

_PICKED: tuple[tuple[types.ModuleType, str], ...] = (
    (re, """compile match search fullmatch findall finditer sub subn split escape error Pattern Match A ASCII I IGNORECASE M
        MULTILINE S DOTALL X VERBOSE U UNICODE NOFLAG"""),
    (datetime, "date time datetime timedelta timezone tzinfo MINYEAR MAXYEAR UTC"),
    (time, """time monotonic perf_counter process_time time_ns perf_counter_ns monotonic_ns gmtime localtime mktime strftime
        strptime ctime asctime struct_time"""),
    (json, "loads dumps JSONDecodeError JSONEncoder JSONDecoder"),
    (string, """ascii_letters ascii_lowercase ascii_uppercase digits hexdigits octdigits punctuation printable whitespace
        capwords Template"""),
    (copy, "copy deepcopy"),
    (difflib, "SequenceMatcher get_close_matches ndiff unified_diff context_diff Differ"),
    (unicodedata, "normalize category name lookup combining bidirectional numeric decimal digit east_asian_width is_normalized"),
    (abc, "ABC abstractmethod"),
    (hashlib, "md5 sha1 sha224 sha256 sha384 sha512 blake2b blake2s sha3_224 sha3_256 sha3_384 sha3_512"),
    (zlib, "crc32 adler32 compress decompress"),
    (uuid, "UUID uuid3 uuid4 uuid5 NAMESPACE_DNS NAMESPACE_URL NAMESPACE_OID"),
    (calendar, """monthrange isleap weekday month_name day_name month_abbr day_abbr leapdays timegm monthcalendar MONDAY TUESDAY
        WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY"""),
    (html, "escape unescape"),
    (csv, "reader writer DictReader DictWriter QUOTE_ALL QUOTE_MINIMAL QUOTE_NONNUMERIC QUOTE_NONE Error"),
    (io, "StringIO BytesIO"),
    (contextlib, "contextmanager suppress nullcontext closing ExitStack ContextDecorator AbstractContextManager"),
    (fractions, "Fraction"),
    (secrets, "choice randbelow randbits token_hex token_urlsafe token_bytes compare_digest"),
)  # fmt: skip
_NO_HINTS = words("""get_type_hints get_origin get_args ForwardRef no_type_check no_type_check_decorator Type IO TextIO BinaryIO
    evaluate_forward_ref get_protocol_members is_protocol dataclass_transform get_overloads clear_overloads""")
_URLS = "urlparse urlsplit urlunparse urlunsplit quote unquote urlencode parse_qs parse_qsl urljoin quote_plus unquote_plus"
_ENCODINGS = """ascii latin_1 cp1252 cp437 cp850 iso8859_2 iso8859_15 koi8_r mac_roman utf_7 utf_8_sig utf_16 utf_16_le utf_16_be
    utf_32 utf_32_le utf_32_be unicode_escape raw_unicode_escape idna punycode"""
_RECURSION = range(50, 10_001)


class _EnumType(enum.EnumMeta):
    """Enums are written as classes: the functional form takes any name, dunders too."""

    def __call__(cls, value: Any, *args: Any, **named: Any) -> Any:
        if args or named:
            raise TypeError("write an enum as a class")
        return enum.EnumMeta.__call__(cls, value)  # type: ignore[arg-type]


class Enum(enum.Enum, metaclass=_EnumType): ...


class IntEnum(enum.IntEnum, metaclass=_EnumType): ...


class StrEnum(enum.StrEnum, metaclass=_EnumType): ...


class Flag(enum.Flag, metaclass=_EnumType): ...


class IntFlag(enum.IntFlag, metaclass=_EnumType): ...


class SimpleNamespace:
    """types.SimpleNamespace, whose names are checked."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            owned.set_plainly(self, name, value)

    def __repr__(self) -> str:
        return f"namespace({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def __eq__(self, other: Any) -> bool:
        return type(other) is SimpleNamespace and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]


def _dataclass(cls: Any = None, /, **options: Any) -> Any:
    if cls is None:
        return lambda later: _dataclass(later, **options)
    if cls not in owned.own:
        raise TypeError("dataclass works on your own classes")
    return classes.own_class(dataclasses.dataclass(cls, **options))


def _functools() -> dict[str, Any]:
    def total_ordering(cls: Any) -> Any:
        if cls not in owned.own:
            raise TypeError("total_ordering works on your own classes")
        return functools.total_ordering(cls)

    names = "reduce partial lru_cache cache cmp_to_key"
    return {
        **pick(functools, names),
        "total_ordering": total_ordering,
        "wraps": guards.wraps,
        "cached_property": guards.cached_property,
    }


def _named_tuple(typename: Any, field_names: Any, *, rename: bool = False, defaults: Any = None, module: Any = None) -> Any:
    return collections.namedtuple(typename, field_names, rename=bool(rename), defaults=defaults)


def _sys(write: Any) -> dict[str, Any]:
    def set_recursion_limit(limit: int) -> None:
        sys.setrecursionlimit(max(_RECURSION.start, min(_RECURSION.stop - 1, limit)))

    def leave(code: Any = None) -> None:
        raise SystemExit(code)

    stream = Facade("sys.stdout", {"write": lambda text: write(str(text)) or len(text), "flush": lambda: None})
    return {
        **pick(sys, "maxsize float_info int_info version version_info byteorder getrecursionlimit getsizeof intern maxunicode"),
        "setrecursionlimit": set_recursion_limit,
        "exit": leave,
        "stdout": stream,
        "stderr": stream,
        "argv": ["code"],
    }


def _logging(write: Any) -> dict[str, Any]:
    """Loggers that print from WARNING on, as unconfigured ones do."""

    def at(level: str, shown: bool) -> Any:
        def log(message: Any = "", *args: Any, **named: Any) -> None:
            if shown:
                write(f"{level}: {str(message) % args if args else message}\n")

        return log

    levels = {"debug": False, "info": False, "warning": True, "error": True, "critical": True, "exception": True}
    calls: dict[str, Any] = {name: at(name.upper(), shown) for name, shown in levels.items()}
    ignored = dict.fromkeys(("setLevel", "addHandler", "log", "setFormatter", "addFilter"), _ignore)
    logger = Facade("logging.Logger", {**calls, **ignored, "handlers": [], "isEnabledFor": lambda level: level >= 30})
    numbers_ = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
    made = {"getLogger": lambda name=None: logger, "basicConfig": _ignore, "Logger": Hint("logging.Logger")}
    return {**calls, **numbers_, **made, "StreamHandler": lambda *a: logger, "Formatter": lambda *a: logger}


def _traceback(write: Any) -> dict[str, Any]:
    """What was raised, as text; without the frames."""

    def text(*_: Any, **__: Any) -> str:
        kind, error, _trace = sys.exc_info()
        return f"{kind.__name__}: {error}\n" if kind else "NoneType: None\n"

    return {"format_exc": text, "print_exc": lambda *a, **k: write(text())}


def _ignore(*args: Any, **named: Any) -> None:
    return None


def facades(write: Any) -> Mapping[str, Facade]:
    """The modules by name. ``write(text)`` appends to what the run prints."""
    members: dict[str, dict[str, Any]] = {module.__name__: pick(module, names) for module, names in _PICKED}
    for module in (math, cmath, itertools, bisect, decimal):
        members[module.__name__] = public(module)
    for whole in (heapq, numbers, textwrap, base64, statistics, collections.abc):
        members[whole.__name__] = pick(whole, whole.__all__)
    members["random"] = pick(random, [name for name in random.__all__ if name != "SystemRandom"])
    members["typing"] = {**pick(typing, [n for n in typing.__all__ if n not in _NO_HINTS])}
    members["typing"].update({name: Hint(f"typing.{name}") for name in ("Type", "IO", "TextIO", "BinaryIO")})
    members["operator"] = public(operator, ("attrgetter", "methodcaller", "call", "setitem", "delitem"))
    members["operator"].update(attrgetter=guards.attrgetter, methodcaller=guards.methodcaller, setitem=_set_item)
    members["functools"] = _functools()
    members["collections"] = pick(collections, "Counter defaultdict deque OrderedDict ChainMap UserDict UserList")
    members["collections"]["namedtuple"] = _named_tuple
    members["dataclasses"] = pick(
        dataclasses, "field fields asdict astuple replace is_dataclass FrozenInstanceError InitVar KW_ONLY"
    )
    members["dataclasses"]["dataclass"] = _dataclass
    members["abc"]["ABCMeta"] = Hint("abc.ABCMeta")  # the policy reads metaclass=ABCMeta as a base ABC
    members["enum"] = {**pick(enum, "auto unique member nonmember"), "Enum": Enum, "IntEnum": IntEnum, "StrEnum": StrEnum}
    members["enum"].update(Flag=Flag, IntFlag=IntFlag)
    members["types"] = {"SimpleNamespace": SimpleNamespace, "MappingProxyType": types.MappingProxyType, "NoneType": type(None)}
    members["types"].update(FunctionType=classes.token(types.FunctionType), GeneratorType=classes.token(types.GeneratorType))
    members["sys"] = _sys(write)
    members["traceback"] = _traceback(write)
    members["logging"] = _logging(write)
    members["warnings"] = {"warn": _ignore, "filterwarnings": _ignore, "simplefilter": _ignore}
    members["warnings"]["catch_warnings"] = lambda *a, **k: contextlib.nullcontext([])
    members["urllib.parse"] = pick(urllib.parse, _URLS)
    made = {name: Facade(name, values) for name, values in members.items()}
    made["collections"] = Facade("collections", {**members["collections"], "abc": made["collections.abc"]})
    made["urllib"] = Facade("urllib", {"parse": made["urllib.parse"]})
    _tell_guards()
    return made


def _set_item(container: Any, key: Any, value: Any) -> None:
    owned.items(container)[key] = value


def _tell_guards() -> None:
    guards.watch(OF_BUFFERS, (io.BytesIO,))
    classes.public_types.update(
        (datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone, decimal.Decimal,
         fractions.Fraction, uuid.UUID, SimpleNamespace)
    )  # fmt: skip
    classes.subclassable.update(
        (Enum, IntEnum, StrEnum, Flag, IntFlag, abc.ABC, json.JSONEncoder, json.JSONDecoder, random.Random, datetime.tzinfo,
         datetime.date, datetime.datetime, datetime.timedelta, decimal.Decimal, fractions.Fraction, string.Template, io.StringIO,
         contextlib.ContextDecorator, contextlib.AbstractContextManager, SimpleNamespace,
         *(getattr(collections.abc, name) for name in collections.abc.__all__),
         *(getattr(numbers, name) for name in numbers.__all__))
    )  # fmt: skip
    forms: tuple[Any, ...] = (typing.NamedTuple, typing.TypedDict)
    for form in forms:
        classes.subclassable.update(form.__mro_entries__((form,)))
    for protocol in ("SupportsInt", "SupportsFloat", "SupportsAbs", "SupportsIndex", "SupportsRound", "SupportsBytes"):
        classes.subclassable.add(getattr(typing, protocol))
    owned.own.add(SimpleNamespace)
    owned.attribute_writable[decimal.Context] = frozenset({"prec", "rounding", "Emin", "Emax", "capitals", "clamp"})
    owned.item_writable.add(type(decimal.getcontext().traps))


def warm() -> None:
    """Load what the library loads at its first use: nothing can be opened later."""
    for name in _ENCODINGS.split():
        importlib.import_module(f"encodings.{name}")
    datetime.datetime.strptime("2000-01-01", "%Y-%m-%d")
