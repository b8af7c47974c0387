"""Policies: what scores decisions, from whatever it is that they were decided on.

A policy turns trajectories into inputs of its own kind (`inputs`) and inputs into log-probabilities of
their decisions (`score`); nothing else in the learner knows what an input looks like.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from groupwise.distributions import Categorical, Distribution
from groupwise.engine.attention import Tree
from groupwise.engine.flex import packed_attention
from groupwise.engine.model import CausalLM, positions_of
from groupwise.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Scores:
    """Of n decisions, in the order of the trajectories given to `inputs`."""

    logp: Tensor
    """[n] float32, natural log, at the sampling temperature; with gradient."""
    entropy: Tensor
    """[n] nats; with gradient if asked for."""


class Policy(Protocol):
    """What the learner trains."""

    @property
    def module(self) -> nn.Module:
        """Holds the parameters; those that require a gradient are trained."""

    def cost(self, trajectory: Trajectory, sibling: bool) -> int:
        """Tokens (or steps) it adds to a micro-batch, given that a sibling is in it or not."""

    def inputs(self, members: Sequence[tuple[int, Trajectory]]) -> Any:
        """Inputs of (group, trajectory) pairs; siblings adjacent."""

    def score(self, inputs: Any, entropy_gradient: bool = False) -> Scores:
        """Log-probs and entropies of the decisions in the inputs."""

    def frozen(self) -> Reference:
        """The policy as it is now, to measure divergence from."""


class Reference(Protocol):
    """A frozen policy."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """By the names of the policy's parameters, where it has weights of its own; else empty."""

    def logp(self, inputs: Any) -> Tensor:
        """[n] without gradient."""


class _FrozenCopy:
    """A second copy of the weights, in the compute precision."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return dict(self._policy.module.named_parameters())

    @torch.no_grad()
    def logp(self, inputs: Any) -> Tensor:
        return self._policy.score(inputs).logp


# ---------------------------------------------------------------- language


@dataclass(frozen=True, slots=True)
class PackedTokens:
    """One packed row: per group its prompt once, then each answer without its last token."""

    tokens: Tensor
    """[L] int64."""
    positions: Tensor
    """[L] int64, each in its own sequence."""
    trees: tuple[Tree, ...]
    at: Tensor
    """[n] int64: the packed token after which decision i was made."""
    decisions: Tensor
    """[n] int64 token ids."""


class LanguagePolicy:
    """A causal language model, scored at the temperature it is sampled at."""

    def __init__(self, model: CausalLM, temperature: float = 1.0) -> None:
        self.model = model
        self.temperature = temperature or 1.0

    @property
    def module(self) -> nn.Module:
        return self.model.model

    def cost(self, trajectory: Trajectory, sibling: bool) -> int:
        prompt, answer, _ = _answer(trajectory)
        return len(answer) + (0 if sibling else len(prompt))

    def inputs(self, members: Sequence[tuple[int, Trajectory]]) -> PackedTokens:
        packer = _Packer()
        for group, trajectory in members:
            packer.add(group, *_answer(trajectory))
        decided = np.concatenate([turn.decisions for _, t in members for turn in t.turns])
        return packer.packed(decided, self.model.device)

    def score(self, inputs: PackedTokens, entropy_gradient: bool = False) -> Scores:
        attend = packed_attention(inputs.trees, self.model.device)
        hidden = self.model.hidden(inputs.tokens, inputs.positions, attend).index_select(0, inputs.at)
        return Scores(*self.model.score(hidden, inputs.decisions, self.temperature, entropy_gradient))

    def frozen(self) -> Reference:
        if hasattr(self.module, "disable_adapter"):
            return _WithoutAdapter(self)
        module = copy.deepcopy(self.module).requires_grad_(False)
        return _FrozenCopy(LanguagePolicy(self.model.around(module), self.temperature))


class _WithoutAdapter:
    """The base model under a LoRA adapter: costs no memory."""

    def __init__(self, policy: LanguagePolicy) -> None:
        self._policy = policy
        self.weights: Mapping[str, Tensor] = {}

    @torch.no_grad()
    def logp(self, inputs: PackedTokens) -> Tensor:
        with self._policy.module.disable_adapter():  # type: ignore[operator]
            return self._policy.score(inputs).logp


def _answer(trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(prompt [P], what follows it but its last token [R], index in it before each decision [n]).

    The index counts from -1: decision 0 is made after the prompt's last token. Replies between turns
    are read, not decided.
    """
    follows: list[np.ndarray] = []
    before: list[np.ndarray] = []
    at = 0
    for i, turn in enumerate(trajectory.turns):
        if i:
            follows.append(turn.observation)
            at += len(turn.observation)
        before.append(np.arange(at - 1, at - 1 + len(turn.decisions)))
        follows.append(turn.decisions)
        at += len(turn.decisions)
    return trajectory.turns[0].observation, np.concatenate(follows)[:-1], np.concatenate(before)


class _Packer:
    """Lays groups end to end."""

    def __init__(self) -> None:
        self._tokens: list[np.ndarray] = []
        self._trees: list[tuple[int, list[int]]] = []
        self._at: list[np.ndarray] = []
        self._group: int | None = None
        self._prompt = np.empty(0)
        self._length = self._root = 0

    def add(self, group: int, prompt: np.ndarray, answer: np.ndarray, before: np.ndarray) -> None:
        if group == self._group and not np.array_equal(prompt, self._prompt):
            raise ValueError(
                "siblings answer one prompt: two trajectories of a group have read different ones"
            )
        if group != self._group:
            self._group, self._prompt, self._root = group, prompt, self._length
            self._trees.append((len(prompt), []))
            self._append(prompt)
        start = self._length
        self._trees[-1][1].append(len(answer))
        self._append(answer)
        self._at.append(np.where(before < 0, self._root + len(prompt) - 1, start + before))

    def _append(self, tokens: np.ndarray) -> None:
        self._tokens.append(tokens)
        self._length += len(tokens)

    def packed(self, decisions: np.ndarray, device: torch.device) -> PackedTokens:
        trees = tuple(Tree(prompt, tuple(answers)) for prompt, answers in self._trees)
        return PackedTokens(
            torch.from_numpy(np.concatenate(self._tokens).astype(np.int64)).to(device),
            torch.tensor(positions_of(trees), device=device),
            trees,
            torch.from_numpy(np.concatenate(self._at)).to(device),
            torch.from_numpy(decisions.astype(np.int64)).to(device),
        )


# ---------------------------------------------------------------- small networks


@dataclass(frozen=True, slots=True)
class Steps:
    """n environment steps."""

    observations: Tensor
    """[n, ...] float32, or uint8 where a picture is all there is."""
    actions: Tensor
    """[n] int64, or [n, k]: what the distribution's decisions are."""


class NetworkPolicy:
    """A network from observations to the numbers of a distribution over decisions."""

    def __init__(self, network: nn.Module, distribution: Distribution, step_cost: int = 1) -> None:
        """`step_cost`: memory of learning from a step; 1 is that of one that shows a few numbers."""
        self.distribution = distribution
        self._network, self._step_cost = network, step_cost

    @property
    def module(self) -> nn.Module:
        return self._network

    def cost(self, trajectory: Trajectory, sibling: bool) -> int:
        return trajectory.n_decisions * self._step_cost

    def inputs(self, members: Sequence[tuple[int, Trajectory]]) -> Steps:
        turns = [turn for _, trajectory in members for turn in trajectory.turns]
        return Steps(
            torch.from_numpy(np.concatenate([t.observation for t in turns])),
            torch.from_numpy(np.concatenate([t.decisions for t in turns])),
        )

    def score(self, inputs: Steps, entropy_gradient: bool = False) -> Scores:
        outputs = self._network(inputs.observations)
        logp = self.distribution.logp(outputs, inputs.actions)
        with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
            entropy = self.distribution.entropy(outputs)
        return Scores(logp, entropy)

    @torch.inference_mode()
    def act(self, observations: np.ndarray, uniform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """observations [B, ...] -> decisions [B] or [B, k], log-probs [B].

        uniform [B, uniforms of the distribution] in [0, 1); None: the likeliest.
        """
        outputs = self._network(torch.from_numpy(observations))
        decisions = self.distribution.draw(outputs, None if uniform is None else torch.from_numpy(uniform))
        return decisions.numpy(), self.distribution.logp(outputs, decisions).numpy()

    def frozen(self) -> Reference:
        return _FrozenCopy(NetworkPolicy(copy.deepcopy(self._network), self.distribution, self._step_cost))


class CategoricalPolicy(NetworkPolicy):
    """A network from observations to logits over discrete actions."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, Categorical())
