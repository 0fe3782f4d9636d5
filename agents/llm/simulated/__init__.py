"""A simulated OpenAI-compatible server for demos, tests and offline use. Its answers are marked simulated everywhere."""
