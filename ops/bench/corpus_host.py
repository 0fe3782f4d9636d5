"""The language policy with nothing around it: runs corpus snippets in forked, unconfined processes. For sandbox_corpus.py only.

    python -m ops.bench.corpus_host        one JSON job a line in, one JSON outcome a line out

Snippets have whatever this user has: all effects of the corpus are bounded and are named in its README.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

from sandbox import wire
from sandbox.child import Runner
from sandbox.world import World, build

OUTPUT_BYTES = 2**20
ADDRESS_BYTES = 8 * 2**30
LINGER_S = 1.2


def one(runner: Runner, code: str, inputs: Any) -> dict[str, Any]:
    """Run ``code`` in this very process."""
    header, value = runner.answer(
        wire.RUN_SOURCE, code.encode("utf-8", "surrogatepass"), json.dumps(inputs).encode(), OUTPUT_BYTES, lambda _: None
    )
    return {"header": header, "value": value.decode("utf-8", "replace")}


def job(world: World, fields: dict[str, Any]) -> dict[str, Any]:
    """Fork, run there, wait at most ``wall_s``."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(read)
        secret = os.environ.get("SBX_CANARY")  # a secret in a frame of the host
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
        runner = Runner(world, policy=True)
        found: dict[str, Any] = {"first": one(runner, fields["code"], fields["inputs"])}
        if fields.get("probe"):
            found["probe"] = one(runner, fields["probe"], fields["inputs"])
        os.write(write, json.dumps(found).encode() + b"\n")
        os._exit(0 if secret else 1)
    os.close(write)
    data, end = b"", time.monotonic() + fields["wall_s"]
    while not data.endswith(b"\n"):
        if not select.select([read], [], [], max(0.0, end - time.monotonic()))[0]:
            break
        part = os.read(read, 1 << 20)
        if not part:
            break
        data += part
    timed_out = not data.endswith(b"\n") and time.monotonic() >= end
    os.close(read)
    if fields.get("linger"):
        time.sleep(LINGER_S)
    for target in (-pid, pid):
        try:
            os.kill(target, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    os.waitpid(pid, 0)
    whole = json.loads(data) if data.endswith(b"\n") else None
    return {"outcome": whole, "timed_out": timed_out, "died": whole is None and not timed_out}


def main() -> None:
    world = build()
    for line in sys.stdin:
        answer = job(world, json.loads(line))
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
