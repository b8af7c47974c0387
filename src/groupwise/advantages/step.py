"""Changes of scale over a whole step, after every group has its advantages."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from groupwise.advantages.outcome import EPSILON, is_flat

Rescale = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(advantage [N], trajectory_id [N], rewards [M]) -> advantage [N], over the M answers of a step that were
compared with siblings; trajectory_id counts them from 0."""


def batch_scale(advantage: Tensor, trajectory_id: Tensor, rewards: Tensor) -> Tensor:
    """Divide by the standard deviation of the whole step's rewards.

    With `center` this is Lite-PPO (arXiv 2508.08221): group mean, batch deviation. As there, the
    deviation is that of the raw rewards (M - 1 below), so differences between prompts count in it;
    `centered_scale` leaves them out.
    """
    if len(rewards) < 2:
        return advantage
    return advantage / (rewards.std(correction=1) + EPSILON)


def centered_scale(advantage: Tensor, trajectory_id: Tensor, rewards: Tensor) -> Tensor:
    """Divide by the standard deviation of the step's advantages, each answer counted once (M - 1 below).

    An answer counts with the mean of its decisions. After a baseline in the group this is the deviation
    within prompts: every prompt has one scale, whatever its difficulty. It is also the batch whitening
    of GDPO (arXiv 2601.05242): the mean of centred advantages is 0 already, so groups of equals stay 0.
    """
    lengths = torch.bincount(trajectory_id)
    means = torch.zeros(len(lengths), dtype=advantage.dtype).index_add(0, trajectory_id, advantage)
    means = (means / lengths)[lengths > 0]
    if len(means) < 2:
        return advantage
    return advantage / (means.std(correction=1) + EPSILON)


def whiten(advantage: Tensor, trajectory_id: Tensor, rewards: Tensor) -> Tensor:
    """(A - mean) / std over all decisions of the step (N - 1 below).  (REINFORCE++, arXiv 2501.03262)

    Every decision counts once, so long answers set mean and scale: after a baseline in the group the mean
    is not 0 where length goes with reward, and groups of equals do not stay 0. That is the algorithm; use
    `centered_scale` if it is not meant. A step of equal advantages is exactly 0.
    """
    if not len(advantage) or is_flat(advantage):
        return torch.zeros_like(advantage)
    return (advantage - advantage.mean()) / (advantage.std(correction=1) + EPSILON)


def over_informative(advantage: Tensor, trajectory_id: Tensor, rewards: Tensor) -> Tensor:
    """Times M / (answers with an advantage): the mean over those that teach.  (GPG, arXiv 2504.02546)

    Groups of equals add nothing to a mean over the step and still count in it, so the step shrinks as
    they grow in number; GPG's alpha undoes that. The paper counts the answers of groups of equals; here
    an answer is counted out by its advantage of 0, which is the same but for rewards right on their mean.
    """
    teaching = len(torch.unique(trajectory_id[advantage != 0]))
    return advantage * (len(rewards) / teaching) if teaching else advantage
