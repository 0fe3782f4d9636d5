"""The shell around a change of shape: proposals, decisions, steps, verification, and what survives a kill."""
