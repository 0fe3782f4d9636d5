"""Holds a spend per thousand requests by moving what a dollar is worth; and keeps the price of exploring within bounds.

Called by bandit.py. Standard library alone; no I/O, no clock.

``Pacer`` is dual mirror descent with the entropy mirror map, a multiplicative step on the price of a dollar (Balseiro, Lu,
Mirrokni,
"The Best of Many Worlds: Dual Mirror Descent for Online Allocation Problems", Operations Research 2023): whoever chooses by
``quality - price x cost`` buys the best quality that the spend allows. What was over- or underspent is made up for over the
next requests.
"""

from __future__ import annotations

import math

STEP = 0.04
MOST_STEP = 3.0
MAKE_UP_REQUESTS = 300
FIRST_SCORE = 0.1
"""At the start, spending a whole request's budget must be worth this much score."""


class Pacer:
    """The price of a dollar, in score points, for a target of ``usd_per_request`` (greater than 0)."""

    def __init__(self, usd_per_request: float) -> None:
        self.target = usd_per_request
        self.per_usd = FIRST_SCORE / usd_per_request
        self.owed = 0.0

    def spent(self, usd: float) -> None:
        """One request's cost is known."""
        self.owed += usd - self.target
        bound = self.target * MAKE_UP_REQUESTS
        self.owed = min(max(self.owed, -bound), bound)
        aim = self.target * (1 - 0.5 * self.owed / bound)
        step = STEP * min(usd / aim - 1, MOST_STEP)
        # Bounded on both sides, so that it is back within some hundred requests wherever it was driven.
        log_price = math.log(self.per_usd * self.target) + step
        self.per_usd = math.exp(min(max(log_price, -9.0), 5.0)) / self.target

    def retarget(self, usd_per_request: float) -> None:
        """Another spend from now on; what a dollar is worth goes on from where it was."""
        self.target = usd_per_request
        self.owed = 0.0


class Purse:
    """What exploring may cost: a share of the spend, after an allowance of some requests' worth.

    Both sums fade, so that the share holds over about the last ``1 / (1 - keep)`` requests.
    """

    def __init__(self, *, share: float, allowance_requests: int, keep: float = 0.999) -> None:
        self.share = share
        self._allowance = allowance_requests
        self._keep = keep
        self.explored_usd = 0.0
        self.spent_usd = 0.0
        self.decisions = 0

    def room(self) -> float:
        """How much more than the best estimate's a choice may cost now, in USD; what costs no more is always free to be tried."""
        if not self.decisions:
            return math.inf
        typical = self.spent_usd * (1 - self._keep) / (1 - self._keep**self.decisions)
        return max(self.share * self.spent_usd + self._allowance * typical - self.explored_usd, 0.0)

    def pay(self, usd: float, extra_usd: float) -> None:
        """A choice was made."""
        self.spent_usd = self._keep * self.spent_usd + usd
        self.explored_usd = self._keep * self.explored_usd + max(extra_usd, 0.0)
        self.decisions += 1
