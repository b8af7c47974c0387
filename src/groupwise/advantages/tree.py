"""Answers that share a beginning form a tree; credit goes to the decisions where they part."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from groupwise.advantages.outcome import center
from groupwise.trajectory import Group, Trajectory

Edge = tuple[int, bytes | int]
"""A node, and what was read or decided there."""


def tree(rewards: Tensor, group: Group) -> list[Tensor]:
    """A_t = V(after decision t) - V(before it), V the mean reward of the leaves below. -> one [T_i] each.

    TreeRPO (arXiv 2506.05183), Tree-GRPO (2509.21240), VinePPO (2410.01679): a node is what has been read
    and decided so far. They branch on purpose; here the tree is the one that the siblings' own tokens form,
    so answers that part at their first token get their centred reward there, and 0 on the rest.

    Along an answer the advantages add up to r - V(root), where worlds are deterministic and no answer is
    the beginning of another (each ends with a token of its own). The update is exactly the sum over branch
    points of `center` among the m siblings that came by: unbiased there but for the factor 1 - 1/m.
    """
    nodes: dict[Edge, int] = {}
    edges = [list(_edges(t, nodes)) for t in group.trajectories]
    visited = [{node for edge in path for node in edge} | {0} for path in edges]
    total, count = torch.zeros(2, len(nodes) + 1, dtype=rewards.dtype)
    for reward, seen in zip(center(rewards), visited, strict=True):
        where = torch.tensor(sorted(seen))
        total[where] += reward
        count[where] += 1
    value = total / count.clamp(min=1)  # turns without decisions leave nodes that nothing is asked of
    return [_differences(value, path) for path in edges]


def _differences(value: Tensor, path: list[tuple[int, int]]) -> Tensor:
    before, after = torch.tensor(path, dtype=torch.int64).reshape(-1, 2).T
    return value[after] - value[before]


def _edges(trajectory: Trajectory, nodes: dict[Edge, int]) -> Iterator[tuple[int, int]]:
    """The nodes before and after each decision. New nodes are numbered from 1; the root is 0."""
    at = 0
    for turn in trajectory.turns:
        numeric = turn.observation.ndim > 1
        if not numeric:
            at = nodes.setdefault((at, turn.observation.tobytes()), len(nodes) + 1)
        for t, decision in enumerate(turn.decisions.tolist()):
            if numeric:
                at = nodes.setdefault((at, turn.observation[t].tobytes()), len(nodes) + 1)
            before, at = at, nodes.setdefault((at, decision), len(nodes) + 1)
            yield before, at
