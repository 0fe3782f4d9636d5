"""Which names mean what to the policy: private ones, dunders that may be defined or read, attributes that lead out.

Data and pure functions, used at compile time (rewrite.py, policy.py) and at run time (guards.py). Imports nothing.
"""

from __future__ import annotations

import re


def words(text: str) -> frozenset[str]:
    """The words of ``text``: how long lists are written here."""
    return frozenset(text.split())


NAMED_TUPLE = frozenset({"_asdict", "_replace", "_fields", "_make", "_field_defaults"})
"""Public though they begin with an underscore."""
ENUM_HOOKS = frozenset({"_missing_", "_generate_next_value_"})
"""Methods that an enum may define."""

_OPERATORS = """add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod"""
_METHODS = """init repr str bytes format bool int float complex index round len length_hint iter next reversed contains getitem
setitem delitem missing call enter exit hash lt le eq ne gt ge neg pos abs invert trunc floor ceil"""
METHODS = frozenset(
    [f"__{name}__" for name in _METHODS.split()]
    + [f"__{prefix}{name}__" for name in _OPERATORS.split() for prefix in ("", "r", "i")]
)
"""Dunders that only stand for an operator or a builtin: a class may define them, and anybody may call them.

Never among them: __getattr__ and __getattribute__ (an object could claim any protocol), __array_*__ and __buffer__ (memory),
__reduce*__ and __setstate__, __class__, __init_subclass__, __prepare__, __del__.
"""
DEFINABLE = METHODS | {"__new__", "__post_init__", "__copy__", "__deepcopy__", "__sizeof__"}
READABLE = words("""__name__ __qualname__ __doc__ __module__ __class__ __dict__ __cause__ __context__ __suppress_context__
    __annotations__ __members__ __setattr__ __new__ __dataclass_fields__ __post_init__""")
"""Dunders that may be read besides METHODS; what comes back is decided by guards.dunder."""

FRAMES = words("""tb_frame tb_next tb_lasti f_back f_builtins f_code f_generator f_globals f_locals f_trace f_lasti co_code
    co_consts gi_frame gi_code gi_yieldfrom cr_await cr_frame cr_code cr_origin ag_await ag_frame ag_code""")
"""Refused on any object: the way from an exception or a generator to frames, and from there to everything."""

OF_TEXT = frozenset({"format", "format_map"})
OF_ARRAYS = words("ctypes tofile dump dumps data base flags resize strides setflags getfield setfield")
OF_RANDOM = frozenset({"bit_generator", "set_state"})
OF_CLASSES = frozenset({"mro", "register"})
OF_ERRORS = frozenset({"obj"})
OF_BUFFERS = frozenset({"getbuffer", "readinto", "readinto1"})
"""Writing bytes into the memory of an array of objects would forge objects."""
WATCHED = OF_TEXT | OF_ARRAYS | OF_RANDOM | OF_CLASSES | OF_ERRORS | OF_BUFFERS
"""Attributes that are harmless on the author's own objects and not on some others: guards.py looks at the object."""

_HIDDEN = "private"
_REVEAL = re.compile(r"\bprivate([0-9]{1,3})(?:_(\w+))?")


def is_dunder(name: str) -> bool:
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


def is_private(name: str) -> bool:
    return name.startswith("_") and name != "_" and not is_dunder(name)


def hide(name: str) -> str:
    """A private name as the compiled code has it, the same everywhere: ``_x`` becomes ``private1_x``.

    So the author's own private names work, and those of libraries are out of reach, whatever the object.
    """
    if not is_private(name):
        return name
    bare = name.lstrip("_")
    count = len(name) - len(bare)
    return f"{_HIDDEN}{count}_{bare}" if bare else f"{_HIDDEN}{count}"


def reveal(text: str) -> str:
    """``text`` with hidden names as their author wrote them."""
    if _HIDDEN not in text:
        return text
    return _REVEAL.sub(lambda found: "_" * min(int(found[1]), 100) + (found[2] or ""), text)
