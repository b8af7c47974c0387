"""The setups that are compared, and one timed training step of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

import ppo_core
from groupwise import DAPO, Batch, Group, PolicyTag, Prompt, Trajectory, Turn, advantages, losses, packing
from groupwise.engine.generate import generate
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Completion, Request
from groupwise.learner import Learner, Optimization
from groupwise.models import load
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_device, best_dtype
from groupwise.settings import LANGUAGE
from ours import synchronize
from protocol import Stopwatch

BUDGET = LANGUAGE.tokens_per_microbatch


@dataclass(frozen=True, slots=True)
class Setup:
    """An algorithm by the models it needs."""

    says: str
    critic: bool = False
    reference: bool = False
    holds_gradients: bool = False
    """Gradients stay until the next step, so that those of policy and critic exist together."""


SETUPS = {
    "grpo": Setup("GRPO, the default recipe: no KL term, so no reference"),
    "grpo_kl": Setup("GRPO with the k3 KL term and its reference = PPO without its critic", reference=True),
    "ppo_no_reference": Setup("PPO without KL penalty and reference", critic=True),
    "ppo": Setup("PPO; gradients are freed after each model's step", critic=True, reference=True),
    "ppo_held": Setup(
        "the same PPO; both models' gradients held at once, as with one optimizer for both",
        critic=True,
        reference=True,
        holds_gradients=True,
    ),
}
TIMED = ("grpo", "grpo_kl", "ppo_no_reference", "ppo")
"""`ppo_held` does the work of `ppo`: it differs in memory only."""

RECIPES = {False: DAPO, True: replace(DAPO, kl=losses.k3, kl_scale=0.04)}
"""GRPO's recipe without and with a reference."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Every answer has exactly `answer` tokens: end-of-sequence is ignored."""

    prompt: int
    prompts: int = 4
    group: int = 8
    answer: int = 64


WORKLOADS = {"short": Workload(50), "long": Workload(460)}


def requests_of(workload: Workload, number: int, model: CausalLM) -> list[Request]:
    """Random prompts that depend on the step's number alone: every setup answers the same."""
    draw, lowest = (
        np.random.default_rng(number).integers,
        min(100, model.vocabulary // 2),
    )  # special ids are low
    return [
        Request(
            tuple(draw(lowest, model.vocabulary, workload.prompt).tolist()),
            workload.group,
            number * workload.prompts + i,
        )
        for i in range(workload.prompts)
    ]


def cohort_of(
    requests: Sequence[Request], answers: Sequence[Sequence[Completion]], number: int
) -> list[Group]:
    """Answers with random rewards, so that the work does not depend on what the model says."""
    draw = np.random.default_rng([number, 1])
    return [
        Group(
            Prompt(request.ordinal, ""),
            tuple(
                Trajectory(
                    (Turn(np.array(request.tokens), np.array(c.tokens), np.array(c.logp, np.float32)),),
                    PolicyTag(),
                    c.stopped,
                    reward=float(draw.normal()),
                )
                for c in completions
            ),
        )
        for request, completions in zip(requests, answers, strict=True)
    ]


class Rig:
    """The models that the given setups need, in this process: each of them once."""

    def __init__(self, model: str, setups: Sequence[Setup], epochs: int = 1) -> None:
        self.device = best_device()
        dtype = best_dtype(self.device)
        optimization = Optimization(learning_rate=1e-6, epochs=epochs)
        self.policy = LanguagePolicy(load(model, self.device, torch.float32).model)
        self.critic = None
        if any(s.critic for s in setups):  # copied before the policy's weights are rounded
            critic = ppo_core.Critic(self.policy.model)
            self.critic = ppo_core.CriticLearner(critic, optimization, dtype)
        self.learner = Learner(self.policy, optimization, dtype)
        self.reference = self.policy.frozen() if any(s.reference for s in setups) else None
        self.ppo = ppo_core.Ppo()

    def step(self, setup: Setup, workload: Workload, number: int) -> dict[str, float]:
        """One training step; seconds of its parts. `number` counts from 0 and names the prompts."""
        watch = Stopwatch(synchronize)
        recipe = ppo_core.POLICY if setup.critic else RECIPES[setup.reference]
        with watch("generate"):
            requests = requests_of(workload, number, self.policy.model)
            sampling = Sampling(workload.answer)
            answers = generate(self.policy.model, requests, sampling, eos=frozenset(), seed=number)
        with watch("pack"):
            cohort = advantages.assign(cohort_of(requests, answers, number), recipe.advantage)
            batch = packing.pack(cohort, recipe, self.policy, BUDGET)
            assert batch is not None
        if setup.reference:
            with watch("reference"):
                logp = torch.cat([self.reference.logp(p.inputs).cpu() for p in batch.pieces])
                batch = replace(batch, reference_logp=logp)
        if setup.critic:
            scores = [t.reward for group in cohort for t in group.trajectories]
            self._ppo(setup, batch, scores, number, watch)
        else:
            with watch("policy"):
                self.learner.step(batch, recipe, number + 1)
        self._forget(self.learner, self.critic)
        return watch.take()

    def _ppo(self, setup: Setup, batch: Batch, scores: list[float], number: int, watch: Stopwatch) -> None:
        with watch("values"):
            values = self.critic.critic.before(batch)
            advantage, returns = ppo_core.estimates(batch, scores, values, batch.reference_logp, self.ppo)
        with watch("policy"):
            self.learner.step(
                replace(batch, advantage=advantage, reference_logp=None), ppo_core.POLICY, number + 1
            )
            if not setup.holds_gradients:
                self._forget(self.learner)
        with watch("critic"):
            self.critic.step(batch, values, returns, self.ppo.clip_value)

    def _forget(self, *learners: Learner | ppo_core.CriticLearner | None) -> None:
        for learner in learners:
            if learner is not None:
                learner.optimizer.zero_grad(set_to_none=True)

    def bytes_by_part(self, setup: Setup) -> dict[str, int]:
        """Sizes of the tensors that live through a step, counted after one. Gradients: at the peak."""
        parts = _bytes_of("policy", self.policy.module, self.learner)
        if setup.critic:
            parts |= _bytes_of("critic", self.critic.critic, self.critic)
            if not setup.holds_gradients:  # never both: the critic's add what the policy's had no room for
                beyond = parts["critic gradients"] - parts["policy gradients"]
                parts["critic gradients"] = max(0, beyond)
        if setup.reference:
            parts["reference weights"] = parts["policy weights"] - parts["policy masters"]
        return parts


def _bytes_of(name: str, module: torch.nn.Module, owner: Learner | ppo_core.CriticLearner) -> dict[str, int]:
    computing = {id(p): p.nbytes for p in module.parameters()}
    masters = {id(p): p.nbytes for p in owner.masters.weights.values()}
    state = owner.optimizer.state_dict()["state"].values()
    return {
        f"{name} weights": sum((computing | masters).values()),
        f"{name} masters": sum(size for key, size in masters.items() if key not in computing),
        f"{name} gradients": sum(masters.values()),
        f"{name} Adam": sum(x.nbytes for row in state for x in row.values() if x.ndim),
    }
