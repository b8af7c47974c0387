"""The inverse CDF in two levels is the inverse CDF, to its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.engine.sampling import CHUNK, Sampling, choose
from groupwise.randomness import uniforms

LAST = math.nextafter(1.0, 0.0)
"""The largest number below 1."""
SIZES = [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 88]


def chosen(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Tokens for each of the numbers, from one distribution."""
    with np.errstate(divide="ignore"):
        row = torch.from_numpy(np.log(probabilities)).float()
    logits = row.expand(len(uniform), -1).contiguous()
    return choose(logits, torch.from_numpy(np.asarray(uniform)), 1.0)[0].numpy()


def test_a_distribution_by_hand() -> None:
    u = np.array([0.0, 0.0999, 0.1001, 0.2999, 0.3001, 0.5999, 0.6001, LAST])
    assert chosen(np.array([0.1, 0.2, 0.3, 0.4]), u).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("size", SIZES)
def test_equal_probabilities_cut_the_unit_interval_evenly(size: int) -> None:
    middles = (np.arange(size) + 0.5) / size
    assert chosen(np.full(size, 1 / size), middles).tolist() == list(range(size))


@pytest.mark.parametrize("size", SIZES)
def test_the_ends_of_the_interval_take_the_first_and_the_last_token_with_mass(size: int) -> None:
    """u = 0 and u just below 1: neither the padding nor a token of probability 0 is ever taken."""
    mass = np.zeros(size)
    inside = slice(size // 3, size - size // 3)
    mass[inside] = np.random.default_rng(size).random(size)[inside] + 0.01
    holders = np.flatnonzero(mass)
    ends = chosen(mass / mass.sum(), np.array([0.0, LAST]))
    assert ends.tolist() == [holders[0], holders[-1]]


@pytest.mark.parametrize("token", [0, CHUNK - 1, CHUNK, CHUNK + 1, 599])
def test_one_token_with_all_the_mass_is_always_taken(token: int) -> None:
    mass = np.zeros(600)
    mass[token] = 1.0
    u = np.array([0.0, 1e-300, 0.3, 0.9999999, LAST])
    assert set(chosen(mass, u).tolist()) == {token}


def test_a_dominant_token_leaves_its_share_to_the_others() -> None:
    mass = np.full(600, 1e-6)
    mass[300] = 1 - 599e-6
    u = np.array([0.0, 299.5e-6, 301e-6, 0.5, 1 - 300e-6, 1 - 298.5e-6, LAST])
    assert chosen(mass, u).tolist() == [0, 299, 300, 300, 300, 301, 599]


def test_rounding_at_the_end_of_a_chunk_never_takes_a_token_without_mass() -> None:
    """The two levels add up in different orders: a number at a chunk's very end may pass all of it."""
    generator = torch.Generator().manual_seed(0)
    logits = 12 * torch.randn((4000, 3, CHUNK), generator=generator)
    logits[:, :, CHUNK // 2 :] = -torch.inf
    logits = logits.flatten(1)
    mass = (logits - logits.amax(-1, keepdim=True)).exp().double()
    ends = mass.cumsum(-1)[:, [CHUNK - 1, 2 * CHUNK - 1]]
    for chunk in (0, 1):
        for ulps in (-2, -1, 0, 1):
            u = (ends[:, chunk] / mass.sum(-1)) * (1 + ulps * 2.0**-53)
            tokens, _ = choose(logits, u.clamp(max=LAST), 1.0)
            assert (mass.gather(-1, tokens[:, None]) > 0).all()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 700), st.floats(0, 1, exclude_max=True), st.integers(0, 2**32), st.floats(0, 0.9))
def test_the_token_is_where_the_cdf_passes_the_number(size: int, u: float, seed: int, empty: float) -> None:
    generator = np.random.default_rng(seed)
    mass = generator.exponential(size=size) * (generator.random(size) >= empty)
    mass[generator.integers(size)] += 0.1
    probabilities = mass / mass.sum()
    (token,) = chosen(probabilities, np.array([u]))
    cdf = np.append(0.0, probabilities.cumsum())
    assert probabilities[token] > 0
    assert cdf[token] - 1e-6 <= u <= cdf[token + 1] + 1e-6


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_draws_have_the_probabilities(temperature: float) -> None:
    """Chi-square of 20 000 draws at 5 standard deviations; the seed is fixed."""
    n, size = 20_000, 300
    row = torch.from_numpy(np.random.default_rng(0).normal(size=size)).float()
    u = uniforms(3, np.arange(n), np.array(0), np.array(0))
    tokens, _ = choose(row.expand(n, -1).contiguous(), torch.from_numpy(u), temperature)
    expected = (row.double() / temperature).softmax(-1).numpy() * n
    counts = np.bincount(tokens.numpy(), minlength=size)
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - (size - 1)) < 5 * math.sqrt(2 * (size - 1))


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_the_log_prob_is_the_log_softmax_at_the_temperature(temperature: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 10 * torch.randn((50, 400), generator=generator)
    before = logits.clone()
    tokens, logp = choose(logits, torch.rand(50, generator=generator, dtype=torch.float64), temperature)
    expected = (before.double() / temperature).log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
    torch.testing.assert_close(logp.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits, before), "the logits are the caller's"


def test_temperature_zero_takes_the_likeliest_at_its_plain_log_prob() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]])
    for u in (0.0, 0.5, LAST):
        tokens, logp = choose(logits, torch.full((2,), u, dtype=torch.float64), 0.0)
        assert tokens.tolist() == [1, 0]
        torch.testing.assert_close(logp, logits.log_softmax(-1).amax(-1))


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[1e4, 1e4, -1e4]])
    tokens, logp = choose(logits, torch.tensor([0.75], dtype=torch.float64), 1.0)
    assert tokens.tolist() == [1]
    assert logp.tolist() == pytest.approx([math.log(0.5)])


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"max_rows": 0}, {"temperature": -0.1}, {"stop": ("a", "")}]
)
def test_settings_without_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"at least|empty stop"):
        Sampling(**wrong)
