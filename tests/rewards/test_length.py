"""Rewards by length alone."""

import pytest

from groupwise.rewards.length import soft_overlong


@pytest.mark.parametrize(
    ("length", "value"),
    [(0, 0), (16384, 0), (16385, -1 / 4096), (18432, -0.5), (20480, -1), (20481, -1), (99999, -1)],
)
def test_the_penalty_rises_over_the_last_tokens_before_the_limit(length: int, value: float) -> None:
    """DAPO's numbers: 0 up to L - c, (L - c - len) / c to the limit, -1 beyond."""
    assert soft_overlong(20480, 4096)(completion_ids=[range(length)]) == [pytest.approx(value)]


def test_it_has_the_signature_of_a_reward_and_says_where_it_applies() -> None:
    got = soft_overlong(4, 2)(prompts=["a"] * 2, completions=["b"] * 2, completion_ids=[[1] * 3, [1]])
    assert got == [-0.5, 0.0]


@pytest.mark.parametrize(("limit", "cache"), [(10, 0), (10, 11), (0, 0)])
def test_a_cache_outside_the_limit_is_refused(limit: int, cache: int) -> None:
    with pytest.raises(ValueError, match="0 < cache <= limit"):
        soft_overlong(limit, cache)
