"""What a client was told outlives the daemon: kept replies and streams of jobs over a kill."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.integration.phoenix import USERS, phoenix, read_stream

pytestmark = pytest.mark.integration


def test_replies_are_given_again_after_a_restart(tmp_path: Path) -> None:
    with phoenix(tmp_path) as daemon:
        asks: list[tuple[str, dict[str, Any]]] = [
            ("/v1/requests", {"prompt": "one"}),
            ("/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "two"}]}),
            ("/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "three"}], "stream": True}),
            ("/api/mock/users", {"shape": {"name": "string"}}),
        ]
        first = [daemon.call("POST", path, body, Idempotency_Key=f"k{n}") for n, (path, body) in enumerate(asks)]
        daemon.kill()
        daemon.start()
        daemon.wait_ready()
        for n, (path, body) in enumerate(asks):
            status, reply, headers = daemon.call("POST", path, body, Idempotency_Key=f"k{n}")
            assert (status, reply) == first[n][:2]
            assert headers["idempotent-replayed"] == "true"
            assert daemon.call("POST", path, {**body, "seed": 9}, Idempotency_Key=f"k{n}")[0] == 422
        assert daemon.ledger("SELECT count(*) FROM requests") == [(4,)]


def test_a_stream_is_picked_up_over_a_restart(tmp_path: Path) -> None:
    with phoenix(tmp_path, "[jobs]\nitems_per_part = 10\nmax_parallel_parts = 1\n", speed=0.1) as daemon:
        request_id = daemon.submit(prompt="Customers", shape=USERS, count=70)
        heard = read_stream(daemon, request_id, 0, most=4)
        assert [event[0] for event in heard] == [1, 2, 3, 4]
        daemon.kill()
        daemon.start()
        daemon.wait_ready()
        rest = read_stream(daemon, request_id, heard[-1][0] + 1)
        seqs = [event[0] for event in (*heard, *rest)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert rest[-1][1] == "outcome"
        assert rest[-1][2]["status"] == "done"
        assert [event[1] for event in (*heard, *rest)].count("outcome") == 1
        progress = [event[2]["done"] for event in (*heard, *rest) if event[1] == "progress"]
        assert progress == sorted(progress)
        assert progress[-1] == 70
        daemon.end()
        daemon.start()
        daemon.wait_ready()
        assert [event[0] for event in read_stream(daemon, request_id, 3)] == seqs[2:]
        with urllib.request.urlopen(f"{daemon.url}/v1/requests/{request_id}/stream?from_seq={seqs[-1] + 1}", timeout=30) as over:
            assert over.status == 204
