"""What is taken for the answer, and that it has to be the whole of it."""

import pytest

from groupwise.rewards.puzzles import said_in

pytest.importorskip("reasoning_gym")
import reasoning_gym

from groupwise.rewards.puzzles import progress, solved


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<answer>5</answer>", "5"),
        ("<answer>4</answer> no: <ANSWER>\n5\n</ANSWER>", "5"),
        ("<answer><answer>5</answer>", "5"),
        ("<answer>1 2\n3 4</answer>", "1 2\n3 4"),
        ("<answer>5", "<answer>5"),
        ("<answer></answer>", None),
        ("#### 5", "5"),
        ("\\boxed{5} done", "5"),
        ("first\nlast ", "last"),
        ("", None),
    ],
)
def test_the_answer_in_a_text(text: str, said: str | None) -> None:
    assert said_in(text) == said


@pytest.mark.parametrize("piece", ["<answer>", "</answer>", "<answer>x", "x", "\n"])
def test_a_hostile_text_of_100_kb_is_read_at_once(piece: str) -> None:
    said_in(piece * (100_000 // len(piece)))


@pytest.mark.parametrize("name", ["gcd", "chain_sum", "prime_factorization", "spell_backward", "countdown"])
def test_own_answers_are_right_and_others_are_not(name: str) -> None:
    for entry in reasoning_gym.create_dataset(name, size=3, seed=5):
        right = f"So: <answer>{entry['answer']}</answer>"
        assert solved(right, entry) == progress(right, entry) == 1.0
        for wrong in ("", "zzz", "<answer></answer>", "x" * 100_000, "\u200b"):
            assert solved(wrong, entry) == 0.0


def test_a_sentence_that_contains_the_answer_is_not_the_answer() -> None:
    """The puzzle's own rule gives it a part; a list of all numbers would collect it every time."""
    entry = {"question": "", "answer": "7", "metadata": {"source_dataset": "chain_sum"}}
    text = "it is 7 I think"
    assert 0 < progress(text, entry) < 1
    assert solved(text, entry) == 0.0
    assert solved("it is\n7", entry) == 1.0
