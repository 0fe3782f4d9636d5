"""A simulated OpenAI-compatible server for demos, tests and offline use. Its answers are marked simulated everywhere.

The daemon imports ``simulated_server`` (a child process to start) and ``PROFILES`` from here; ``app.create_app`` is the server
itself and is imported only by the child and by tests, so that Faker never loads in the daemon.
"""

from agents.llm.simulated.launch import simulated_server
from agents.llm.simulated.profiles import PROFILES, Profile

__all__ = ["PROFILES", "Profile", "simulated_server"]
