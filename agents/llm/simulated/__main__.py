"""``python -m agents.llm.simulated --port N --seed S --speed F``: the child process. Started by launch.py."""

from __future__ import annotations

import argparse
import logging

import uvicorn

from agents.llm.child import die_with_parent
from agents.llm.simulated.app import create_app
from agents.llm.simulated.delivery import SimulatedAbort


def on_purpose(error: BaseException | None) -> bool:
    """Whether an error is a simulated one, by itself or somewhere in its group or chain."""
    if error is None or isinstance(error, SimulatedAbort):
        return error is not None
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else (error.__cause__, error.__context__)
    return any(on_purpose(one) for one in inner)


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and on_purpose(record.exc_info[1]))


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
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        # Open streams are cut at shutdown: there is nothing to save, and the daemon waits for us.
        timeout_graceful_shutdown=1,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
