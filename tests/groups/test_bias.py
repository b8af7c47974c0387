"""That sharing answers out does not change what is learnt, by enumeration; and how it would, done wrongly.

A prompt's policy is a coin with logit x: p = sigmoid(x), dp/dx = p (1 - p), and the score of an answer, the
derivative of its log-probability, is 1 - p where it is right and -p where it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

from coin_groups import coins, group, together
from groupwise.advantages import center, leave_one_out
from groupwise.groups import Beliefs, by_spread, knapsack
from groupwise.losses import each_group_alike, per_token_mean, per_trajectory_mean
from groupwise.trajectory import Prompt

P = (0.2, 0.6)
STEP = 2


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def scores(p: float, rewards: Sequence[float]) -> Tensor:
    return torch.tensor(rewards) - p


def gradients(
    cohort: Sequence[Sequence[float]], weigh: Callable[[Tensor, Tensor], Tensor] = per_trajectory_mean
) -> list[float]:
    """Of each prompt's logit: one decision an answer, weights as the learner takes them."""
    ids = torch.arange(sum(map(len, cohort)))
    weight = weigh(ids, torch.repeat_interleave(torch.tensor([*map(len, cohort)])))
    shares = weight.split([*map(len, cohort)])
    return [
        float((w * leave_one_out(torch.tensor(r)) * scores(p, r)).sum())
        for w, r, p in zip(shares, cohort, P, strict=True)
    ]


# ---------------------------------------------------------------- the right way: sizes from earlier steps


@pytest.mark.parametrize("allocate", [by_spread, knapsack()])
def test_sizes_from_an_earlier_step_leave_the_gradient_unbiased(allocate: Callable[..., list[int]]) -> None:
    """All outcomes of a step of 4 + 4 answers, the sizes that each leads to, all outcomes with those sizes.

    The mean over everything is the gradient of the mean success of the two prompts, exactly.
    """
    expected, seen = [0.0, 0.0], set()
    for before, first in together(P, (4, 4)):
        beliefs = Beliefs().after([group(r, row) for row, r in enumerate(first)], STEP - 1)
        believed = [beliefs.about(Prompt(9, "", {}, row), STEP) for row in range(2)]
        sizes = allocate(believed, 12, 3, 9)
        seen.add(tuple(sizes))
        for chance, cohort in together(P, sizes):
            for i, value in enumerate(gradients(cohort, each_group_alike(per_trajectory_mean))):
                expected[i] += before * chance * value
    assert len(seen) >= 3, "sizes hardly depend on the step before: this shows nothing"
    assert expected == pytest.approx([p * (1 - p) / 2 for p in P], abs=1e-12)


def test_without_each_group_alike_a_prompt_counts_by_its_size() -> None:
    """The mean over all answers: 9 of 12 for the first prompt, in place of half."""
    expected = [0.0, 0.0]
    for chance, cohort in together(P, (9, 3)):
        for i, value in enumerate(gradients(cohort)):
            expected[i] += chance * value
    assert expected == pytest.approx([9 / 12 * 0.2 * 0.8, 3 / 12 * 0.6 * 0.4], abs=1e-12)


@pytest.mark.parametrize("weigh", [per_trajectory_mean, per_token_mean])
def test_copies_of_a_group_change_nothing(weigh: Callable[[Tensor, Tensor], Tensor]) -> None:
    """A prompt with each of its 4 answers 8 times over has the gradient that it had with 4."""
    four = [1.0, 0.0, 0.0, 0.5]
    lengths = torch.tensor([3, 1, 2, 5])

    def gradient(copies: int) -> Tensor:
        lengths_all = torch.cat([lengths.repeat(copies), torch.tensor([4, 4])])
        ids = torch.repeat_interleave(torch.arange(len(lengths_all)), lengths_all)
        groups = (ids >= 4 * copies).long()
        weight = each_group_alike(weigh)(ids, groups)
        values = torch.cat([center(torch.tensor(four * copies)), torch.tensor([0.5, -0.5])])
        per_answer = torch.zeros(len(lengths_all)).index_add(0, ids, weight * values[ids])
        first = per_answer[: 4 * copies].reshape(copies, 4).sum(0)
        return torch.cat([first, per_answer[-2:]]) / weight.sum()

    torch.testing.assert_close(gradient(8), gradient(1), rtol=1e-12, atol=1e-14)


def test_each_group_has_the_same_share_and_the_total_stays() -> None:
    ids = torch.repeat_interleave(torch.arange(5), torch.tensor([2, 7, 1, 3, 4]))
    groups = torch.tensor([8, 8, 3, 3, 3])[ids]
    weight = each_group_alike(per_token_mean)(ids, groups)
    assert [float(weight[groups == g].sum()) for g in (8, 3)] == pytest.approx([0.5, 0.5])
    within = weight[groups == 3]
    assert within.max() == within.min()
    torch.testing.assert_close(
        each_group_alike(per_trajectory_mean)(ids, torch.zeros_like(ids)),
        per_trajectory_mean(ids, groups),
    )


# ---------------------------------------------------------------- the wrong ways


def stopped_at_a_success(p: float, cap: int) -> list[tuple[float, list[float]]]:
    """Sampling until an answer is right, or `cap` of them were wrong."""
    found = [((1 - p) ** n * p, [0.0] * n + [1.0]) for n in range(cap)]
    return [*found, ((1 - p) ** cap, [0.0] * cap)]


def test_stopping_at_what_the_answers_say_is_biased() -> None:
    """p = 0.2, so dp/dx = 0.16; at most 4 answers. Why sizes may not depend on the answers they count.

    The sum over answers with a constant baseline is E[N] dp/dx (Wald): to divide it by the N that happened,
    or to take the group's own mean as its baseline, is not to divide by E[N].
    """
    p, outcomes = 0.2, stopped_at_a_success(0.2, 4)

    def expected(value: Callable[[list[float]], float]) -> float:
        return sum(chance * value(rewards) for chance, rewards in outcomes)

    def plain(rewards: list[float], baseline: float) -> float:
        return float(((torch.tensor(rewards) - baseline) * scores(p, rewards)).sum())

    def centred(rewards: list[float]) -> float:
        if len(rewards) < 2:
            return 0.0
        return float((center(torch.tensor(rewards)) * scores(p, rewards)).mean())

    assert expected(len) == pytest.approx(2.952)
    assert expected(lambda r: sum(r) / len(r)) == pytest.approx(0.34827, abs=1e-5), "the mean reward too"
    for baseline in (0.0, 0.3):
        assert expected(lambda r, b=baseline: plain(r, b)) == pytest.approx(2.952 * 0.16)
    assert expected(lambda r: plain(r, 0.3) / len(r)) == pytest.approx(0.2341, abs=5e-5)
    assert expected(lambda r: plain(r, 0.0) / len(r)) == pytest.approx(0.2786, abs=5e-5)
    assert expected(centred) == pytest.approx(0.0876, abs=5e-5)


@pytest.mark.parametrize(("p", "n", "dead"), [(0.1, 8, 0.430467), (0.05, 4, 0.814512), (0.5, 4, 0.125)])
def test_replacing_groups_without_a_spread_changes_the_objective(p: float, n: int, dead: float) -> None:
    """A known price of --resample: a group that stays counts 1 / (its chance to have a spread) too much."""
    found = [(chance, rewards) for chance, rewards in coins(p, n) if 0 < sum(rewards) < n]
    stays = sum(chance for chance, _ in found)
    assert stays == pytest.approx(1 - dead, abs=1e-6)
    total = sum(chance * float((leave_one_out(torch.tensor(r)) * scores(p, r)).mean()) for chance, r in found)
    assert total / stays == pytest.approx(p * (1 - p) / (1 - dead), abs=1e-6)


# ---------------------------------------------------------------- what it is good for


@pytest.mark.parametrize(
    ("sizes", "mean_reward", "gradient"), [((4, 8), 0.01078, 0.012227), ((6, 6), 0.01240, 0.010730)]
)
def test_sharing_by_spread_serves_the_mean_reward_and_not_every_gradient(
    sizes: tuple[int, int], mean_reward: float, gradient: float
) -> None:
    """Variances for chances 0.05 and 0.5: what docs/adaptive-groups.md says of the limits of Neyman's rule.

    A coin's gradient is the group's own variance, which at p = 0.5 is nearly always the same.
    """

    def variance(values: list[tuple[float, float]]) -> float:
        mean = sum(chance * value for chance, value in values)
        return sum(chance * (value - mean) ** 2 for chance, value in values)

    of_mean, of_gradient = 0.0, 0.0
    for p, n in zip((0.05, 0.5), sizes, strict=True):
        outcomes = [(chance, torch.tensor(rewards)) for chance, rewards in coins(p, n)]
        of_mean += variance([(chance, float(r.mean())) for chance, r in outcomes]) / 4
        of_gradient += variance([(c, float((leave_one_out(r) * (r - p)).mean())) for c, r in outcomes])
    assert of_mean == pytest.approx(mean_reward, abs=2e-5)
    assert of_gradient == pytest.approx(gradient, abs=2e-6)
