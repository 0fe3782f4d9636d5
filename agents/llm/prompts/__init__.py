"""Every prompt of the project, one place: ``<name>.md`` beside this file, read through ``prompt`` and ``render``.

A file's first line is ``version: N``; the rest is the prompt, with ``$name`` placeholders of ``string.Template`` (``$$`` is a
dollar sign). Called by structured.py and the strategies. Imports nothing of the project.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from string import Template

_HERE = Path(__file__).parent
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VERSION = re.compile(r"version: (\d{1,6})")


@lru_cache(maxsize=256)
def _load(name: str) -> tuple[int, str, Template]:
    if not _NAME.fullmatch(name):
        raise KeyError(f"{name!r} is not a prompt's name")
    try:
        text = (_HERE / f"{name}.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KeyError(f"there is no prompt {name!r}") from None
    first, _, body = text.partition("\n")
    version = _VERSION.fullmatch(first.strip())
    if version is None:
        raise ValueError(f"the first line of prompt {name!r} must be 'version: N', not {first[:40]!r}")
    body = body.strip()
    template = Template(body)
    if not template.is_valid():
        raise ValueError(f"prompt {name!r} has a $ that is no placeholder; write $$ for a dollar sign")
    return int(version[1]), body, template


def prompt(name: str) -> str:
    """The prompt's text without its version line, placeholders as written. Raises KeyError for an unknown name."""
    return _load(name)[1]


def version(name: str) -> int:
    """The prompt's version number. Raises KeyError for an unknown name."""
    return _load(name)[0]


def render(name: str, /, **values: str) -> str:
    """The prompt with its placeholders filled in. Raises KeyError for an unknown prompt or a missing value."""
    return _load(name)[2].substitute(values)


def names() -> tuple[str, ...]:
    """Every prompt there is, sorted."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.md")))
