"""Who may call: keys, their life, the first operator key, and where the daemon may listen."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from pathlib import Path

import pytest

from agents.records import InvalidRequest
from runtime.accounts import Limits
from runtime.keys import KeyFileBroken, KeyRing, UnsafeBinding, check_binding, is_loopback
from runtime.ledger.records import KeyRow, LedgerUnavailable


class MemoryStore:
    """A KeyStore that keeps rows in a dict, or refuses like a full disk."""

    def __init__(self) -> None:
        self.rows: dict[str, KeyRow] = {}
        self.full = False

    async def save_key(self, row: KeyRow) -> None:
        if self.full:
            raise LedgerUnavailable("disk full")
        self.rows[row.key_id] = row

    async def list_keys(self) -> list[KeyRow]:
        return list(self.rows.values())

    async def revoke_key(self, key_id: str, *, at: float) -> bool:
        if self.full:
            raise LedgerUnavailable("disk full")
        self.rows[key_id] = dataclasses.replace(self.rows[key_id], revoked_at=at)
        return True


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def ring(store: MemoryStore) -> KeyRing:
    return await KeyRing.load(store, clock=lambda: 1000.0)


def may(ring: KeyRing, bearer: str | None, *, loopback: bool = False, require: bool = False) -> str:
    principal = ring.authenticate(bearer, loopback=loopback, require_client_key=require)
    return "nobody" if principal is None else "operator" if principal.operator else "client"


async def test_a_key_opens_its_scope_everywhere(ring: KeyRing) -> None:
    client_id, client = await ring.create("phone", "client")
    _, operator = await ring.create("me", "operator")
    assert client.startswith(f"mg-client-{client_id}-")
    for loopback in (True, False):
        for require in (True, False):
            assert may(ring, client, loopback=loopback, require=require) == "client"
            assert may(ring, operator, loopback=loopback, require=require) == "operator"
    principal = ring.authenticate(client, loopback=False, require_client_key=True)
    assert principal is not None
    assert principal.key_id == client_id


async def test_only_the_digest_is_kept(ring: KeyRing, store: MemoryStore) -> None:
    key_id, key = await ring.create("phone", "client")
    secret = key.split("-", 3)[3]
    assert len(secret) >= 43  # 256 bits in base 64
    row = store.rows[key_id]
    assert row.digest == hashlib.sha256(key.encode()).digest()
    assert secret not in repr(row) + repr(ring.list())
    shown = {"id": key_id, "name": "phone", "scope": "client", "created_at": 1000.0, "revoked_at": None}
    assert ring.list() == [{**shown, "usd_per_day": None, "tokens_per_day": None}]


async def test_a_keys_own_limits_are_kept(ring: KeyRing, store: MemoryStore) -> None:
    key_id, _ = await ring.create("team", "client", Limits(usd=5.0))
    await ring.create("other", "client")
    assert ring.limits() == {key_id: Limits(usd=5.0)}
    assert await ring.limit(key_id, Limits(usd=2.0, tokens=1000))
    again = await KeyRing.load(store)
    assert again.limits() == {key_id: Limits(usd=2.0, tokens=1000)}
    assert again.name(key_id) == "team"
    await ring.revoke(key_id)
    assert not await ring.limit(key_id, Limits())
    assert not await ring.limit("nobody", Limits())


async def test_keys_survive_a_restart(ring: KeyRing, store: MemoryStore) -> None:
    _, key = await ring.create("phone", "client")
    again = await KeyRing.load(store)
    assert may(again, key) == "client"
    assert again.has("client")


async def test_a_wrong_key_is_refused_even_on_loopback(ring: KeyRing) -> None:
    key_id, key = await ring.create("phone", "client")
    wrong = (
        key[:-1] + ("A" if key[-1] != "A" else "B"),
        key.replace("mg-client", "mg-operator"),
        f"mg-client-{key_id}-",
        "mg-client-000000000000-" + "x" * 43,
        "mg-",
        "mg-client-" + "\ud800" * 60,
        key + "x" * 10_000,
    )
    for bearer in wrong:
        assert may(ring, bearer, loopback=True) == "nobody", bearer


@pytest.mark.parametrize("bearer", [None, "", "sk-whatever", "none", "not-needed"])
def test_loopback_needs_no_key_unless_required(bearer: str | None) -> None:
    ring = KeyRing(MemoryStore(), [])
    assert may(ring, bearer, loopback=True) == "client"
    assert may(ring, bearer, loopback=True, require=True) == "nobody"
    assert may(ring, bearer, loopback=False) == "nobody"


async def test_a_revoked_key_is_refused_at_once_and_for_good(ring: KeyRing, store: MemoryStore) -> None:
    key_id, key = await ring.create("phone", "client")
    assert await ring.revoke(key_id)
    assert may(ring, key, loopback=True) == "nobody"
    assert not await ring.revoke(key_id)
    assert not await ring.revoke("nonesuch")
    assert not ring.has("client")
    assert may(await KeyRing.load(store), key) == "nobody"


async def test_a_revocation_that_was_not_written_can_be_repeated(ring: KeyRing, store: MemoryStore) -> None:
    key_id, key = await ring.create("phone", "client")
    store.full = True
    with pytest.raises(LedgerUnavailable):
        await ring.revoke(key_id)
    with pytest.raises(LedgerUnavailable):
        await ring.create("other", "client")
    assert len(ring.list()) == 1
    store.full = False
    assert await ring.revoke(key_id)
    assert may(ring, key) == "nobody"


@pytest.mark.parametrize("name", ["", "   ", "\x00\n", "x" * 101])
async def test_a_name_is_asked_for(ring: KeyRing, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await ring.create(name, "client")
    assert caught.value.param == "name"


async def test_an_unknown_scope_is_refused(ring: KeyRing) -> None:
    with pytest.raises(InvalidRequest):
        await ring.create("x", "root")  # type: ignore[arg-type]


async def test_the_first_operator_key_is_made_once(ring: KeyRing, store: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "data" / "operator.key"
    key_id = await ring.ensure_operator_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    key = path.read_text().strip()
    assert may(ring, key, loopback=True) == "operator"
    assert await ring.ensure_operator_key(path) == key_id
    again = await KeyRing.load(store)
    assert await again.ensure_operator_key(path) == key_id
    assert path.read_text().strip() == key
    assert list(path.parent.iterdir()) == [path]
    assert len(store.rows) == 1


async def test_daemons_that_start_at_once_agree_on_one_file(tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    rings = [KeyRing(MemoryStore(), []) for _ in range(8)]
    ids = await asyncio.gather(*(ring.ensure_operator_key(path) for ring in rings))
    assert len(set(ids)) == 1
    assert [may(ring, path.read_text().strip()) for ring in rings] == ["operator"] * 8


async def test_a_key_that_the_ledger_lost_is_registered_again(ring: KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    await ring.ensure_operator_key(path)
    path.chmod(0o644)
    fresh = KeyRing(MemoryStore(), [])
    await fresh.ensure_operator_key(path)
    assert may(fresh, path.read_text().strip()) == "operator"
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_revoked_operator_key_is_not_let_in_again(ring: KeyRing, store: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    old_id = await ring.ensure_operator_key(path)
    old = path.read_text().strip()
    await ring.revoke(old_id)
    new_id = await ring.ensure_operator_key(path)
    assert new_id != old_id
    assert may(ring, old) == "nobody"
    assert may(ring, path.read_text().strip()) == "operator"


@pytest.mark.parametrize("text", ["", "hello", "mg-client-0011-" + "x" * 43])
async def test_a_file_that_holds_no_operator_key_is_named(ring: KeyRing, tmp_path: Path, text: str) -> None:
    path = tmp_path / "operator.key"
    path.write_text(text)
    with pytest.raises(KeyFileBroken, match=r"operator\.key"):
        await ring.ensure_operator_key(path)
    assert path.read_text() == text


async def test_a_link_is_not_followed(ring: KeyRing, tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileBroken):
        await ring.ensure_operator_key(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.8.7", "localhost", "LOCALHOST", "::1", "[::1]", "::ffff:127.0.0.1", "::1%lo"]
)
def test_loopback_in_every_spelling(host: str) -> None:
    assert is_loopback(host)
    check_binding(host, has_client_keys=False)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "127.0.0.1.nip.io", "::ffff:10.0.0.1", "localhost.evil"]
)
def test_everything_else_needs_a_client_key(host: str) -> None:
    assert not is_loopback(host)
    check_binding(host, has_client_keys=True)
    with pytest.raises(UnsafeBinding) as caught:
        check_binding(host, has_client_keys=False)
    for word in ("server.host", "MORPHOGEN_SERVER__HOST", "morphogen keys create"):
        assert word in str(caught.value)
