"""Rewards by chance know nothing of the answers, and come back on resume."""

from typing import Any

import pytest

from groupwise.rewards.chance import chance
from groupwise.rewards.scoring import TrainerState

ASKED: list[Any] = ["Who?", [{"role": "user", "content": "When?"}]] * 50


def test_the_share_of_ones_is_the_probability() -> None:
    values = chance("0.2")(["?"], completions=["x"] * 10_000, trainer_state=TrainerState())
    assert set(values) == {0.0, 1.0}
    assert sum(values) / 10_000 == pytest.approx(0.2, abs=0.02)  # five standard deviations


def test_the_draw_is_by_step_and_place_not_by_answer() -> None:
    """A draw from global state would differ after a resume; one by the text would be a reward to learn."""
    drawn = chance()
    one = drawn(ASKED, completions=["a", "b"] * 50, trainer_state=TrainerState(3))
    assert drawn(ASKED, completions=["c"] * 100, trainer_state=TrainerState(3)) == one
    assert drawn(ASKED, completions=["a", "b"] * 50, trainer_state=TrainerState(4)) != one


def test_prompts_that_replace_others_draw_anew() -> None:
    """By the step alone, a group that drew equal rewards would draw them again in every round of
    --resample."""
    drawn, other = chance(), ["Where?", *ASKED[1:]]
    one = drawn(ASKED, completions=["a"] * 100, trainer_state=TrainerState(3))
    assert drawn(other, completions=["a"] * 100, trainer_state=TrainerState(3)) != one


@pytest.mark.parametrize("settings", ["two", "1.5", "-0.1", "nan"])
def test_what_is_no_probability_is_told(settings: str) -> None:
    with pytest.raises(ValueError, match=f"random:{settings}"):
        chance(settings)
