"""Learned routing: who answers what best at which price. Pure; wired into the request path by dispatch.

``bandit.py`` decides and learns (``quality.py``, ``costs.py``, ``pacing.py`` are its models; ``linear.py``, ``kinds.py``,
``levels.py``, ``drift.py`` their parts; ``state.py`` keeps it) · ``experiment.py`` compares a challenger with the champion ·
``off_policy.py`` scores one on the log. Must not import anything of the request path.
"""
