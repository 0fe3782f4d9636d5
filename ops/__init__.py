"""What operators use beside the daemon: benchmarks, and later dashboards and service files."""
