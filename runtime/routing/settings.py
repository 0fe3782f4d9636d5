"""How the learner decides, explores and forgets.

Read by bandit.py and state.py; dispatch makes them from the configuration. Imports this room alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.routing.quality import QualitySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one decision is made. ``usual`` are shares of the arms, in their order, that are taken instead of the learner's own
    while it knows nothing. ``advised`` is the place of the arm that a generated router names, which is given but for
    ``advised_explore`` of the choices: those are made as without it, so that the others stay known."""

    floor: float
    switch_margin: float
    usual: tuple[float, ...] | None = None
    advised: int | None = None
    advised_explore: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSettings:
    """``boldness`` to ``least_boldness`` scale the posterior's standard deviation in draws (1: Thompson's own). ``floor`` is the
    share of choices that is spread evenly over all affordable arms. ``explore_share`` is the most that exploring may add to the
    spend, after ``explore_allowance`` requests' worth. ``switch_margin`` is the gain in utility for which a conversation
    changes its arm."""

    boldness: float = 0.8
    least_boldness: float = 0.3
    draws: int = 64
    floor: float = 0.01
    explore_share: float = 0.1
    explore_allowance: int = 200
    switch_margin: float = 0.05
    half_life_s: float = 14 * 86400.0
    most_arms: int = 256
    most_waiting: int = 4096
    waiting_s: float = 86400.0
    borrow_worth: float = 4.0
    quality: QualitySettings = field(default_factory=QualitySettings)
