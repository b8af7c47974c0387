"""Groups inside the group: siblings that came to the same state are compared there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from groupwise.advantages.outcome import Outcome, standardize
from groupwise.advantages.returns import discounted, step_rewards
from groupwise.trajectory import Group, Trajectory

State = tuple[tuple[int, ...], bytes]
"""Shape and bytes of an observation: equal if and only if the observations are."""


@dataclass(frozen=True, slots=True)
class gigpo:  # noqa: N801 - reads as the function that it is
    """Episode advantage + weight x step advantage among equal states. -> one [T_i] each.

        A_t = scheme(episode rewards)_i + weight * scheme(discounted returns from every visit to s_t)_it

    GiGPO, arXiv 2505.10978 (weight 1, discount 0.95): anchor states are exactly equal observations, seen by
    any sibling at any time. A step is a turn where turns are text, and a decision where observations are
    numbers ([T, ...], one row a decision). States seen once add 0, never their raw return. The episode
    part is taken over siblings; the authors' code takes it over steps, where long episodes count more.
    """

    weight: float = 1.0
    discount: float = 0.95
    scheme: Outcome = standardize
    """`center` is the paper's variant without the deviation."""

    def __post_init__(self) -> None:
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount={self.discount}: from 0 to 1")

    def __call__(self, rewards: Tensor, group: Group) -> list[Tensor]:
        visits: dict[State, list[tuple[int, int]]] = defaultdict(list)
        returns, spans = [], []
        for i, (trajectory, reward) in enumerate(zip(group.trajectories, rewards.tolist(), strict=True)):
            gained = step_rewards(trajectory, reward).nan_to_num(0.0)
            walked = list(_steps(trajectory))
            for step, (state, _) in enumerate(walked):
                visits[state].append((i, step))
            lengths = [length for _, length in walked]
            per_step = [float(part.sum()) for part in gained.split(lengths)]
            returns.append(discounted(torch.tensor(per_step, dtype=torch.float64), self.discount))
            spans.append(torch.tensor(lengths, dtype=torch.int64))
        local = [torch.zeros_like(row) for row in returns]
        for places in visits.values():
            if len(places) > 1:
                values = self.scheme(torch.stack([returns[i][step] for i, step in places]))
                for (i, step), value in zip(places, values, strict=True):
                    local[i][step] = value
        episode = self.scheme(rewards)
        rows = zip(episode, local, spans, strict=True)
        return [a + self.weight * steps.repeat_interleave(lengths) for a, steps, lengths in rows]


def _steps(trajectory: Trajectory) -> Iterator[tuple[State, int]]:
    """Every step's state and how many decisions it took."""
    for turn in trajectory.turns:
        if turn.observation.ndim == 1:
            yield (turn.observation.shape, turn.observation.tobytes()), len(turn.decisions)
        else:
            yield from (((row.shape, row.tobytes()), 1) for row in turn.observation)
