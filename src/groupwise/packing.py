"""Groups to one flat batch: decisions end to end, weights over the whole step, cuts between trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from groupwise.policies import Policy, Reference
from groupwise.recipes import Recipe
from groupwise.trajectory import Batch, Group, Piece, Trajectory

Member = tuple[int, Trajectory]
"""(number of its group, trajectory)."""


class BudgetError(ValueError):
    """A single trajectory is larger than a micro-batch may be."""


def pack(
    cohort: Sequence[Group],
    recipe: Recipe,
    policy: Policy,
    tokens_per_microbatch: int,
    reference: Reference | None = None,
) -> Batch | None:
    """The batch of one optimizer step, or None when nothing in it has anything to teach.

    Weights are computed over all scored trajectories and only then are those without a gradient
    (advantage 0, where the recipe says that this is exact) left out: leaving out changes no gradient.

    Raises:
        BudgetError: a trajectory (with its prompt) exceeds `tokens_per_microbatch`.
    """
    scored: list[Member] = [
        (i, t) for i, g in enumerate(cohort) for t in g.trajectories if t.reward is not None and t.n_decisions
    ]
    if not scored:
        return None
    lengths = [t.n_decisions for _, t in scored]
    ids = torch.from_numpy(np.repeat(np.arange(len(scored)), lengths))
    weight = recipe.weigh(ids, torch.from_numpy(np.repeat([i for i, _ in scored], lengths)))
    teaches = np.array([_teaches(t, recipe) for _, t in scored])
    kept = [member for member, keep in zip(scored, teaches, strict=True) if keep]
    if not kept:
        return None
    mask = torch.from_numpy(teaches)[ids]
    pieces = tuple(_pieces(kept, policy, tokens_per_microbatch))
    batch = Batch(
        pieces=pieces,
        behaviour_logp=_flat([t.behaviour_logp for _, t in kept]),
        advantage=_flat([t.advantage for _, t in kept if t.advantage is not None]),
        weight=weight[mask].float(),
        trajectory_id=ids[mask],
        proximal_logp=_proximal([t for _, t in kept]),
    )
    if reference is None:
        return batch
    return replace(batch, reference_logp=torch.cat([reference.logp(p.inputs).cpu() for p in pieces]))


def _teaches(trajectory: Trajectory, recipe: Recipe) -> bool:
    if trajectory.advantage is None:
        raise ValueError("pack needs advantages: call advantages.assign first")
    return not recipe.skips_zero_advantage or bool(trajectory.advantage.any())


def _proximal(trajectories: Sequence[Trajectory]) -> torch.Tensor | None:
    if all(t.proximal_logp is None for t in trajectories):
        return None
    return _flat([t.behaviour_logp if t.proximal_logp is None else t.proximal_logp for t in trajectories])


def _flat(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(arrays).astype(np.float32))


def _pieces(members: Sequence[Member], policy: Policy, budget: int) -> list[Piece]:
    """Cut into micro-batches, in order.

    A cut inside a group computes its prompt twice, so a group is cut only if it fits into no micro-batch.
    """
    whole = _costs(members, policy)
    cuts: list[list[Member]] = []
    used = 0
    for group, trajectory in members:
        sibling = bool(cuts) and cuts[-1][-1][0] == group
        cost = policy.cost(trajectory, sibling)
        begins = not sibling and used + whole[group] > budget >= whole[group]
        if not cuts or begins or used + cost > budget:
            cost, used = policy.cost(trajectory, sibling=False), 0
            cuts.append([])
        if cost > budget:
            raise BudgetError(
                f"one trajectory takes {cost} tokens with its prompt, and --tokens-per-microbatch is "
                f"{budget}. Set it to {cost} or more, or lower --max-new-tokens."
            )
        cuts[-1].append((group, trajectory))
        used += cost
    pieces, at = [], 0
    for cut in cuts:
        n = sum(t.n_decisions for _, t in cut)
        pieces.append(Piece(policy.inputs(cut), at, at + n))
        at += n
    return pieces


def _costs(members: Sequence[Member], policy: Policy) -> dict[int, int]:
    """Tokens of each group when it is packed whole."""
    costs: dict[int, int] = {}
    for group, trajectory in members:
        costs[group] = costs.get(group, 0) + policy.cost(trajectory, sibling=group in costs)
    return costs
