"""``morphogen keys``: who may call the daemon. All of it needs the operator key.

Called by main.py. A secret is printed once, when it is made, and nowhere else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from runtime.cli import client, tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A key's own budget a day; None: not named."""

    usd_per_day: float | None = None
    tokens_per_day: int | None = None

    def given(self) -> dict[str, float | int]:
        pairs = {"usd_per_day": self.usd_per_day, "tokens_per_day": self.tokens_per_day}
        return {name: value for name, value in pairs.items() if value is not None}


def list_keys(*, as_json: bool) -> None:
    """Print the keys, newest last, without their secrets."""
    with client.open_client() as daemon:
        rows = daemon.get("/v1/keys", operator=True)["data"]
    if as_json:
        tables.print_json(rows)
        return
    now = time.time()
    shown = [
        (
            str(row.get("key_id") or row.get("id") or ""),
            str(row.get("name") or ""),
            str(row.get("scope") or ""),
            tables.ago(row.get("created_at"), now=now),
            _budget(row),
            f"revoked {tables.ago(row['revoked_at'], now=now)}" if row.get("revoked_at") else "active",
        )
        for row in rows
    ]
    if not shown:
        tables.console().print("No keys. Make one: morphogen keys create laptop")
        return
    tables.console().print(tables.table(("id", "name", "scope", "made", "budget a day", "state"), shown))


def _budget(row: Any) -> str:
    usd, tokens = row.get("usd_per_day"), row.get("tokens_per_day")
    parts = [tables.usd(usd) if usd is not None else "", f"{tokens:,} tokens" if tokens is not None else ""]
    return ", ".join(part for part in parts if part) or "the default"


def create(name: str, scope: Literal["client", "operator"], limits: Limits, *, as_json: bool) -> None:
    """Make a key and print its secret."""
    with client.open_client() as daemon:
        made = daemon.post("/v1/keys", {"name": name, "scope": scope, **limits.given()}, operator=True)
    if as_json:
        tables.print_json(made)
        return
    out, aside = tables.console(), tables.console(stderr=True)
    aside.print(f"{made['scope']} key {made['id']} ({made['name']}). This is its secret; it is shown this once:")
    out.print(made["secret"], soft_wrap=True)


def limit(key_id: str, limits: Limits, *, clear: bool) -> None:
    """Change a key's budget."""
    body = {**({"usd_per_day": None, "tokens_per_day": None} if clear else {}), **limits.given()}
    with client.open_client() as daemon:
        row = daemon.patch(f"/v1/keys/{quote(key_id, safe='')}", body, operator=True)
    tables.console().print(f"{key_id} ({row['name']}): its budget a day is {_budget(row)}.")


def revoke(key_id: str) -> None:
    """End a key at once."""
    with client.open_client() as daemon:
        daemon.delete(f"/v1/keys/{quote(key_id, safe='')}", operator=True)
    tables.console().print(f"{key_id} is revoked.")
