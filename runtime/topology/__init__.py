"""The desired set of nodes."""
