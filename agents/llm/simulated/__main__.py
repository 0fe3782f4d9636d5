"""``python -m agents.llm.simulated --port N --seed S --speed F``: the child process. Started by launch.py."""

from __future__ import annotations

import argparse

import uvicorn

from agents.llm.child import die_with_parent
from agents.llm.simulated.app import create_app


def main(arguments: list[str] | None = None) -> None:
    """Serve on loopback until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m agents.llm.simulated", description="The simulated LLM pool.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--speed", type=float, default=1.0)
    options = parser.parse_args(arguments)
    die_with_parent()
    app = create_app(seed=options.seed, speed=options.speed)
    # Open streams are cut at shutdown: there is nothing to save, and the daemon waits for us.
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", access_log=False, timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
