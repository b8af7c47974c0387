"""Baselines other than the mean: by length, by a prompt's history, and on purpose too low or too high."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.advantages.outcome import is_flat, leave_one_out, needs_siblings
from groupwise.trajectory import Group


def length_weighted(rewards: Tensor, group: Group) -> Tensor:
    """r - sum(T r) / sum(T): long answers weigh more in the baseline. rewards [G] -> [G].  (OPO, 2505.23585)

    The baseline of least variance if an answer's squared score grows with its length T. Unlike the
    others it does not sum to 0 over the group but over its decisions.
    """
    needs_siblings(rewards)
    lengths = rewards.new_tensor([t.n_decisions for t in group.trajectories])
    if is_flat(rewards) or not lengths.any():
        return torch.zeros_like(rewards)
    return rewards - torch.dot(lengths, rewards) / lengths.sum()


@dataclass(frozen=True, slots=True)
class asymmetric:  # noqa: N801 - reads as the function that it is
    """r - (mean + shift): a baseline moved off the mean on purpose. rewards [G] -> [G].  (AsymRE, 2506.20520)

    Meant for answers of other policies, with no importance weight. Below the mean (shift < 0) successes
    are learned more than failures are unlearned: the lower, the wider the mixture in the limit. At the mean
    or above it the policy collapses onto one answer. The paper moves it by -0.1 and takes the mean over a
    data set; here it is the group's. A group of equals is not silent: every advantage is -shift.
    """

    shift: float = -0.1

    def __call__(self, rewards: Tensor, group: Group | None = None) -> Tensor:
        needs_siblings(rewards)
        return rewards - rewards.mean() - self.shift


@dataclass(frozen=True, slots=True)
class shrunk:  # noqa: N801 - reads as the function that it is
    """r minus its siblings' mean, drawn towards what the prompt gave before. rewards [G] -> [G].

        b_i = (sum of the others' rewards + n m) / (G - 1 + n),    prior (m, n), n at most `most`

    The others and the past are independent of answer i, so any n is unbiased (which the group's own mean
    drawn towards a prior would not be); a good prior lowers the variance most where G is small. Shrinkage
    of baselines in the manner of James and Stein; no paper has exactly this form. Without a prior it is
    `leave_one_out`. With one, a group of equals still teaches if it differs from its history.
    """

    most: float = 8.0
    """A prior counts as at most this many answers: the policy has moved since."""

    def __post_init__(self) -> None:
        if not self.most >= 0:
            raise ValueError(f"most={self.most}: a prior counts as 0 answers or more")

    def __call__(self, rewards: Tensor, group: Group) -> Tensor:
        needs_siblings(rewards)
        if group.prior is None or min(group.prior.count, self.most) == 0:
            return leave_one_out(rewards)
        if is_flat(torch.cat([rewards, rewards.new_tensor([group.prior.mean])])):
            return torch.zeros_like(rewards)
        count = min(group.prior.count, self.most)
        others = rewards.sum() - rewards
        return rewards - (others + count * group.prior.mean) / (len(rewards) - 1 + count)
