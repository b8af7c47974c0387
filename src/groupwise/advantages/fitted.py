"""A fit of siblings' returns to their states: in closed form, anew for each, where others have a critic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.advantages.near import by_states, states_of, surprises
from groupwise.advantages.returns import discounted
from groupwise.trajectory import Group, StopReason

WIDE = 256
"""Numbers of a state beyond which it is seen through waves alone: the effort grows as features squared."""
FAR = 5.0
"""Deviations at which a number is cut off, so that its square stays small."""
ROUNDS = 3
"""Fits where episodes were cut, each with what the one before says of what was left."""


@dataclass(frozen=True, slots=True)
class fitted_states:  # noqa: N801 - reads as the function that it is
    """Return from t on, minus a fit of siblings' returns at s_t and t. -> one [T_i] each.

        w_i, b_i = argmin of  sum over j != i, t of (R_jt - b - w f_jt)^2 + ridge n_i |w|^2
        V_it = b_i + w_i f_it,    R_t = r_t + discount R_{t+1},    n_i as many as there are of the others' R
        A_it = sum over l of (discount trace)^l (r_i,t+l + discount V_i,t+l+1 - V_i,t+l)

    f are the state's numbers (mean 0 and deviation 1 in the group), their squares, `waves` random cosines of
    them, which span about what a Gaussian kernel does (Rahimi & Recht 2007), and three powers of the time:
    the linear baseline of arXiv 1604.06778 with waves, fitted to others only. No return of i is in V_i, so
    with `trace` 1 it takes nothing from the expected gradient (for discount 1; the scale of the numbers,
    which all share, apart). Below 1 the sum is GAE's, arXiv 1506.02438, with as much bias as the fit is off.
    A cut episode is then worth V of its last state from there on, in what it lends to others too.

    Effort: decisions of the group times features squared. Between texts there are no states: only the time.
    """

    discount: float = 0.99
    trace: float = 0.95
    waves: int = 128
    ridge: float = 0.01

    def __post_init__(self) -> None:
        if not (0 <= self.discount <= 1 and 0 <= self.trace <= 1):
            raise ValueError(f"discount={self.discount}, trace={self.trace}: from 0 to 1")
        if self.waves < 0 or self.ridge <= 0:
            raise ValueError(f"waves={self.waves}, ridge={self.ridge}: not below 0, and above 0")

    def __call__(self, rewards: Tensor, group: Group) -> list[Tensor]:
        return by_states(self._compare, rewards, group)

    def _compare(self, steps: list[Tensor], group: Group) -> list[Tensor]:
        fit = _Fit(features([states_of(t) for t in group.trajectories], self.waves), self.ridge)
        cut = [self.trace < 1 and t.stopped is StopReason.LENGTH for t in group.trajectories]
        ends = [0.0] * len(steps)
        for _ in range(ROUNDS if any(cut) else 1):
            values = fit([self._returns(*row) for row in zip(steps, ends, strict=True)])
            # the state after a cut is not kept: the one before it stands for it
            ends = [float(value[-1]) if is_cut else 0.0 for value, is_cut in zip(values, cut, strict=True)]
        return [surprises(*row, self.discount, self.trace) for row in zip(steps, values, ends, strict=True)]

    def _returns(self, steps: Tensor, end: float) -> Tensor:
        """[T] float64, `end` being what follows the last step."""
        return discounted(torch.cat([steps[:-1], steps[-1:] + self.discount * end]), self.discount)


class _Fit:
    """Ridge regressions on everybody but one, for each one; what depends on features alone is done once."""

    def __init__(self, rows: list[Tensor], ridge: float) -> None:
        self._rows = rows
        self._others = _rest(torch.tensor([float(len(row)) for row in rows], dtype=torch.float64))
        self._middles = _rest(torch.stack([row.sum(0) for row in rows])) / self._others[:, None]
        own = torch.stack([row.T @ row for row in rows])
        outer = self._middles[:, :, None] * self._middles[:, None, :]
        spread = _rest(own) / self._others[:, None, None] - outer
        self._factors = torch.linalg.cholesky(spread + ridge * torch.eye(own.shape[-1], dtype=torch.float64))

    def __call__(self, returns: list[Tensor]) -> list[Tensor]:
        """[T_i] each -> what the others' tell of them, [T_i] each."""
        means = _rest(torch.stack([row.sum() for row in returns])) / self._others
        own = torch.stack([row.T @ values for row, values in zip(self._rows, returns, strict=True)])
        aims = _rest(own) / self._others[:, None] - means[:, None] * self._middles
        weights = torch.cholesky_solve(aims[:, :, None], self._factors)[:, :, 0]
        every = zip(self._rows, weights, means, self._middles, strict=True)
        return [mean + (row - middle) @ w for row, w, mean, middle in every]


def _rest(parts: Tensor) -> Tensor:
    """The sum of all the others, for each."""
    return parts.sum(0) - parts


def features(states: list[Tensor], waves: int) -> list[Tensor]:
    """[T_i, k] each -> [T_i, features] float64 each, of mean 0 over all."""
    every, lengths = torch.cat(states), [len(own) for own in states]
    off, spread = every - every.mean(0), every.std(0, correction=0)
    scaled = (off / torch.where(spread > 0, spread, torch.inf)).clamp(-FAR, FAR)
    width = scaled.shape[1]
    drawn = torch.Generator().manual_seed(width)  # the same waves in every group of one world
    slopes = torch.randn(width, waves, generator=drawn, dtype=torch.float64) / math.sqrt(width)
    phases = torch.rand(waves, generator=drawn, dtype=torch.float64) * 2 * math.pi
    time = torch.cat([torch.arange(n, dtype=torch.float64) for n in lengths])[:, None] / max(lengths)
    parts = [time, time**2, time**3, math.sqrt(2) * torch.cos(scaled @ slopes + phases)]
    if width <= WIDE:
        parts += [scaled, scaled**2]
    found = torch.cat(parts, -1)
    return list((found - found.mean(0)).split(lengths))
