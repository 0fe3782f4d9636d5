"""Specialists at work: routines that say which requests are theirs, written by models, checked, held, and asked."""
