"""A linear model for each arm, all of them shrunk towards what the pool has in common.

Called by quality.py and costs.py. Imports numpy alone; no I/O, no clock.

The model is the Gaussian two-level one of Hong, Kveton, Katariya, Zaheer, Ghavamzadeh, "Hierarchical Bayesian Bandits" (AISTATS
2022): an arm's weights are drawn around the pool's, ``w_a ~ N(w, diag(tau2))``, the pool's around a prior, and an outcome is
``y ~ N(x . w_a, noise2)``. With ``P_a = (A_a / noise2 + L)^-1`` and ``L = diag(1 / tau2)``, where ``A_a`` sums ``x x'`` and
``b_a`` sums ``y x`` of the arm::

    w_a = P_a (b_a / noise2 + L w)              the arm, given the pool
    M_a = L - L P_a L                           what the arm says of the pool, as a precision
    w   = (L0 + sum M_a)^-1 (L0 w0 + sum L P_a b_a / noise2)

Evidence is discounted as in Russac, Vernade, Cappé, "Weighted Linear Bandits for Non-Stationary Environments" (NeurIPS 2019), but
by an arm's own outcomes and by the clock: an arm that is not chosen keeps what is known of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

POOL_EVERY = 8
"""The pool's weights follow after so many outcomes: they move slowly and cost a solve."""


class HierarchicalRidge:
    """``slots`` arms over ``d`` features, the first of which is 1. Not thread-safe.

    ``tau2 (d,)`` is how far an arm may lie from the pool, ``pool_tau2 (d,)`` the pool from ``prior_mean`` (intercept only).
    """

    def __init__(
        self,
        *,
        slots: int,
        tau2: Vector,
        pool_tau2: Vector,
        noise2: float,
        prior_mean: float,
        own_discount: float,
    ) -> None:
        d = len(tau2)
        self._lam = 1.0 / tau2
        self._lam0 = 1.0 / pool_tau2
        self._prior = np.zeros(d)
        self._prior[0] = prior_mean
        self._noise2 = noise2
        self._own_discount = own_discount
        self.gram = np.zeros((slots, d, d))
        self.moment = np.zeros((slots, d))
        self.counts = np.zeros(slots)
        self._cov = np.tile(np.diag(tau2), (slots, 1, 1)).astype(np.float32)
        self._pool_precision = np.zeros((slots, d, d), dtype=np.float32)
        self._pool_sum = np.zeros((d, d))
        self.pool = self._prior.copy()
        self.weights = np.tile(self.pool, (slots, 1))
        self._since_pool = 0
        self.used = 0

    def learn(self, slot: int, x: Vector, y: float, weight: float = 1.0) -> None:
        """One outcome ``y`` of ``slot`` under features ``x (d,)``, counted ``weight`` times (0 to 1)."""
        keep = self._own_discount
        self.gram[slot] = keep * self.gram[slot] + weight * np.outer(x, x)
        self.moment[slot] = keep * self.moment[slot] + weight * y * x
        self.counts[slot] = keep * self.counts[slot] + weight
        self._solve(slot)
        self._since_pool += 1
        if self._since_pool >= POOL_EVERY or self.counts.sum() < 4 * POOL_EVERY:
            self.refresh_pool()

    def spread(self, x: Vector, slots: npt.NDArray[np.intp]) -> Vector:
        """Posterior variance of ``x . w_a`` given the pool, ``(len(slots),)``."""
        # Most features are 0 (kinds are one of many), and their rows and columns add nothing.
        there = np.flatnonzero(x)
        narrow = x[there].astype(np.float32)
        found = (self._cov[np.ix_(slots, there, there)] @ narrow) @ narrow
        return np.maximum(found.astype(np.float64), 1e-9)

    def replace(self, slot: int, x: Vector, y: Vector, weights: Vector) -> None:
        """Put these outcomes, ``x (n, d)``, ``y (n,)``, in the place of an arm's evidence. The pool does not follow yet."""
        self.gram[slot] = (x * weights[:, None]).T @ x
        self.moment[slot] = x.T @ (weights * y)
        self.counts[slot] = weights.sum()
        self._solve(slot)

    def scale(self, slot: int, factor: float) -> None:
        """Keep ``factor`` (0 to 1) of an arm's evidence; 0 forgets it."""
        self.gram[slot] *= factor
        self.moment[slot] *= factor
        self.counts[slot] *= factor
        self._solve(slot)
        self.refresh_pool()

    def decay(self, factor: float) -> None:
        """Keep ``factor`` of everybody's evidence: time has passed."""
        self.gram[: self.used] *= factor
        self.moment[: self.used] *= factor
        self.counts[: self.used] *= factor
        self.rebuild()

    def borrow(self, slot: int, siblings: npt.NDArray[np.intp], worth: float) -> None:
        """Begin an arm with its siblings' evidence, cut down to ``worth`` outcomes in all."""
        total = float(self.counts[siblings].sum())
        if total <= 0:
            return
        factor = min(worth / total, 1.0)
        self.gram[slot] = factor * self.gram[siblings].sum(axis=0)
        self.moment[slot] = factor * self.moment[siblings].sum(axis=0)
        self.counts[slot] = factor * total
        self._solve(slot)
        self.refresh_pool()

    def rebuild(self) -> None:
        """Work out everything that follows from the evidence; after a restore."""
        self._pool_sum[:] = 0
        self._pool_precision[:] = 0
        for slot in range(self.used):
            if self.counts[slot] > 0:
                self._solve(slot)
            else:
                self._cov[slot] = np.diag(1.0 / self._lam)
        self.refresh_pool()

    def _solve(self, slot: int) -> None:
        self.used = max(self.used, slot + 1)
        precision = self.gram[slot] / self._noise2
        precision[np.diag_indices_from(precision)] += self._lam
        cov = np.linalg.inv(precision)
        said = (np.diag(self._lam) - self._lam[:, None] * cov * self._lam).astype(np.float32)
        self._pool_sum += said - self._pool_precision[slot]
        self._pool_precision[slot] = said
        self._cov[slot] = cov
        self.weights[slot] = cov @ (self.moment[slot] / self._noise2 + self._lam * self.pool)

    def refresh_pool(self) -> None:
        """Follow the pool; every arm's weights move with it."""
        self._since_pool = 0
        used = self.used
        cov = self._cov[:used]
        pulled = np.einsum("ijk,ik->ij", cov, self.moment[:used] / self._noise2)
        precision = self._pool_sum.copy()
        precision[np.diag_indices_from(precision)] += self._lam0
        self.pool = np.linalg.solve(precision, self._lam0 * self._prior + self._lam * pulled.sum(axis=0))
        self.weights[:used] = pulled + (cov @ (self._lam * self.pool).astype(np.float32)).astype(np.float64)
        self.weights[used:] = self.pool
