"""A scripted month of the whole network, on the simulated pool and a clock that leaps: ``python -m ops.sim``."""
