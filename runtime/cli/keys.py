"""``morphogen keys``: who may call the daemon. All of it needs the operator key.

Called by main.py. A secret is printed once, when it is made, and nowhere else.
"""

from __future__ import annotations

import time
from typing import Literal
from urllib.parse import quote

from runtime.cli import client, tables


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
            f"revoked {tables.ago(row['revoked_at'], now=now)}" if row.get("revoked_at") else "active",
        )
        for row in rows
    ]
    if not shown:
        tables.console().print("No keys. Make one: morphogen keys create laptop")
        return
    tables.console().print(tables.table(("id", "name", "scope", "made", "state"), shown))


def create(name: str, scope: Literal["client", "operator"], *, as_json: bool) -> None:
    """Make a key and print its secret."""
    with client.open_client() as daemon:
        made = daemon.post("/v1/keys", {"name": name, "scope": scope}, operator=True)
    if as_json:
        tables.print_json(made)
        return
    out, aside = tables.console(), tables.console(stderr=True)
    aside.print(f"{made['scope']} key {made['id']} ({made['name']}). This is its secret; it is shown this once:")
    out.print(made["secret"], soft_wrap=True)


def revoke(key_id: str) -> None:
    """End a key at once."""
    with client.open_client() as daemon:
        daemon.delete(f"/v1/keys/{quote(key_id, safe='')}", operator=True)
    tables.console().print(f"{key_id} is revoked.")
