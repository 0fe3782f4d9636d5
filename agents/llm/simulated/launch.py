"""Starts the simulated server as a watched child process. Called by the daemon. Imports nothing heavy."""

from __future__ import annotations

from agents.llm.child import ChildServer, free_port, module_argv

MODULE = "agents.llm.simulated"


def simulated_server(*, seed: int, speed: float) -> ChildServer:
    """A server for the simulated pool (not started yet). ``speed`` multiplies its latencies; 0 answers at once."""
    port = free_port()
    argv = module_argv(MODULE, "--port", str(port), "--seed", str(seed), "--speed", repr(float(speed)))
    return ChildServer(argv, port=port, health_path="/health", name="simulated", start_timeout_s=60.0)
