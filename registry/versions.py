"""What a version must look like: names, numbers, bounds, the canonical content and its hash. Pure.

Called by artifacts.py and whoever reads references (``name``, ``name@1.2.3``, ``name@champion``). Imports nothing of the
project but this package's records.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Literal

from registry.records import CODE_KINDS, KINDS, HashMismatch, InvalidArtifact, Json, Kind, NewVersion, Version, VersionId

MAX_CODE_BYTES = 64 * 1024
"""What the sandbox takes."""
MAX_TEXT_BYTES = 256 * 1024
MAX_PROBLEM_CHARS = 4_000
MAX_DESCRIPTION_CHARS = 4_000
MAX_IMPROVEMENTS = 20
MAX_IMPROVEMENT_CHARS = 300
MAX_PARAMETERS_BYTES = 32 * 1024
MAX_PART = 999_999

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,78}[a-z0-9])?")
_AUTHOR = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,126}[^\s\x00-\x1f\x7f])?")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, and those that make a text look like another one."""


def canonical(kind: Kind, content: str, parameters: Json) -> bytes:
    """The bytes that are hashed: the same for contents that differ only in line ends, trailing blank lines and the order of
    keys."""
    text = content.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
    value = {"kind": kind, "content": text, "parameters": parameters}
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def content_hash(kind: Kind, content: str, parameters: Json) -> str:
    """SHA-256 of the canonical content, in hex."""
    return hashlib.sha256(canonical(kind, content, parameters)).hexdigest()


def verified(version: Version) -> Version:
    """``version`` itself. Raises HashMismatch when its content is not what its hash says."""
    found = content_hash(version.kind, version.content, dict(version.parameters))
    if found != version.content_hash:
        reason = f"the content of {version.version_id} has hash {found[:12]}…, and {version.content_hash[:12]}… was published"
        raise HashMismatch("versions", reason)
    return version


def check_new(new: NewVersion) -> None:
    """Raises InvalidArtifact, naming the field, for what cannot be kept."""
    check_name(new.name)
    if new.kind not in KINDS:
        raise InvalidArtifact("kind", f"must be one of {', '.join(KINDS)}")
    limit = MAX_CODE_BYTES if new.kind in CODE_KINDS else MAX_TEXT_BYTES
    _check_text("content", new.content, most_bytes=limit, least=1)
    _check_text("problem", new.problem, most_chars=MAX_PROBLEM_CHARS, least=1)
    _check_text("description", new.description, most_chars=MAX_DESCRIPTION_CHARS)
    check_author(new.author)
    if new.locale:
        check_author(new.locale, field="locale")
    if len(new.improvements) > MAX_IMPROVEMENTS:
        raise InvalidArtifact("improvements", f"there are {len(new.improvements)} of them; at most {MAX_IMPROVEMENTS}")
    for improvement in new.improvements:
        _check_text("improvements", improvement, most_chars=MAX_IMPROVEMENT_CHARS, least=1)
    _check_parameters(new.parameters)
    if new.number is not None:
        parse_number(new.number)
    _check_relation(new)


def readable(text: str, most_chars: int) -> str:
    """``text`` as it can be kept: without unreadable characters, and cut."""
    return _UNREADABLE.sub(" ", text).strip()[:most_chars].rstrip()


def _check_relation(new: NewVersion) -> None:
    count = len(new.parents)
    if new.relation == "new" and count:
        raise InvalidArtifact("relation", "a new work has no parents; say fork, modify or synthesize")
    if new.relation in ("fork", "modify") and count != 1:
        raise InvalidArtifact("parents", f"{new.relation} takes one parent, not {count}")
    if new.relation == "synthesize" and count < 2:
        raise InvalidArtifact("parents", f"synthesize takes at least two parents, not {count}")


def check_name(name: str) -> None:
    """Raises InvalidArtifact. Names are lower case, so that no two differ only in that."""
    if not _NAME.fullmatch(name):
        raise InvalidArtifact("name", "takes 1 to 80 of a-z, 0-9, '.', '_' and '-', and begins and ends with a letter or digit")


def check_author(author: str, *, field: str = "author") -> None:
    """Raises InvalidArtifact."""
    if not _AUTHOR.fullmatch(author) or _UNREADABLE.search(author):
        raise InvalidArtifact(field, "takes 1 to 128 printable characters without space at its ends")


def _check_text(field: str, text: str, *, most_chars: int | None = None, most_bytes: int | None = None, least: int = 0) -> None:
    if len(text.strip()) < least:
        raise InvalidArtifact(field, "is empty")
    if most_chars is not None and len(text) > most_chars:
        raise InvalidArtifact(field, f"has {len(text)} characters; at most {most_chars}")
    if found := _UNREADABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise InvalidArtifact(field, f"has the unreadable character U+{ord(found.group()):04X} in line {line}")
    if most_bytes is not None and len(text.encode()) > most_bytes:
        raise InvalidArtifact(field, f"has {len(text.encode())} bytes; at most {most_bytes}")


def _check_parameters(parameters: Json) -> None:
    try:
        size = len(json.dumps(parameters, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArtifact("parameters", f"is not JSON: {error}") from error
    if size > MAX_PARAMETERS_BYTES:
        raise InvalidArtifact("parameters", f"has {size} bytes as JSON; at most {MAX_PARAMETERS_BYTES}")


# ── numbers and references ──────────────────────────────────────────────────────────────────────────────────────────────


def parse_number(number: str) -> tuple[int, int, int]:
    """``1.2.3`` -> (1, 2, 3). Raises InvalidArtifact."""
    found = _NUMBER.fullmatch(number)
    if not found:
        raise InvalidArtifact("number", f"{number[:40]!r} is not a version number like 1.2.3")
    return int(found[1]), int(found[2]), int(found[3])


def next_number(newest: str | None, bump: Literal["major", "minor", "patch"]) -> str:
    """The number after ``newest``; the first is 1.0.0. Raises InvalidArtifact when there is none."""
    if newest is None:
        return "1.0.0"
    major, minor, patch = parse_number(newest)
    raised = {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0), "patch": (major, minor, patch + 1)}[bump]
    if max(raised) > MAX_PART:
        raise InvalidArtifact("number", f"there is no number after {newest} for {bump}")
    return ".".join(map(str, raised))


def newest(numbers: Iterable[str]) -> str | None:
    """The highest of them by semantic order."""
    return max(numbers, key=parse_number, default=None)


def version_id(name: str, number: str) -> VersionId:
    """``name@1.2.3``; neither part is checked."""
    return VersionId(f"{name}@{number}")


def split_reference(reference: str) -> tuple[str, str | None]:
    """``name``, ``name@1.2.3`` or ``name@champion`` -> (name, what follows). Raises InvalidArtifact."""
    name, at, rest = reference.partition("@")
    check_name(name)
    if at and not (_NUMBER.fullmatch(rest) or rest in ("latest", "champion", "challenger")):
        raise InvalidArtifact("version", f"{rest[:40]!r} is neither a number like 1.2.3 nor latest, champion or challenger")
    return name, rest or None
