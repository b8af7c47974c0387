"""Siblings compared where they were nearly in the same state: anchors for worlds of real numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from groupwise.advantages.outcome import needs_siblings
from groupwise.advantages.returns import discounted, step_rewards
from groupwise.trajectory import Group, StopReason, Trajectory


@dataclass(frozen=True, slots=True)
class near_states:  # noqa: N801 - reads as the function that it is
    """Return from t on, minus what siblings got from the states nearest to s_t. -> one [T_i] each.

        V(s_it) = mean of R_ju over the `neighbours` nearest s_ju, j != i,  R_t = r_t + discount R_{t+1}
        A_it = sum over l of (discount trace)^l (r_i,t+l + discount V(s_i,t+l+1) - V(s_i,t+l))

    With `trace` 1 the sum is R_it - V(s_it): `returns_to_go`, but for a baseline that knows the state and not
    the time. It is made of other episodes alone, so it is unbiased (for discount 1). Below 1 it is the
    advantage of GAE, arXiv 1506.02438, with siblings in the place of a critic: less variance, and as much
    bias as near states differ. A cut episode is then worth V of its last state from there on (`bootstrap`).

    Near is what observations say, by Euclid's distance between the rows that the policy saw: numbers of
    different size want --normalise-observations. Between texts there is no distance; near is then what was
    decided at about the same time. Effort grows as (decisions of a group)^2.
    """

    discount: float = 0.99
    neighbours: int = 8
    trace: float = 1.0
    bootstrap: bool = True
    """False: nothing follows a cut. Where something has to be reached, who dawdles until the limit would
    else be paid for it."""

    def __post_init__(self) -> None:
        if not (0 <= self.discount <= 1 and 0 <= self.trace <= 1):
            raise ValueError(f"discount={self.discount}, trace={self.trace}: from 0 to 1")
        if self.neighbours < 1:
            raise ValueError(f"neighbours={self.neighbours}: 1 or more")

    def __call__(self, rewards: Tensor, group: Group) -> list[Tensor]:
        return by_states(self._compare, rewards, group)

    def _compare(self, steps: list[Tensor], group: Group) -> list[Tensor]:
        returns = torch.cat([discounted(row, self.discount) for row in steps])
        values = self._values([states_of(t) for t in group.trajectories], returns)
        discount, trace = self.discount, self.trace
        open_ended = self.bootstrap and trace < 1
        # the state after a cut is not kept: the one before it stands for it
        ends = [
            float(value[-1]) if open_ended and t.stopped is StopReason.LENGTH else 0.0
            for t, value in zip(group.trajectories, values, strict=True)
        ]
        return [surprises(*row, discount, trace) for row in zip(steps, values, ends, strict=True)]

    def _values(self, states: list[Tensor], returns: Tensor) -> list[Tensor]:
        """[T_i] float64 each: what the others got from about there."""
        every, end, found = torch.cat(states), 0, []
        for own in states:
            start, end = end, end + len(own)
            apart = torch.cdist(own, every)
            apart[:, start:end] = torch.inf
            near = apart.topk(min(self.neighbours, len(every) - len(own)), largest=False).indices
            found.append(returns[near].mean(-1))
        return found


def by_states(
    compare: Callable[[list[Tensor], Group], list[Tensor]], rewards: Tensor, group: Group
) -> list[Tensor]:
    """Advantages by `compare`, given every decision's reward ([T_i] each) and the siblings.

    Who came to no decision was in no state, and says nothing; where fewer than two did there is nothing to
    compare, and all get 0.
    """
    needs_siblings(rewards)
    found = [torch.zeros(t.n_decisions, dtype=torch.float64) for t in group.trajectories]
    acted = [i for i, t in enumerate(group.trajectories) if t.n_decisions]
    if len(acted) > 1:
        own = replace(group, trajectories=tuple(group.trajectories[i] for i in acted))
        pairs = zip(own.trajectories, rewards[acted].tolist(), strict=True)
        steps = [step_rewards(t, reward).nan_to_num(0.0) for t, reward in pairs]
        for i, row in zip(acted, compare(steps, own), strict=True):
            found[i] = row
    return found


def surprises(steps: Tensor, values: Tensor, end: float, discount: float, trace: float) -> Tensor:
    """sum over l of (discount trace)^l (r_t+l + discount V_t+l+1 - V_t+l), V `end` after the last. -> [T]"""
    later = torch.cat([values[1:], values.new_tensor([end])])
    return discounted(steps + discount * later - values, discount * trace)


def states_of(trajectory: Trajectory) -> Tensor:
    """[T, k] float64, one row a decision; of text the time."""
    if any(turn.observation.ndim == 1 for turn in trajectory.turns):
        return torch.arange(trajectory.n_decisions, dtype=torch.float64)[:, None]
    rows = [turn.observation.reshape(len(turn.decisions), -1) for turn in trajectory.turns]
    # cdist works with squares: in float32 those of states far from 0 hide what is between them
    return torch.from_numpy(np.concatenate(rows).astype(np.float64))
