"""Where code that nobody trusts will run. Knows nothing of agents; imported by registry, agents and runtime."""
