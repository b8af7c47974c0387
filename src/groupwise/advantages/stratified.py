"""Baselines for groups whose answers come from several policies; whose, `trajectory.policy.name` says.

Under `mixtures.balance` a single answer's weighted score has a mean of its own, which cancels only over the
whole group: a baseline has to have one expectation for all answers, or it turns the gradient. The mean of
all others (`leave_one_out`) has not: it lacks one answer of the own policy. These have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from groupwise.advantages.outcome import is_flat
from groupwise.losses.decisions import MAX_LOG_RATIO
from groupwise.trajectory import Group, Trajectory


def stratified(rewards: Tensor, group: Group) -> Tensor:
    """r_i - sum_k alpha_k mean of policy k's rewards, r_i left out. rewards [G] -> [G].

    alpha_k is k's share of the scored answers. Unbiased under the balance heuristic and per source. With
    one policy in the group it is `leave_one_out`. An answer that is the only one of its policy has no such
    baseline: it gets 0 and teaches nothing, which biases; so seats of 1 are refused where a run begins.
    """
    if is_flat(rewards):
        return torch.zeros_like(rewards)
    strata = _strata(group)
    sums = rewards.new_zeros(len(strata)).index_add(0, _index(strata), rewards)
    counts = torch.tensor([len(members) for members in strata.values()])
    means = sums / counts
    advantage = torch.zeros_like(rewards)
    for k, members in enumerate(strata.values()):
        if len(members) > 1:
            own = rewards[members]
            rest = (means * counts).sum() - sums[k] + (sums[k] - own) / (counts[k] - 1) * counts[k]
            advantage[members] = own - rest / counts.sum()
    return advantage


def importance_weighted(rewards: Tensor, group: Group) -> Tensor:
    """r_i - 1 / (G - 1) sum over the others of pi / q_k r_k, q_k the policy that wrote it. [G] -> [G].

    Unbiased under the balance heuristic and per source, for seats of 1 too; of more variance than
    `stratified`, the more the further the policies are apart. Equal rewards do not give 0, only on average.
    """
    weighted = rewards * torch.tensor([_weight(t) for t in group.trajectories], dtype=rewards.dtype)
    return rewards - (weighted.sum() - weighted) / (len(rewards) - 1)


def _strata(group: Group) -> dict[str, list[int]]:
    """Places in the group of each policy's answers."""
    strata: dict[str, list[int]] = {}
    for i, trajectory in enumerate(group.trajectories):
        strata.setdefault(trajectory.policy.name, []).append(i)
    return strata


def _index(strata: dict[str, list[int]]) -> Tensor:
    """[G] number of the stratum of each answer."""
    number = {i: k for k, members in enumerate(strata.values()) for i in members}
    return torch.tensor([number[i] for i in range(len(number))])


def _weight(trajectory: Trajectory) -> float:
    """pi / q of a whole answer, q the policy that wrote it."""
    if trajectory.proximal_logp is None:
        return 1.0
    log = float((trajectory.proximal_logp.astype("float64") - trajectory.own_logp).sum())
    return float(torch.tensor(min(log, MAX_LOG_RATIO), dtype=torch.float64).exp())
