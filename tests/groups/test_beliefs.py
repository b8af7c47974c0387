"""What is believed of a prompt, by hand; and that saving it loses nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from coin_groups import group
from groupwise.groups.beliefs import HALF_LIFE, STRENGTH, Belief, Beliefs
from groupwise.trajectory import Prompt


def about(beliefs: Beliefs, row: int | None, step: int, **columns: str) -> Belief:
    return beliefs.about(Prompt(0, "?", columns, row), step)


def test_before_anything_is_seen_all_prompts_are_alike() -> None:
    assert about(Beliefs(), 0, 1) == about(Beliefs(), 7, 1, kind="hard") == Belief()
    assert about(Beliefs().after([group([None, None])], 1), 0, 2) == Belief()


def test_mean_and_spread_by_hand() -> None:
    """One row asked once, in the step before: its own answers and STRENGTH like those it leans on."""
    beliefs = Beliefs().after([group([1.0, 0.0, 0.0, 0.0], row=3), group([2.0, 4.0], row=5)], 1)
    every_mean, every_variance = 7 / 6, (0.75 + 2.0) / 4
    fade = 0.5 ** (1 / HALF_LIFE)

    def leaning(mean: float, variance: float, n: float, total: float, scatter: float, free: float):
        return (
            (fade * total + STRENGTH * mean) / (fade * n + STRENGTH),
            (fade * scatter + STRENGTH * variance) / (fade * free + STRENGTH),
        )

    kind = leaning(every_mean, every_variance, 6, 7, 2.75, 4)
    own = leaning(*kind, 4, 1, 0.75, 3)
    got = about(beliefs, 3, 2)
    assert got.mean == pytest.approx(own[0])
    assert got.spread == pytest.approx(math.sqrt(own[1]))
    assert got.chance == pytest.approx(own[0] / 4)
    assert got.evidence == pytest.approx(4 * fade)


def test_a_row_never_asked_is_believed_to_be_like_its_kind() -> None:
    """And a kind never seen like all rows."""
    cohort = [group([1.0, 1.0, 1.0, 0.0], 0, kind="easy"), group([0.0, 0.0, 0.0, 0.0], 1, kind="hard")]
    beliefs = Beliefs()
    for step in range(1, 30):
        beliefs = beliefs.after(cohort, step)
    easy, hard, novel = (about(beliefs, 99, 30, kind=kind) for kind in ("easy", "hard", "novel"))
    assert easy.mean == pytest.approx(0.75, abs=0.03)
    assert hard.mean == pytest.approx(0.0, abs=0.03)
    assert easy.spread == pytest.approx(0.5, abs=0.02)
    assert hard.spread < 0.1
    assert novel.mean == pytest.approx(3 / 8)
    assert novel.evidence == easy.evidence == 0


def test_the_column_of_the_kind_may_have_another_name() -> None:
    beliefs = Beliefs("level").after([group([1.0, 1.0], 0, level="1"), group([0.0, 0.0], 1, level="2")], 1)
    assert about(beliefs, 9, 2, level="1").mean > about(beliefs, 9, 2, level="2").mean


def test_spread_is_within_a_prompt_and_not_between_prompts() -> None:
    """Half the prompts always right and half never: all rewards together have a deviation of 0.5."""
    beliefs = Beliefs().after([group([1.0] * 4, row=0), group([0.0] * 4, row=1)], 1)
    assert about(beliefs, 2, 2).spread == 0
    assert about(beliefs, 2, 2).mean == 0.5


def test_old_answers_count_less() -> None:
    """Half as much after a half-life: the policy that gave them is no more."""
    beliefs = Beliefs().after([group([1.0] * 8, row=0)], 1)
    assert about(beliefs, 0, 1 + int(HALF_LIFE)).evidence == pytest.approx(4)
    later = beliefs.after([group([0.0] * 8, row=0)], 1 + int(HALF_LIFE))
    assert later.every.total / later.every.answers == pytest.approx(4 / 12)
    assert about(later, 0, 1000).mean == pytest.approx(4 / 12)


def test_visits_without_a_spread_are_counted_in_a_row() -> None:
    """Rounding is no spread; a single different answer ends the row; other rows keep theirs."""
    beliefs = Beliefs()
    for step, rewards in enumerate([[1.0, 1.0], [0.1] * 6, [0.0, 0.0]], start=1):
        beliefs = beliefs.after([group(rewards, row=4)], step)
    assert about(beliefs, 4, 9).flat_visits == 3
    assert about(beliefs, 5, 9).flat_visits == 0
    assert about(beliefs.after([group([0.0, 1.0], row=4)], 9), 4, 10).flat_visits == 0


def test_rewards_are_any_numbers() -> None:
    """-3 to 5: a chance is a share of the range seen, a spread is in units of the reward."""
    beliefs = Beliefs()
    for step in range(1, 200):
        beliefs = beliefs.after([group([-3.0, 5.0, 1.0, 1.0], row=0)], step)
    got = about(beliefs, 0, 200)
    assert got.mean == pytest.approx(1)
    assert got.chance == pytest.approx(0.5)
    assert got.spread == pytest.approx(np.std([-3, 5, 1, 1], ddof=1))


def test_unscored_answers_teach_nothing() -> None:
    some = Beliefs().after([group([1.0, None, 0.0], row=0), group([None, None], row=1)], 1)
    assert some == Beliefs().after([group([1.0, 0.0], row=0)], 1)


def test_a_held_out_prompt_has_no_row_to_be_remembered_by() -> None:
    assert not Beliefs().after([group([1.0, 0.0], row=None)], 1).rows


def test_saving_and_reading_back_loses_no_bit() -> None:
    """Sums that are no round numbers, through JSON text, and then one step on from either."""
    rng = np.random.default_rng(0)
    beliefs = Beliefs()
    for step in range(1, 40):
        rows = rng.integers(0, 9, 3)
        cohort = [group(rng.normal(size=4).tolist(), int(r), kind=f"k{r % 2}") for r in rows]
        beliefs = beliefs.after(cohort, step)
    read = Beliefs.of(json.loads(json.dumps(beliefs.saved())))
    more = [group(rng.normal(size=5).tolist(), 2, kind="k0")]
    for row in range(10):
        assert about(read, row, 41, kind="k0") == about(beliefs, row, 41, kind="k0")
        assert about(read.after(more, 40), row, 41) == about(beliefs.after(more, 40), row, 41)
    assert json.dumps(read.after(more, 40).saved()) == json.dumps(beliefs.after(more, 40).saved())
    assert Beliefs.of({}) == Beliefs()
    assert Beliefs.of(json.loads(json.dumps(Beliefs().saved()))) == Beliefs()
