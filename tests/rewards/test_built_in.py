"""Every built-in text reward can be named on the command line and scores a cohort."""

import numpy as np
import pytest

from groupwise.rewards.catalogue import load_reward
from groupwise.rewards.scoring import TrainerState, score
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

PLACE = "groupwise.rewards"
WITHOUT_COLUMNS = {
    "repetition": ["no_repeats", "no_loops", "not_compressible"],
    "overlap": ["on_topic"],
    "diversity": ["novel", "unlike_siblings"],
    "verse": ["haiku"],
}
WITH_A_COLUMN = {
    "squad": {"exact_match": "answer", "token_f1": "answer"},
    "overlap": {"grounded": "context", "like_reference": "reference"},
    "style": {
        "word_count": "n_words",
        "sentence_count": "n_sentences",
        "line_count": "n_lines",
        "required_words": "required",
        "forbidden_words": "forbidden",
    },
    "verse": {"acrostic": "acrostic", "rhymes": "rhyme_scheme"},
}
HOSTILE = ["", " \n", "\u200b", "\u0301", "\ud800", "👍🏽", "1", "a", ".", "\x00"]


@pytest.mark.parametrize("name", [f"{m}:{f}" for m, fs in WITHOUT_COLUMNS.items() for f in fs])
def test_it_reads_any_text(name: str) -> None:
    reward = load_reward(f"{PLACE}.{name}=0.5")
    assert (reward.name, reward.weight) == (name.partition(":")[2], 0.5)
    values = reward.function(prompts=["p?"] * len(HOSTILE), completions=HOSTILE, answer=[None] * 10)
    assert len(values) == 10
    assert all(v is None or -1 <= v <= 1 for v in values)


@pytest.mark.parametrize("name", [f"{m}:{f}:{c}" for m, fs in WITH_A_COLUMN.items() for f, c in fs.items()])
def test_it_does_not_apply_where_its_column_is_none(name: str) -> None:
    module, function, column = name.split(":")
    reward = load_reward(f"{PLACE}.{module}:{function}").function
    n = len(HOSTILE)
    assert reward(prompts=["p"] * n, completions=HOSTILE, **{column: [None] * n}) == [None] * n
    with pytest.raises(TypeError, match=column):
        reward(prompts=["p"], completions=["a"])


@pytest.mark.parametrize("name", ["squad:exact_match:answer", "overlap:grounded:context"])
def test_it_reads_any_text_beside_its_column(name: str) -> None:
    module, function, column = name.split(":")
    reward = load_reward(f"{PLACE}.{module}:{function}").function
    values = reward(completions=HOSTILE, **{column: HOSTILE})
    assert all(0 <= v <= 1 for v in values)


def test_a_cohort_is_scored_with_parts_and_metrics() -> None:
    """The instances have to pass through the scorer's own way of calling, beside plain functions."""

    def answer(text: str) -> Trajectory:
        turn = Turn(np.array([0]), np.array([1]), np.zeros(1, dtype=np.float32))
        return Trajectory((turn,), PolicyTag(), StopReason.FINISHED, text=text)

    prompt = Prompt(0, "Who?", {"answer": "Ada"})
    cohort = [Group(prompt, (answer("Ada"), answer("Bob Bob")))]
    names = ("squad:exact_match", "repetition:no_repeats=0.5", "diversity:novel=0.1")
    scored = score(cohort, [load_reward(f"{PLACE}.{name}") for name in names], TrainerState())
    first, second = (t.parts for t in scored.cohort[0].trajectories)
    assert first == {"exact_match": 1, "no_repeats": 0, "novel": 1}
    assert second == {"exact_match": 0, "no_repeats": 0, "novel": 1}
    assert scored.cohort[0].trajectories[0].reward == pytest.approx(1.1)
    assert scored.metrics == {"diversity/distinct_2": 1}
