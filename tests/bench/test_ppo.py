"""The PPO that GRPO is measured against is PPO: its formulas, its gradient, and a critic that reads alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import growth
import ppo_core
import ppo_report
import ppo_setups
import tiny
from groupwise import DAPO, Group, PolicyTag, Prompt, StopReason, Trajectory, Turn, objective
from groupwise.advantages import assign
from groupwise.engine.model import CausalLM
from groupwise.learner import Optimization
from groupwise.packing import pack
from groupwise.policies import LanguagePolicy
from groupwise.trajectory import Batch

HUGE = 1 << 20


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------- formulas


def test_gae_of_three_steps_by_hand() -> None:
    """gamma 0.5, lambda 0.5. d = (1 + 0.5*4 - 2, 0 + 0.5*8 - 4, 2 - 8) = (1, 0, -6);
    A_3 = -6, A_2 = 0 - 6/4 = -1.5, A_1 = 1 - 1.5/4 = 0.625."""
    found = ppo_core.gae(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([2.0, 4.0, 8.0]), 0.5, 0.5)
    torch.testing.assert_close(found, torch.tensor([0.625, -1.5, -6.0]))


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_gae_is_the_sum_of_discounted_residuals(gamma: float, lam: float) -> None:
    """A_t = sum_l (gamma lambda)^l d_t+l, equation 16 of arXiv 1506.02438."""
    rewards, values = random(9), random(9, seed=1)
    following = [*values[1:].tolist(), 0.0]
    deltas = [float(r) + gamma * f - float(v) for r, f, v in zip(rewards, following, values, strict=True)]
    by_definition = [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, 9)) for t in range(9)]
    torch.testing.assert_close(
        ppo_core.gae(rewards, values, gamma, lam), torch.tensor(by_definition, dtype=torch.float64)
    )


def test_gae_with_lambda_one_is_return_minus_value() -> None:
    rewards, values = random(6), random(6, seed=1)
    to_go = rewards.flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(ppo_core.gae(rewards, values, 1.0, 1.0), to_go - values)


def test_rewards_are_the_kl_penalty_and_the_score_at_the_end() -> None:
    logp, reference = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.5, -1.0, -0.5])
    found = ppo_core.token_rewards(3.0, logp, reference, 0.1)
    torch.testing.assert_close(found, torch.tensor([-0.05, 0.1, 3.0]))
    torch.testing.assert_close(ppo_core.token_rewards(3.0, logp, None, 0.1), torch.tensor([0.0, 0.0, 3.0]))


@pytest.mark.parametrize(
    ("new", "old", "target", "term", "slope"),
    [
        (1.1, 1.0, 3.0, 0.5 * 1.9**2, -1.9),  # inside the clip: plain squared error
        (2.0, 1.0, 3.0, 0.5 * 1.8**2, 0.0),  # ran towards the target beyond the clip: no gradient left
        (0.0, 1.0, 3.0, 0.5 * 3.0**2, -3.0),  # ran away from it: the worse of the two, full gradient
        (2.0, 1.0, 0.0, 0.5 * 2.0**2, 2.0),  # likewise from above
        (3.5, 1.0, 1.1, 0.5 * 2.4**2, 2.4),  # shot past it: unclipped is the worse
    ],
)
def test_the_value_loss_is_the_worse_of_clipped_and_plain(
    new: float, old: float, target: float, term: float, slope: float
) -> None:
    value = torch.tensor([new], dtype=torch.float64, requires_grad=True)
    fixed = torch.tensor([[old], [target]], dtype=torch.float64)
    found = ppo_core.value_terms(value, fixed[0], fixed[1], 0.2)
    found.sum().backward()
    assert float(found.detach()) == pytest.approx(term)
    assert float(value.grad) == pytest.approx(slope)


# ---------------------------------------------------------------- on a tiny model


def policy_of(name: str = "llama") -> LanguagePolicy:
    return LanguagePolicy(CausalLM(tiny.plain(name)))


def batch_of(policy: LanguagePolicy, budget: int = HUGE) -> tuple[Batch, list[float]]:
    """Two groups of two answers of different lengths, as the policy itself scores them; and their scores."""
    groups, scores = [], [1.0, -0.5, 0.25, 2.0]
    for i in range(2):
        members = []
        for k in range(2):
            turn = Turn(
                np.array(tiny.prompt(4 + i, i)), np.array(tiny.prompt(3 + k, 9 + k)), np.zeros(3 + k, "f4")
            )
            members.append(Trajectory((turn,), PolicyTag(), StopReason.LENGTH, reward=scores[2 * i + k]))
        groups.append(Group(Prompt(i, ""), tuple(members)))
    batch = pack(assign(groups, ppo_core.POLICY.advantage), ppo_core.POLICY, policy, budget)
    assert batch is not None
    with torch.no_grad():
        batch.behaviour_logp.copy_(torch.cat([policy.score(p.inputs).logp for p in batch.pieces]))
    return batch, scores


def gradients(loss: Tensor, policy: LanguagePolicy) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [p for p in policy.module.parameters() if p.requires_grad]))


def test_without_a_critic_the_policy_gradient_is_reinforce_with_return_to_go() -> None:
    """gamma = lambda = 1 and V = 0: -1/N sum_t (r_t + ... + r_T) grad log pi(a_t)."""
    policy = policy_of()
    batch, scores = batch_of(policy)
    reference = batch.behaviour_logp + 0.3 * random(len(batch)).float()
    ppo = ppo_core.Ppo(gamma=1.0, lam=1.0, kl_scale=0.5, whiten=False)
    advantage, returns = ppo_core.estimates(batch, scores, torch.zeros(len(batch)), reference, ppo)
    logp = policy.score(batch.pieces[0].inputs).logp
    loss = objective(
        ppo_core.POLICY, logp, batch.behaviour_logp, advantage, batch.trajectory_id, weight=batch.weight
    )
    mine = gradients(loss.value, policy)

    to_go, at = [], 0
    for score, length in zip(scores, (3, 4, 3, 4), strict=True):
        penalties = -0.5 * (batch.behaviour_logp - reference)[at : at + length]
        to_go += [float(penalties[t:].sum()) + score for t in range(length)]
        at += length
    logp = policy.score(batch.pieces[0].inputs).logp
    by_hand = gradients(-(torch.tensor(to_go) * logp).sum() / len(batch), policy)
    torch.testing.assert_close(returns, torch.tensor(to_go))
    for a, b in zip(mine, by_hand, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert max(float(g.abs().max()) for g in mine) > 1e-3


def test_estimates_do_not_cross_answers_and_are_whitened() -> None:
    policy = policy_of()
    batch, scores = batch_of(policy)
    values = random(len(batch), seed=2).float()
    ppo = ppo_core.Ppo(whiten=False)
    advantage, returns = ppo_core.estimates(batch, scores, values, None, ppo)
    alone = ppo_core.gae(torch.tensor([0.0, 0.0, 0.25]), values[7:10], ppo.gamma, ppo.lam)
    torch.testing.assert_close(advantage[7:10], alone)
    torch.testing.assert_close(returns, advantage + values)
    white, same = ppo_core.estimates(batch, scores, values, None, ppo_core.Ppo())
    assert float(white.mean()) == pytest.approx(0, abs=1e-6)
    assert float(white.std()) == pytest.approx(1, rel=1e-5)
    torch.testing.assert_close(same, returns)


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2"])
def test_the_critic_reads_a_packed_row_as_it_reads_one_answer(name: str) -> None:
    """Its values in shared rows equal the values of each prompt and answer alone, by plain attention."""
    policy = policy_of(name)
    batch, _ = batch_of(policy)
    critic = ppo_core.Critic(policy.model)
    torch.nn.init.normal_(critic.head.weight, generator=torch.Generator().manual_seed(0))
    plain = tiny.plain(name).base_model
    expected = []
    for i in range(2):
        for k in range(2):
            prompt, answer = tiny.prompt(4 + i, i), tiny.prompt(3 + k, 9 + k)
            with torch.no_grad():
                hidden = plain(input_ids=torch.tensor([[*prompt, *answer]])).last_hidden_state[0]
                expected.append(critic.head(hidden[len(prompt) - 1 : -1])[:, 0])
    torch.testing.assert_close(critic.before(batch), torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_the_critic_learns_the_same_in_one_row_or_several_and_leaves_the_policy_alone() -> None:
    steps = []
    for budget in (HUGE, 12):
        policy = policy_of()
        before = [p.detach().clone() for p in policy.module.parameters()]
        batch, _ = batch_of(policy, budget)
        assert (len(batch.pieces) > 1) == (budget == 12)
        critic = ppo_core.Critic(policy.model)
        learner = ppo_core.CriticLearner(critic, Optimization(learning_rate=1e-2), torch.float32)
        returns = random(len(batch)).float()
        losses = [learner.step(batch, critic.before(batch), returns, 0.2) for _ in range(20)]
        assert losses[-1] < 0.5 * losses[0]
        assert all(torch.equal(a, b) for a, b in zip(before, policy.module.parameters(), strict=True))
        steps.append(losses)
    assert steps[0][:3] == pytest.approx(steps[1][:3], rel=1e-3)


# ---------------------------------------------------------------- what is reported


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    tiny.plain("llama").save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return str(path)


def test_every_setup_takes_a_step_and_counts_its_tensors(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ppo_setups, "best_dtype", lambda device: torch.float32)  # no copies for the optimizer
    size = sum(p.nbytes for p in tiny.plain("llama").parameters())
    workload = ppo_setups.Workload(prompt=5, prompts=2, group=2, answer=4)
    for name, setup in ppo_setups.SETUPS.items():
        rig = ppo_setups.Rig(folder, [setup])
        seconds = rig.step(setup, workload, 0)
        assert ("values" in seconds) == ("critic" in seconds) == setup.critic, name
        assert ("reference" in seconds) == setup.reference, name
        parts = rig.bytes_by_part(setup)
        if rig.device.type == "cpu":
            assert parts["policy weights"] == size
            assert parts["policy Adam"] == 2 * size
            assert parts.get("reference weights", 0) == size * setup.reference
        held = (parts["policy gradients"] > 0) + (parts.get("critic gradients", 0) > 0)
        assert held == 1 + (name == "ppo_held")


def test_the_parts_of_a_saving_add_up() -> None:
    saved = ppo_report.savings({"ppo": 10.0, "grpo_kl": 6.0, "ppo_no_reference": 9.5, "grpo": 5.0})
    assert saved is not None
    assert saved["all"] == pytest.approx(50)
    assert saved["critic, left out first"] == pytest.approx(40)
    assert saved["critic, left out first"] + saved["reference, left out then"] == pytest.approx(50)
    assert saved["reference, left out first"] + saved["critic, left out then"] == pytest.approx(50)
    assert ppo_report.savings({"grpo": 1.0}) is None


def test_flat_groups_are_kept_by_ppo_and_left_out_by_grpo() -> None:
    """A critic has something to say about answers that all earned the same; siblings have not."""
    assert ppo_core.POLICY.advantage(torch.tensor([1.0, 1.0]), Group(Prompt(0, "?"), ())).all()
    assert not DAPO.advantage(torch.tensor([1.0, 1.0])).any()


# ---------------------------------------------------------------- bench/growth.py


def test_growth_counts_the_tokens_that_a_training_pass_reads(folder: str) -> None:
    workload = growth.Workload(prompt=6, prompts=2, group=3, answer=5)
    row = growth.Bench(folder).step(workload, growth.BUDGET, 1)
    assert row["tokens_learned"] == growth.tokens(workload)["shared"] == 2 * (6 + 3 * 4)
    assert growth.tokens(workload)["unshared"] == 2 * 3 * (6 + 4)
    assert min(row[phase] for phase in ("prefill", "generate", "learn")) > 0


def test_a_point_too_large_for_the_default_gets_room_for_its_group() -> None:
    fits, does_not = growth.Workload(growth.BUDGET - 63), growth.Workload(growth.BUDGET - 62)
    assert growth.Point(fits, 1).budget == growth.BUDGET
    assert growth.Point(does_not, 1).budget == does_not.prompt + 8 * 63
