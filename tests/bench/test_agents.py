"""The comparison of agents that share with agents that learn alone: what differs, and nothing else."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("gymnasium")

import agents
from groupwise.envs import zoo
from groupwise.envs.networks import Layout, network
from groupwise.groups import Order
from groupwise.trajectory import Prompt


def test_agents_that_learn_alone_share_no_weight() -> None:
    """An agent's row is answered by its own body, and moves no other."""
    made = agents.apart(3, Layout(5), 2, 0, seed=4)
    rows = torch.cat([torch.randn(4, 2), torch.eye(3)[[0, 2, 2, 0]]], 1)
    out = made(rows)
    alone = network(Layout(5), 2, 0, 4)
    torch.testing.assert_close(out[[0, 3]], alone(rows[[0, 3]]))
    torch.testing.assert_close(out[[1, 2]], network(Layout(5), 2, 0, 2004)(rows[[1, 2]]))
    out.sum().backward()
    moved = [any(bool(p.grad.any()) for p in body.parameters()) for body in made.bodies]
    assert moved == [True, False, True]


def test_groups_are_of_an_agent_of_everybody_or_of_one_world() -> None:
    sizes = {}
    for name, (grouped, _) in agents.CONDITIONS.items():
        made = zoo.player("crowds", 0, "squash", grouped=grouped).collect([Order(Prompt(0, 0), 4)])
        sizes[name] = [len(group.trajectories) for group in made]
    assert sizes == {"shared": [4, 4, 4], "pooled": [12], "one world": [3, 3, 3, 3], "alone": [4, 4, 4]}


def test_the_table_has_means_and_the_seeds() -> None:
    [world, *_] = agents.WORLDS
    runs = [
        {
            "world": world, "condition": "shared", "seed": seed, "agent_steps": 6000,
            "held_out": {"0": -30.0, "10": -25.0 - seed, "20": -20.0 - seed},
        }
        for seed in range(3)
    ]  # fmt: skip
    assert agents.table(runs).splitlines()[2:] == [
        f"| {world} | shared | -30.0 | -26.0 | -21.0 | -20.0, -21.0, -22.0 | 6,000 |"
    ]
