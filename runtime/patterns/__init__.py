"""Patterns in the daemon: requests are labelled as they come, patterns are named, kept over restarts, and shown."""
