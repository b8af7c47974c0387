"""Groups to one flat batch: decisions end to end, weights over the whole step, cuts between trajectories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from groupwise.losses import Decisions, mismatch, reads_proximal, still_to_come
from groupwise.policies import Policy, Reference, Scores
from groupwise.randomness import subseed, uniforms
from groupwise.recipes import Recipe
from groupwise.recipes.checks import one_each
from groupwise.trajectory import CURRENT, Batch, Group, Piece, Trajectory

Member = tuple[int, Trajectory]
"""(number of its group, trajectory)."""
SELECTION = 0x5E1EC7
"""Sets the random numbers of selections apart from those that chose the very same decisions."""


class BudgetError(ValueError):
    """A single trajectory is larger than a micro-batch may be."""


def pack(
    cohort: Sequence[Group],
    recipe: Recipe,
    policy: Policy,
    tokens_per_microbatch: int,
    reference: Reference | None = None,
    *,
    version: int | None = None,
    seed: int = 0,
    minibatches: int = 1,
) -> Batch | None:
    """The batch of one step, or None when nothing in it has anything to teach.

    Weights are computed over all scored trajectories that the recipe keeps, and only then are those
    without a gradient (advantage 0, where the recipe says that this is exact) left out: leaving out
    changes no gradient. `version` is the policy's own, in optimizer steps; None: the newest in the cohort.
    `seed` names the random numbers of a selection. `minibatches` parts of about as many decisions each are
    made of it, in order: neighbours are siblings, and whole trajectories stay together.

    Raises:
        BudgetError: a trajectory (with its prompt) exceeds `tokens_per_microbatch`.
    """
    scored, metrics = _counted(cohort, recipe, version)
    teaches = np.array([_teaches(t, recipe) for _, t in scored], dtype=bool)
    kept = [member for member, keep in zip(scored, teaches, strict=True) if keep]
    if not kept:
        return _nothing(metrics) if metrics else None
    lengths = [t.n_decisions for _, t in scored]
    ids = torch.from_numpy(np.repeat(np.arange(len(scored)), lengths))
    groups = torch.from_numpy(np.repeat([i for i, _ in scored], lengths))
    weight = one_each("weigh", recipe.weigh(ids, groups), len(ids))
    mask = torch.from_numpy(teaches)[ids]
    batch = Batch(
        pieces=tuple(_parts(kept, policy, tokens_per_microbatch, minibatches)),
        behaviour_logp=_flat([t.behaviour_logp for _, t in kept]),
        advantage=_flat([t.advantage for _, t in kept if t.advantage is not None]),
        weight=weight[mask].float(),
        trajectory_id=ids[mask],
        proximal_logp=_proximal([t for _, t in kept]),
        foreign=_foreign([t for _, t in kept]),
        metrics=metrics,
    )
    surveyed = _survey(batch, recipe, policy)
    if surveyed is not None and batch.proximal_logp is None and reads_proximal(recipe.correction):
        batch = replace(batch, proximal_logp=surveyed.logp)
    if reference is not None:
        batch = _with_reference(batch, reference, recipe.reward_kl)
    if surveyed is not None and recipe.select is not None:
        step = replace(_decisions(batch), new_logp=surveyed.logp, entropy=surveyed.entropy)
        selected = recipe.select(step, _uniform(cohort, kept, seed))
        batch = replace(batch, selected=one_each("select", selected, len(batch)))
    return batch if batch.proximal_logp is None else _with_mismatch(batch)


# ---------------------------------------------------------------- which


def _counted(
    cohort: Sequence[Group], recipe: Recipe, version: int | None
) -> tuple[list[Member], dict[str, float]]:
    """The trajectories that the loss counts, and the shares of those left out for each reason."""
    scored = [
        (i, t)
        for i, g in enumerate(cohort)
        for t, reward in zip(g.trajectories, g.rewards, strict=True)
        if not np.isnan(reward) and t.n_decisions
    ]
    metrics: dict[str, float] = {}
    everybody = max(len(scored), 1)
    if recipe.staleness is not None and scored:
        newest = max(t.policy.version for _, t in scored) if version is None else version
        fresh = [m for m in scored if not _behind(m[1], newest, recipe.staleness)]
        metrics["left_out/stale"] = (len(scored) - len(fresh)) / everybody
        scored = fresh
    if recipe.keep is not None:
        kept = [member for member in scored if recipe.keep(member[1])]
        metrics["left_out/filtered"] = (len(scored) - len(kept)) / everybody
        scored = kept
    return scored, metrics


def _behind(trajectory: Trajectory, version: int, limit: int) -> bool:
    """Other policies than the one in training are never stale: somebody seated them on purpose."""
    return trajectory.policy.name == CURRENT and version - trajectory.policy.version > limit


def _teaches(trajectory: Trajectory, recipe: Recipe) -> bool:
    if trajectory.advantage is None:
        raise ValueError("pack needs advantages: call advantages.assign first")
    return not recipe.skips_zero_advantage or bool(trajectory.advantage.any())


def _nothing(metrics: Mapping[str, float]) -> Batch:
    """No decisions, and why."""
    none = torch.zeros(0)
    return Batch((), none, none, none, none.long(), metrics=metrics)


# ---------------------------------------------------------------- vectors


def _proximal(trajectories: Sequence[Trajectory]) -> Tensor | None:
    if all(t.proximal_logp is None for t in trajectories):
        return None
    return _flat([t.behaviour_logp if t.proximal_logp is None else t.proximal_logp for t in trajectories])


def _foreign(trajectories: Sequence[Trajectory]) -> Tensor | None:
    foreign = [t.policy.name != CURRENT for t in trajectories]
    if not any(foreign):
        return None
    return torch.from_numpy(np.repeat(foreign, [t.n_decisions for t in trajectories]))


def _flat(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays).astype(np.float32))


def _with_reference(batch: Batch, reference: Reference, reward_kl: float) -> Batch:
    """Reference log-probs, and the divergence in the rewards taken off the advantages."""
    logp = torch.cat([reference.logp(p.inputs).cpu() for p in batch.pieces])
    began = batch.behaviour_logp if batch.proximal_logp is None else batch.proximal_logp
    apart = (began - logp).nan_to_num(0.0, 0.0, 0.0)  # a log-prob that nobody knows has no say in the others
    to_come = still_to_come(apart, batch.trajectory_id)
    advantage = batch.advantage - reward_kl * to_come if reward_kl else batch.advantage
    return replace(batch, reference_logp=logp, advantage=advantage)


@torch.no_grad()
def _survey(batch: Batch, recipe: Recipe, policy: Policy) -> Scores | None:
    """The step's decisions under the policy that it begins with, where the recipe asks for them."""
    if recipe.select is None and not (reads_proximal(recipe.correction) and batch.proximal_logp is None):
        return None
    scores = [policy.score(piece.inputs) for piece in batch.pieces]
    return Scores(
        torch.cat([s.logp.float().cpu() for s in scores]),
        torch.cat([s.entropy.float().cpu() for s in scores]),
    )


def _decisions(batch: Batch) -> Decisions:
    began = batch.behaviour_logp if batch.proximal_logp is None else batch.proximal_logp
    return Decisions(
        batch.advantage, batch.trajectory_id, began, began, batch.behaviour_logp, foreign=batch.foreign
    )


def _with_mismatch(batch: Batch) -> Batch:
    numbers = {f"off_policy/{name}": value for name, value in mismatch(_decisions(batch)).items()}
    return replace(batch, metrics={**batch.metrics, **numbers})


def _uniform(cohort: Sequence[Group], members: Sequence[Member], seed: int) -> Tensor:
    """One number for each decision, by (prompt, sample, position): cuts and other answers have no say."""
    sample = {id(t): k for group in cohort for k, t in enumerate(group.trajectories)}
    own = subseed(seed, SELECTION)
    rows = [
        uniforms(own, np.array(cohort[i].prompt.ordinal), np.array(sample[id(t)]), np.arange(t.n_decisions))
        for i, t in members
    ]
    return torch.from_numpy(np.concatenate(rows))


# ---------------------------------------------------------------- micro-batches


def _parts(members: Sequence[Member], policy: Policy, budget: int, parts: int) -> Iterator[Piece]:
    """The micro-batches of every part; a trajectory is in the part that its middle falls into."""
    lengths = np.array([t.n_decisions for _, t in members])
    ends = np.cumsum(lengths)
    part = ((ends - lengths / 2) * parts / ends[-1]).astype(int)
    at = 0
    for number in np.unique(part).tolist():
        own = [member for member, of in zip(members, part, strict=True) if of == number]
        for cut in _cuts(own, policy, budget):
            n = sum(t.n_decisions for _, t in cut)
            yield Piece(policy.inputs(cut), at, at + n, number)
            at += n


def _cuts(members: Sequence[Member], policy: Policy, budget: int) -> list[list[Member]]:
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
    return cuts


def _costs(members: Sequence[Member], policy: Policy) -> dict[int, int]:
    """Tokens of each group when it is packed whole."""
    costs: dict[int, int] = {}
    for group, trajectory in members:
        costs[group] = costs.get(group, 0) + policy.cost(trajectory, sibling=group in costs)
    return costs
