"""What a conversation teaches: the gradient is that of the decisions alone, given all that was read."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

import tiny_folder
from envs import worlds
from envs.worlds import order, sampler
from groupwise.advantages import assign
from groupwise.engine.model import CausalLM
from groupwise.packing import pack
from groupwise.policies import LanguagePolicy
from groupwise.recipes import DAPO, objective
from groupwise.trajectory import Group, Trajectory


def conversations() -> list[Group]:
    """Two groups with advantages; conversations of several turns."""
    cohort = sampler(worlds.Counting, max_new_tokens=30).collect(
        [order(worlds.Counting, seed=i, count=4) for i in range(2)]
    )
    scored = [
        replace(g, trajectories=tuple(replace(t, reward=float(i)) for i, t in enumerate(g.trajectories)))
        for g in cohort
    ]
    return assign(scored, DAPO.advantage)


def learnt(cohort: list[Group], room: int) -> dict[str, Tensor]:
    """The gradients that the library comes to, on weights of its own."""
    policy = LanguagePolicy(CausalLM(tiny_folder.model(len(worlds.tokenizer()))))
    batch = pack(cohort, DAPO, policy, room)
    assert batch is not None
    for piece in batch.pieces:
        at = slice(piece.start, piece.stop)
        objective(
            DAPO, policy.score(piece.inputs).logp, batch.behaviour_logp[at], batch.advantage[at],
            batch.trajectory_id[at], weight=batch.weight[at],
        ).value.backward()  # fmt: skip
    return {name: p.grad for name, p in policy.module.named_parameters() if p.grad is not None}


def plain(cohort: list[Group], replies_too: bool = False) -> dict[str, Tensor]:
    """The same by plain transformers: each conversation whole and alone, - sum of advantage x log p / N."""
    module = tiny_folder.model(len(worlds.tokenizer()))
    every = [t for group in cohort for t in group.trajectories]
    n = sum(t.n_decisions for t in every)
    for t in every:
        ids, advantage = sequence(t, replies_too)
        logp = module(ids[None]).logits[0, :-1].log_softmax(-1)
        chosen = logp[torch.arange(len(ids) - 1), ids[1:]]
        (-(advantage[1:] * chosen).sum() / n).backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def sequence(t: Trajectory, replies_too: bool) -> tuple[Tensor, Tensor]:
    """Token ids, and the advantage of each: 0 where it was read."""
    assert t.advantage is not None
    ids: list[int] = []
    advantage: list[float] = []
    at = 0
    for number, turn in enumerate(t.turns):
        ids += [*turn.observation.tolist(), *turn.decisions.tolist()]
        read = float(t.advantage[0]) if replies_too and number else 0.0
        advantage += [read] * len(turn.observation)
        advantage += t.advantage[at : at + len(turn.decisions)].tolist()
        at += len(turn.decisions)
    return torch.tensor(ids), torch.tensor(advantage)


def test_the_gradient_is_of_decisions_alone_and_of_all_of_them() -> None:
    """A reply with a loss would teach the policy to talk like its environment."""
    cohort = conversations()
    assert sum(len(t.turns) > 1 for g in cohort for t in g.trajectories) > 2
    expected, wrong = plain(cohort), plain(cohort, replies_too=True)
    for room in (200, 4096):
        found = learnt(cohort, room)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)
    apart = max(float((wrong[name] - expected[name]).abs().max()) for name in expected)
    assert apart > 1e-3, "the test would see a reply that is learnt from"
