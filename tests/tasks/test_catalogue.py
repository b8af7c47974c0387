"""What a user writes finds its task; what finds nothing says what would."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from groupwise.rewards.catalogue import load_reward
from groupwise.rewards.scoring import Reward
from groupwise.tasks.catalogue import load
from groupwise.tasks.data import DataError
from groupwise.user_code import UserCodeError

SMALL = Path(__file__).parents[1] / "data" / "gsm8k_small.jsonl"
SCORE = Reward("score", lambda completions, **_: [0.0] * len(completions))


@pytest.fixture(autouse=True)
def own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test writes and imports is forgotten after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if (vars(module).get("__file__") or "").startswith(str(tmp_path)):
            del sys.modules[name]


def says(*words: str) -> str:
    return "(?s)" + ".*".join(re.escape(word) for word in words)


def rows_file(path: Path, n: int = 10) -> str:
    path.write_text("\n".join(json.dumps({"prompt": f"{i}?", "answer": str(i)}) for i in range(n)))
    return str(path)


def test_built_in_tasks_take_their_options_after_a_colon() -> None:
    assert load("arithmetic").rewards[0].name == "correct"
    assert load("arithmetic:digits=1,ops=*").train[0]["prompt"][-1]["content"].count("*") == 1
    assert len(load(f"gsm8k:{SMALL}").held_out) == 4


def test_given_rewards_take_the_place_of_a_built_in_tasks() -> None:
    """The task's own then judge: a control run, or one whose reward can be gamed, is measured by them."""
    task, own = load("arithmetic", [SCORE]), load("arithmetic")
    assert task.rewards == (SCORE,)
    assert [r.name for r in task.gold] == [r.name for r in own.rewards] == ["correct", "digits", "alone"]
    assert (task.measure, own.measure, own.gold) == ("gold/correct", "correct", ())


def test_gold_rewards_that_are_given_are_the_only_ones(tmp_path: Path) -> None:
    judge = Reward("judge", lambda completions, **_: [0.0] * len(completions))
    assert load("arithmetic", [SCORE], gold=[judge]).gold == (judge,)
    assert load("arithmetic", gold=[judge]).gold == (judge,)
    task = load(rows_file(tmp_path / "rows.jsonl"), [SCORE], gold=[judge])
    assert (task.rewards, task.gold, task.measure) == ((SCORE,), (judge,), "gold/judge")
    assert load("arithmetic", [SCORE], gold=[SCORE]).gold == (SCORE,)  # a name may be in both


def test_a_gold_reward_with_a_weight_or_a_twin_is_told() -> None:
    with pytest.raises(UserCodeError, match=says("gold reward 'score'", "weight 0.5", "Leave it away")):
        load("arithmetic", gold=[Reward("score", SCORE.function, 0.5)])
    with pytest.raises(UserCodeError, match=says("two rewards are named 'score'")):
        load("arithmetic", gold=[SCORE, SCORE])


def test_a_file_is_split_by_the_seed(tmp_path: Path) -> None:
    source = rows_file(tmp_path / "rows.jsonl", 100)
    task = load(source, [SCORE], n_held_out=10)
    assert (len(task.train), len(task.held_out), task.rewards) == (90, 10, (SCORE,))
    assert load(source, [SCORE], n_held_out=10) == task
    assert load(source, [SCORE], n_held_out=10, seed=1).held_out != task.held_out
    assert task.name == source


def test_a_held_out_file_is_used_whole_and_not_trained_on(tmp_path: Path) -> None:
    train, kept = rows_file(tmp_path / "train.jsonl", 10), rows_file(tmp_path / "kept.jsonl", 3)
    task = load(train, [SCORE], held_out=kept)
    assert [row["answer"] for row in task.held_out] == ["0", "1", "2"]
    assert [row["answer"] for row in task.train] == [str(i) for i in range(3, 10)]


def test_a_bad_held_out_file_is_the_one_that_is_named(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"query": "x"}')
    with pytest.raises(DataError, match=says("kept.jsonl, row 1", "Rename 'query'")):
        load(rows_file(tmp_path / "train.jsonl"), [SCORE], held_out=str(kept))


def test_a_file_without_reward_teaches_how_to_write_one(tmp_path: Path) -> None:
    """The lesson is run: a message that teaches code that fails would be worse than none."""
    with pytest.raises(DataError, match=says("rows.jsonl", "--reward my_reward.py:score")) as caught:
        load(rows_file(tmp_path / "rows.jsonl"))
    code = str(caught.value).partition("my_reward.py:\n")[2].partition("\n\nwhere")[0]
    lines = [line.removeprefix("    ") for line in code.splitlines()]
    (tmp_path / "my_reward.py").write_text("\n".join(lines))
    function = load_reward(f"{tmp_path}/my_reward.py:score").function
    chat = [{"role": "assistant", "content": "It is 5."}]
    assert function(completions=["It is 4.", chat], answer=["4", 4], prompts=["?", "?"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("aritmetic", ["'aritmetic'", "Did you mean arithmetic?", "rows.jsonl", "owner/name"]),
        ("GSM8K:train", ["Did you mean gsm8k?"]),
        ("zebra", ["'zebra'", "arithmetic, gsm8k"]),
        ("nothing.jsonl", ["no file nothing.jsonl"]),
    ],
)
def test_an_unknown_task_brings_what_there_is(spec: str, words: list[str]) -> None:
    with pytest.raises(DataError, match=says(*words)):
        load(spec, [SCORE])


@pytest.mark.parametrize(("name", "way_out"), [("arithmetic", "held_out=500"), ("gsm8k", "test.jsonl")])
def test_a_built_in_task_takes_no_held_out_file(name: str, way_out: str) -> None:
    with pytest.raises(DataError, match=says(name, "own held-out", way_out)):
        load(name, held_out="kept.jsonl")


def test_two_rewards_of_one_name_are_told() -> None:
    """Their parts go by name: one would silently take the place of the other."""
    with pytest.raises(UserCodeError, match="two rewards are named 'score'"):
        load("arithmetic", [SCORE, SCORE])


def test_a_reward_with_the_name_of_the_total_is_told() -> None:
    """Among held-out scores the total takes the name, and the part would be lost without a word."""
    with pytest.raises(UserCodeError, match=r"a reward is named 'reward', as is the sum of all parts"):
        load("arithmetic", [SCORE, Reward("reward", SCORE.function)])
