"""Credentials: who may call, and as what.

Called by the daemon (at start and for every request), its surfaces and the CLI's server side. Keys look like
``mg-client-<id>-<secret>``; the secret holds 256 random bits, is shown once and never kept. At rest there is the SHA-256 of
the whole key: a slow hash protects guessable passwords, but 256 random bits cannot be guessed at any speed, and a slow hash
would cost every request. Must not import HTTP, Ray or the database: keys are kept through the ``KeyStore`` port.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from agents.records import InvalidRequest, Json
from runtime.accounts import Limits
from runtime.ledger.records import KeyRow, KeyScope
from runtime.records import Principal

PREFIX = "mg-"
MAX_KEYS = 10_000
_SECRET_BYTES = 32
_SECRET_CHARS = 43
_ID_BYTES = 6
_MAX_BEARER = 512
_MAX_NAME = 100
_SCOPES: tuple[KeyScope, ...] = ("client", "operator")


class CredentialError(Exception):
    """Root of this module's errors."""


class UnsafeBinding(CredentialError):
    """The daemon would listen where others reach it without any key."""


class KeyFileBroken(CredentialError):
    """The operator key's file cannot be used; the message says which and what to do."""


class KeyStore(Protocol):
    """Where keys are kept; ``Ledger`` is one."""

    async def save_key(self, row: KeyRow) -> None: ...

    async def list_keys(self) -> list[KeyRow]: ...

    async def revoke_key(self, key_id: str, *, at: float) -> bool: ...


class KeyRing:
    """Every key in memory, so that a request costs one hash and no I/O. Build with ``KeyRing.load``."""

    def __init__(self, store: KeyStore, rows: list[KeyRow], *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._rows = {row.key_id: row for row in rows}
        self._clock = clock

    @classmethod
    async def load(cls, store: KeyStore, *, clock: Callable[[], float] = time.time) -> KeyRing:
        """Every key of ``store``."""
        return cls(store, await store.list_keys(), clock=clock)

    def authenticate(self, bearer: str | None, *, loopback: bool, require_client_key: bool) -> Principal | None:
        """Who calls with this bearer token (without the word Bearer); None: the key is wrong, or one is needed.

        On loopback a client needs no key unless ``require_client_key``; a token that is not of our making counts as none
        there, because OpenAI clients insist on sending something. A wrong key of our making is refused everywhere: whoever
        sends one believes to have rights that it does not give.
        """
        if bearer and bearer.startswith(PREFIX):
            row = self._match(bearer)
            return Principal(key_id=row.key_id, operator=row.scope == "operator") if row else None
        if loopback and not require_client_key:
            return Principal(key_id=None, operator=False)
        return None

    def _match(self, bearer: str) -> KeyRow | None:
        parsed = _parse(bearer)
        row = self._rows.get(parsed[1]) if parsed else None
        # The digest is taken and compared in every case, so that time does not tell which ids exist.
        same = hmac.compare_digest(_digest(bearer[:_MAX_BEARER]), row.digest if row else bytes(32))
        if not same or row is None or parsed is None or row.revoked_at is not None or row.scope != parsed[0]:
            return None
        return row

    async def create(self, name: str, scope: KeyScope, limits: Limits | None = None) -> tuple[str, str]:
        """(key id, the key, which is never shown again). Durable on return. ``limits`` a day. Raises InvalidRequest."""
        clean = "".join(char for char in name if char.isprintable()).strip()
        if not clean or len(clean) > _MAX_NAME:
            raise InvalidRequest(f"a key needs a name of 1 to {_MAX_NAME} printable characters", param="name")
        if scope not in _SCOPES:
            raise InvalidRequest("scope must be 'client' or 'operator'", param="scope")
        if len(self._rows) >= MAX_KEYS:
            raise InvalidRequest(f"there are {MAX_KEYS} keys already", param="name")
        key_id, key = _new_key(scope)
        await self._register(key, name=clean, limits=limits or Limits())
        return key_id, key

    async def limit(self, key_id: str, limits: Limits) -> bool:
        """Give a key other limits a day. Durable on return. False where there is none, or it was revoked."""
        row = self._rows.get(key_id)
        if row is None or row.revoked_at is not None:
            return False
        row = replace(row, usd_per_day=limits.usd, tokens_per_day=limits.tokens)
        await self._store.save_key(row)
        self._rows[key_id] = row
        return True

    def limits(self) -> dict[str, Limits]:
        """The own limits of every key that has any."""
        return {
            key_id: Limits(usd=row.usd_per_day, tokens=row.tokens_per_day)
            for key_id, row in self._rows.items()
            if row.usd_per_day is not None or row.tokens_per_day is not None
        }

    def name(self, key_id: str) -> str:
        """What the key is called; "" where it is not known."""
        row = self._rows.get(key_id)
        return row.name if row else ""

    async def revoke(self, key_id: str) -> bool:
        """The key is refused from now on. False where there is none or it was revoked before."""
        row, at = self._rows.get(key_id), self._clock()
        if row is None or row.revoked_at is not None:
            return False
        # Refused at once, while it is written down. If that fails, the operator is told and the row is as the ledger has it.
        self._rows[key_id] = _revoked(row, at)
        try:
            await self._store.revoke_key(key_id, at=at)
        except BaseException:
            self._rows[key_id] = row
            raise
        return True

    def list(self) -> list[dict[str, Json]]:
        """One row a key, without anything secret; oldest first."""
        return [
            {
                "id": r.key_id,
                "name": r.name,
                "scope": r.scope,
                "created_at": r.created_at,
                "revoked_at": r.revoked_at,
                "usd_per_day": r.usd_per_day,
                "tokens_per_day": r.tokens_per_day,
            }
            for r in sorted(self._rows.values(), key=lambda r: (r.created_at, r.key_id))
        ]

    def has(self, scope: KeyScope) -> bool:
        """Is there a key of this scope that works?"""
        return any(row.scope == scope and row.revoked_at is None for row in self._rows.values())

    async def ensure_operator_key(self, path: Path) -> str:
        """The id of the operator key in ``path`` (0600), made at the first start. Idempotent, safe against another process.

        A key whose digest the ledger lost is registered again. One that was revoked stays revoked: a new one takes its place
        in the file, unless another operator key works. Raises KeyFileBroken.
        """
        key = await asyncio.to_thread(_read_or_make, path)
        key_id = _operator_id(key, path)
        row = self._rows.get(key_id)
        if row is None:
            await self._register(key, name="first operator", limits=Limits())
        elif row.revoked_at is not None and not self.has("operator"):
            key_id, key = _new_key("operator")
            await asyncio.to_thread(_write, path, key, replace=True)
            await self._register(key, name="operator after a revocation", limits=Limits())
        elif not hmac.compare_digest(row.digest, _digest(key)):
            raise KeyFileBroken(f"{path} holds another secret than the ledger knows for key {key_id}; delete it and start again")
        return key_id

    async def _register(self, key: str, *, name: str, limits: Limits) -> None:
        parsed = _parse(key)
        if parsed is None:
            raise AssertionError("only well-formed keys are registered")
        scope, key_id = parsed
        row = KeyRow(
            key_id=key_id,
            name=name,
            scope=scope,
            digest=_digest(key),
            created_at=self._clock(),
            usd_per_day=limits.usd,
            tokens_per_day=limits.tokens,
        )
        await self._store.save_key(row)
        self._rows[key_id] = row


def _new_key(scope: KeyScope) -> tuple[str, str]:
    key_id = secrets.token_hex(_ID_BYTES)
    return key_id, f"{PREFIX}{scope}-{key_id}-{secrets.token_urlsafe(_SECRET_BYTES)}"


def _parse(key: str) -> tuple[KeyScope, str] | None:
    """(scope, id) of a key of our form; the secret may itself contain dashes."""
    parts = key.split("-", 3)
    if len(parts) != 4 or len(key) > _MAX_BEARER or len(parts[3]) < _SECRET_CHARS:
        return None
    for scope in _SCOPES:
        if parts[1] == scope:
            return scope, parts[2]
    return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _revoked(row: KeyRow, at: float) -> KeyRow:
    return replace(row, revoked_at=at)


# ── the operator key's file ─────────────────────────────────────────────────────────────────────────────────────────────


def _read_or_make(path: Path) -> str:
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() and not path.is_symlink():
            _write(path, _new_key("operator")[1], replace=False)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, encoding="utf-8", errors="replace") as file:
            os.fchmod(file.fileno(), 0o600)
            return file.read(_MAX_BEARER).strip()
    except OSError as error:
        raise KeyFileBroken(f"cannot use the operator key's file {path}: {error}") from error


def _write(path: Path, key: str, *, replace: bool) -> None:
    """All of the key or nothing, never readable by others. Without ``replace`` an existing file wins."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
            return
        try:
            # Unlike a rename, a link never puts itself over what another process has just written.
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


def _operator_id(key: str, path: Path) -> str:
    parsed = _parse(key)
    if parsed is None or parsed[0] != "operator":
        raise KeyFileBroken(f"{path} does not hold an operator key; move it away and start again to get a new one")
    return parsed[1]


# ── where the daemon listens ────────────────────────────────────────────────────────────────────────────────────────────


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine reaches, in any spelling; False for everything that is not surely one."""
    name = host.strip().strip("[]").partition("%")[0]
    if name.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def check_binding(host: str, has_client_keys: bool) -> None:
    """Refuse to listen beyond this machine while nobody could be told apart from anybody. Raises UnsafeBinding."""
    if has_client_keys or is_loopback(host):
        return
    raise UnsafeBinding(
        f'server.host = "{host}" can be reached from other machines, and there is no client key yet. Start once with '
        'server.host = "127.0.0.1" (or MORPHOGEN_SERVER__HOST=127.0.0.1), make a key with `morphogen keys create NAME`, '
        "and start again."
    )
