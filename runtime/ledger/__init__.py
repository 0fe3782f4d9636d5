"""What happened, in SQLite: requests, outcomes, events, backend calls, keys. Only the daemon process writes it."""
