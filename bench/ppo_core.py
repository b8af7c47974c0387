"""PPO for language models, as a peer of GRPO on the same engine: what PPO adds, and nothing else.

    reward     r_t = -beta (log pi(a_t) - log ref(a_t)) + [t = T] R
               Ziegler et al. 2019 (arXiv 1909.08593), Ouyang et al. 2022 (arXiv 2203.02155)
    advantage  d_t = r_t + gamma V(s_t+1) - V(s_t),  V(s_T+1) = 0;  A_t = d_t + gamma lambda A_t+1
               Schulman et al. 2016 (arXiv 1506.02438)
    policy     -min(rho A, clip(rho, 1 - 0.2, 1 + 0.2) A)
               Schulman et al. 2017 (arXiv 1707.06347)
    critic     1/2 max((V - G)^2, (clip(V, V_old - 0.2, V_old + 0.2) - G)^2),  G = A + V_old
               the authors' code of that paper (OpenAI baselines, ppo2)

The policy's update is the library's own `Learner`: only the advantages differ. The critic is a copy of the
policy's transformer with one linear output, trained by an AdamW of its own over the same packed rows: a
prompt shared by its group is read once by the critic too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from groupwise.engine.attention import Packed
from groupwise.engine.model import CausalLM
from groupwise.learner import Masters, Optimization
from groupwise.losses import clipped
from groupwise.policies import PackedTokens
from groupwise.recipes import DAPO
from groupwise.trajectory import Batch, Group


def _everyone(rewards: Tensor, group: Group) -> Tensor:
    return torch.ones_like(rewards)


POLICY = replace(DAPO, advantage=_everyone, surrogate=clipped(0.2, 0.2))
"""PPO's policy loss, a mean over tokens. `advantage` only keeps every answer in: see `estimates`."""


@dataclass(frozen=True, slots=True)
class Ppo:
    """What PPO has to be told beyond the optimizer's settings."""

    gamma: float = 1.0
    lam: float = 0.95
    kl_scale: float = 0.02
    """beta of the KL penalty in the reward; 0.02 in Ouyang et al. 2022."""
    clip_value: float = 0.2
    whiten: bool = True
    """Advantages to mean 0 and deviation 1 over the batch, as Ziegler et al. 2019 do."""


# ---------------------------------------------------------------- formulas


def token_rewards(score: float, logp: Tensor, reference_logp: Tensor | None, kl_scale: float) -> Tensor:
    """-beta k1 at every token, and the answer's score at its last. logp [T] (as sampled) -> [T]."""
    rewards = torch.zeros_like(logp)
    if reference_logp is not None:
        rewards -= kl_scale * (logp - reference_logp)
    rewards[-1] += score
    return rewards


def gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimates of one answer; nothing follows its end. [T], [T] -> [T].

    >>> gae(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.25]), gamma=1.0, lam=0.5)
    tensor([0.1250, 0.7500])
    """
    following = torch.cat([values[1:], values.new_zeros(1)])
    deltas = (rewards + gamma * following - values).tolist()
    advantage = 0.0
    for t in reversed(range(len(deltas))):
        advantage = deltas[t] = deltas[t] + gamma * lam * advantage
    return values.new_tensor(deltas)


def value_terms(new: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """The clipped value loss of each decision. [N], [N], [N] -> [N]; gradient to `new` only."""
    bounded = old + (new - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((new - returns) ** 2, (bounded - returns) ** 2)


def estimates(
    batch: Batch, scores: Sequence[float], values: Tensor, reference_logp: Tensor | None, ppo: Ppo
) -> tuple[Tensor, Tensor]:
    """(advantages [N], returns [N]) of a batch whose trajectory i was paid `scores[i]`."""
    ids, lengths = torch.unique_consecutive(batch.trajectory_id, return_counts=True)
    sizes = lengths.tolist()
    references = [None] * len(sizes) if reference_logp is None else reference_logp.split(sizes)
    rows = zip(ids.tolist(), batch.behaviour_logp.split(sizes), references, values.split(sizes), strict=True)
    advantage = torch.cat(
        [
            gae(token_rewards(scores[i], logp, reference, ppo.kl_scale), value, ppo.gamma, ppo.lam)
            for i, logp, reference, value in rows
        ]
    )
    returns = advantage + values
    if ppo.whiten:
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    return advantage, returns


# ---------------------------------------------------------------- the critic


class Critic(nn.Module):
    """A copy of the policy's transformer body and one linear output, 0 at first."""

    def __init__(self, policy: CausalLM) -> None:
        super().__init__()
        self.body = copy.deepcopy(policy.model.base_model)
        self.head = nn.Linear(policy.config.hidden_size, 1, device=policy.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: PackedTokens) -> Tensor:
        """V(s_t) before each decision, [n] float32, from the rows that the policy reads."""
        attend = Packed(inputs.trees, inputs.tokens.device)
        out = self.body(
            input_ids=inputs.tokens[None],
            position_ids=inputs.positions[None],
            use_cache=False,
            groupwise=attend,
        )
        return self.head(out.last_hidden_state[0].index_select(0, inputs.at))[:, 0].float()

    @torch.no_grad()
    def before(self, batch: Batch) -> Tensor:
        """Values of the whole batch under the critic as it is, [N] on the host."""
        return torch.cat([self(piece.inputs).cpu() for piece in batch.pieces])


class CriticLearner:
    """float32 masters and AdamW of the critic: the same steps as the policy's `Learner`."""

    def __init__(self, critic: Critic, optimization: Optimization, dtype: torch.dtype) -> None:
        self.critic, self.optimization = critic, optimization
        self.masters = Masters(critic, dtype)
        self.optimizer = torch.optim.AdamW(
            list(self.masters.weights.values()),
            lr=optimization.learning_rate,
            betas=(optimization.beta1, optimization.beta2),
            weight_decay=optimization.weight_decay,
            fused=True,
        )

    def step(self, batch: Batch, old: Tensor, returns: Tensor, clip: float) -> float:
        """One optimizer step an epoch; the last epoch's loss."""
        for _ in range(self.optimization.epochs):
            self.optimizer.zero_grad(set_to_none=True)
            loss = sum(self._backward(batch, at, old, returns, clip) for at in range(len(batch.pieces)))
            nn.utils.clip_grad_norm_(self.masters.weights.values(), self.optimization.max_grad_norm)
            self.optimizer.step()
            self.masters.publish()
        return float(loss)

    def _backward(self, batch: Batch, number: int, old: Tensor, returns: Tensor, clip: float) -> float:
        piece = batch.pieces[number]
        at = slice(piece.start, piece.stop)
        values = self.critic(piece.inputs)
        old, returns, weight = (x[at].to(values.device) for x in (old, returns, batch.weight))
        loss = torch.dot(weight, value_terms(values, old, returns, clip))
        loss.backward()
        self.masters.collect()
        return float(loss.detach())
