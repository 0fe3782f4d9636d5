"""Measured comparisons: python -m ops.bench.NAME --json."""
