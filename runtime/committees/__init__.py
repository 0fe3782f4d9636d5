"""Committees in the daemon: who gets a node, what is pooled, and whether they are worth it."""
