"""The contract with reward functions: what they receive, what they may answer, and how they fail."""

import asyncio
import gc
import json
import math
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from groupwise.rewards.scoring import Failed, Reward, RewardError, TrainerState, score
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn


def answer(text: str, ids: tuple[int, ...] = (1,), stopped: StopReason = StopReason.FINISHED) -> Trajectory:
    turn = Turn(np.array([0]), np.array(ids), np.zeros(len(ids), dtype=np.float32))
    return Trajectory((turn,), PolicyTag(), stopped, text=text)


def cohort() -> list[Group]:
    first = Group(Prompt(0, "1+1?", {"gold": "2"}), (answer("2", (5, 6)), answer("three", (7,))))
    return [first, Group(Prompt(1, "2+2?", {"gold": "4"}), (answer("4", (8,)),))]


def rewards_of(groups: list[Group]) -> list[float | None]:
    return [t.reward for g in groups for t in g.trajectories]


def parts_of(groups: list[Group]) -> list[dict[str, float | None]]:
    return [dict(t.parts) for g in groups for t in g.trajectories]


def run(*rewards: Reward, failures: Path | None = None) -> list[Group]:
    return score(cohort(), rewards, TrainerState(), failures).cohort


def constant(*values: Any) -> Callable[..., Any]:
    return lambda **kwargs: list(values)


# ---------------------------------------------------------------- what a function receives


def test_a_reward_receives_the_arguments_of_trl() -> None:
    seen: dict[str, Any] = {}

    def spy(prompts: Any, completions: Any, completion_ids: Any, **kwargs: Any) -> list[float]:
        seen.update(kwargs, prompts=prompts, completions=completions, completion_ids=completion_ids)
        return [0.0] * len(prompts)

    state = TrainerState(global_step=3, max_steps=10, epoch=0.5)
    score(cohort(), [Reward("spy", spy)], state)
    assert callable(seen.pop("log_extra"))
    assert callable(seen.pop("log_metric"))
    assert seen == {
        "prompts": ["1+1?", "1+1?", "2+2?"],
        "completions": ["2", "three", "4"],
        "completion_ids": [[5, 6], [7], [8]],
        "gold": ["2", "2", "4"],
        "group_ids": [0, 0, 1],
        "trainer_state": state,
    }


def test_a_conversation_is_answered_by_messages() -> None:
    chat = [{"role": "user", "content": "1+1?"}]
    seen: dict[str, Any] = {}

    def spy(**kwargs: Any) -> list[float]:
        seen.update(kwargs)
        return [0.0]

    score([Group(Prompt(0, chat), (answer("2"),))], [Reward("spy", spy)], TrainerState())
    assert seen["prompts"] == [chat]
    assert seen["completions"] == [[{"role": "assistant", "content": "2"}]]


def test_a_column_that_only_some_rows_have_is_none_elsewhere() -> None:
    """Two tasks in one cohort must not shift a column against its prompts."""
    groups = [
        Group(Prompt(0, "a", {"x": 1}), (answer("p"),)),
        Group(Prompt(1, "b", {"y": 2}), (answer("q"),)),
    ]
    seen: dict[str, Any] = {}

    def spy(x: Any, y: Any) -> list[float]:
        seen.update(x=x, y=y)
        return [0.0, 0.0]

    score(groups, [Reward("spy", spy)], TrainerState())
    assert seen == {"x": [1, None], "y": [None, 2]}


def test_a_function_without_kwargs_gets_only_what_it_names() -> None:
    def exact(completions: list[str], gold: list[str]) -> list[float]:
        return [float(c == g) for c, g in zip(completions, gold, strict=True)]

    class Method:
        def __call__(self, completions: list[str], unrelated: int = 3) -> list[float]:
            return [float(unrelated)] * len(completions)

    got = run(Reward("exact", exact), Reward("method", Method()))
    assert [p["exact"] for p in parts_of(got)] == [1, 0, 1]
    assert [p["method"] for p in parts_of(got)] == [3, 3, 3]


def test_a_trajectory_that_ended_in_an_error_is_not_shown() -> None:
    seen: list[list[str]] = []

    def spy(completions: list[str]) -> list[float]:
        seen.append(completions)
        return [float(i) for i in range(len(completions))]

    trajectories = (answer("a"), answer("broken", stopped=StopReason.ERROR), answer("b"))
    groups = [Group(Prompt(0, "?"), trajectories)]
    got = score(groups, [Reward("spy", spy)], TrainerState()).cohort
    assert seen == [["a", "b"]]
    assert rewards_of(got) == [0, None, 1]
    assert math.isnan(got[0].rewards[1])


def test_a_cohort_of_errors_stays_unscored() -> None:
    """With nobody to score there are no columns either: a function that asks for one must not be called."""
    groups = [Group(Prompt(0, "?", {"gold": "2"}), (answer("x", stopped=StopReason.ERROR),) * 2)]

    def exact(completions: list[str], gold: list[str]) -> list[float]:
        return [float(c == g) for c, g in zip(completions, gold, strict=True)]

    assert rewards_of(score(groups, [Reward("exact", exact)], TrainerState()).cohort) == [None, None]


# ---------------------------------------------------------------- what it answers


def test_the_reward_is_the_weighted_sum_of_the_parts_that_apply() -> None:
    got = run(
        Reward("a", constant(1, None, None), weight=2.0), Reward("b", constant(10, 10, None), weight=-0.5)
    )
    assert rewards_of(got) == [2 - 5, -5, None]
    assert parts_of(got) == [{"a": 1, "b": 10}, {"a": None, "b": 10}, {"a": None, "b": None}]


def test_arrays_and_booleans_are_numbers() -> None:
    got = run(Reward("np", lambda **_: np.array([1, 0, 2])), Reward("bool", constant(True, False, True)))
    assert rewards_of(got) == [2, 0, 3]
    assert all(type(r) is float for r in rewards_of(got))


def test_the_input_cohort_is_left_as_it_was() -> None:
    groups = cohort()
    score(groups, [Reward("a", constant(1, 2, 3))], TrainerState())
    assert rewards_of(groups) == [None, None, None]


def test_what_a_reward_logs_is_kept() -> None:
    def logs(log_extra: Any, log_metric: Any, prompts: list[str]) -> list[float]:
        log_extra("note", ["x", "y", "z"])
        log_metric("seen", 1)
        log_metric("seen", 2)
        return [0.0] * len(prompts)

    got = score(cohort(), [Reward("logs", logs)], TrainerState())
    assert [t.extra for g in got.cohort for t in g.trajectories] == [{"note": n} for n in "xyz"]
    assert got.metrics == {"seen": 1.5}


def test_an_extra_column_of_another_length_is_refused() -> None:
    def logs(log_extra: Any, prompts: list[str]) -> list[float]:
        log_extra("note", ["x"])
        return [0.0] * len(prompts)

    with pytest.raises(RewardError, match=r"'logs'.*log_extra.*1 values for 3 completions"):
        run(Reward("logs", logs))


# ---------------------------------------------------------------- sync and async


def test_async_rewards_overlap() -> None:
    """Each waits for the other: called one after the other, the first would never end."""
    barrier = asyncio.Barrier(2)

    async def meets(prompts: list[str]) -> list[float]:
        async with asyncio.timeout(2):
            await barrier.wait()
        return [1.0] * len(prompts)

    assert rewards_of(run(Reward("one", meets), Reward("two", meets))) == [2, 2, 2]


def test_sync_and_async_mix_and_keep_their_order() -> None:
    async def slow(prompts: list[str]) -> list[float]:
        await asyncio.sleep(0.01)
        return [1.0, 2.0, 3.0]

    async def quick(prompts: list[str]) -> list[float]:
        return [4.0, 5.0, 6.0]

    got = run(Reward("slow", slow), Reward("sync", constant(7, 8, 9)), Reward("quick", quick))
    assert parts_of(got)[1] == {"slow": 2, "sync": 8, "quick": 5}
    assert list(parts_of(got)[1]) == ["slow", "sync", "quick"]


# ---------------------------------------------------------------- how it fails


def awaited(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def wrapper(**kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return function(**kwargs)

    return wrapper


def raises(**kwargs: Any) -> list[float]:
    raise ZeroDivisionError("by hand")


@pytest.mark.parametrize("wrap", [lambda f: f, awaited], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("function", "what", "rows"),
    [
        (constant(1.0, 2.0), "returned 2 values for 3 completions", [0, 1, 2]),
        (constant(1, 2, 3, 4), "returned 4 values for 3 completions", [0, 1, 2]),
        (constant(1.0, math.nan, 1.0), "returned nan for completion 1", [1]),
        (constant(1.0, 1.0, math.inf), "returned inf for completion 2", [2]),
        (constant(-math.inf, 1.0, 1.0), "returned -inf for completion 0", [0]),
        (constant("good", 1.0, 1.0), "returned 'good', which is no number, for completion 0", [0]),
        (constant([1.0], 1.0, 1.0), "returned [1.0], which is no number, for completion 0", [0]),
        (lambda **_: 1.0, "returned float, not a list of 3 numbers", [0, 1, 2]),
        (lambda **_: None, "returned NoneType, not a list of 3 numbers", [0, 1, 2]),
        (raises, "raised ZeroDivisionError('by hand')", [0, 1, 2]),
    ],
    ids=["too few", "too many", "nan", "inf", "-inf", "string", "nested", "float", "none", "raises"],
)
def test_a_broken_reward_is_named_and_its_input_is_saved(
    tmp_path: Path, function: Any, what: str, rows: list[int], wrap: Callable[[Any], Any]
) -> None:
    file = tmp_path / "failures.jsonl"
    with pytest.raises(RewardError) as caught:
        run(Reward("fine", constant(1, 2, 3)), Reward("culprit", wrap(function)), failures=file)
    message = str(caught.value)
    assert message.startswith(f"reward 'culprit' {what}")
    assert str(file) in message
    saved = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    inputs = [("1+1?", "2", "2"), ("1+1?", "three", "2"), ("2+2?", "4", "4")]
    assert [(r["prompts"], r["completions"], r["gold"]) for r in saved] == [inputs[i] for i in rows]
    assert {r["reward"] for r in saved} == {"culprit"}


def test_the_cause_of_a_failure_is_kept() -> None:
    with pytest.raises(RewardError) as caught:
        run(Reward("culprit", raises))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "saved" not in str(caught.value), "no file was given, so none may be promised"


def test_failures_are_appended(tmp_path: Path) -> None:
    file = tmp_path / "failures.jsonl"
    for _ in range(2):
        with pytest.raises(RewardError):
            run(Reward("culprit", constant(math.nan, 1, 1)), failures=file)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2


def test_a_column_that_json_does_not_know_is_still_saved(tmp_path: Path) -> None:
    groups = [Group(Prompt(0, "?", {"when": {1, 2}}), (answer("x"),))]
    with pytest.raises(RewardError, match="culprit"):
        score(groups, [Reward("culprit", raises)], TrainerState(), tmp_path / "failures.jsonl")
    assert "{1, 2}" in (tmp_path / "failures.jsonl").read_text(encoding="utf-8")


def test_a_sync_failure_leaves_no_coroutine_behind() -> None:
    """An async reward that was called before the sync one raised must still be closed."""

    async def patient(prompts: list[str]) -> list[float]:
        return [0.0] * len(prompts)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        message = ""
        try:
            run(Reward("patient", patient), Reward("culprit", raises))
        except RewardError as error:
            message = str(error)
        gc.collect()
    assert "culprit" in message
    assert [str(w.message) for w in caught if "never awaited" in str(w.message)] == []


def test_an_answer_that_failed_has_no_reward_and_a_reason() -> None:
    """Its other parts alone would not compare with its siblings' rewards."""
    failing = Reward("checked", constant(1.0, Failed("crash: signal 11"), Failed("timeout")))
    scored = score(cohort(), [failing, Reward("style", constant(1.0, 1.0, 1.0), 0.5)], TrainerState())
    assert rewards_of(scored.cohort) == [1.5, None, None]
    assert parts_of(scored.cohort)[1] == {"checked": None, "style": 1.0}
    extras = [t.extra for g in scored.cohort for t in g.trajectories]
    assert extras[1] == {"checked/failed": "crash: signal 11"}
    assert scored.metrics == pytest.approx(
        {
            "rewards/checked/failed": 2 / 3,
            "rewards/checked/failed/crash": 1 / 3,
            "rewards/checked/failed/timeout": 1 / 3,
        }
    )


# ---------------------------------------------------------------- conversations


def conversation(gains: list[float | None]) -> Trajectory:
    """Two turns of two decisions; a gain comes after the last decision of its turn."""
    turns = [
        Turn(
            np.array([i]),
            np.array([5, 6]),
            np.zeros(2, np.float32),
            None if gain is None else np.array([np.nan, gain]),
        )
        for i, gain in enumerate(gains)
    ]
    messages = ({"role": "assistant", "content": "a"}, {"role": "user", "content": "b"})
    return Trajectory(tuple(turns), PolicyTag(), StopReason.FINISHED, messages=messages)


def test_rewards_are_given_the_whole_conversation_and_what_the_world_gave() -> None:
    """The last answer alone would hide what was said before; a NaN that ends no step is not a loss."""
    seen: dict[str, Any] = {}

    def spy(completions: Any, completion_ids: Any, returns: Any) -> list[float]:
        seen.update(completions=completions, ids=completion_ids, returns=returns)
        return [0.0] * 2

    members = (conversation([0.5, 2.0]), conversation([None, None]))
    asked = Prompt(0, [{"role": "user", "content": "?"}])
    score([Group(asked, members)], [Reward("spy", spy)], TrainerState())
    assert seen["completions"][0] == [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
    ]
    assert seen["ids"][0] == [5, 6, 5, 6], "decisions, not what was read"
    assert seen["returns"] == [2.5, None]


def test_rewards_see_the_environments_and_nobody_after_them() -> None:
    """TRL's documented reward: env.reward for env in environments. Kept on, they would fill the memory."""
    members = tuple(replace(conversation([None]), environment=SimpleNamespace(reward=r)) for r in (1.0, 3.0))
    asked = Prompt(0, [{"role": "user", "content": "?"}])
    reward = Reward("env", lambda environments, **_: [env.reward for env in environments])
    [group] = score([Group(asked, members)], [reward], TrainerState()).cohort
    assert [t.reward for t in group.trajectories] == [1.0, 3.0]
    assert {t.environment for t in group.trajectories} == {None}


# ---------------------------------------------------------------- gold rewards


def test_gold_judges_and_moves_no_reward() -> None:
    """A gold value in the sum, or a name that two share, would train on what the run is judged by."""
    rewards = [Reward("same", constant(1.0, 2.0, None), 0.5), Reward("other", constant(3.0, None, None))]
    gold = [Reward("same", constant(9.0, None, 8.0))]
    with_gold = score(cohort(), rewards, TrainerState(), gold=gold).cohort
    assert rewards_of(with_gold) == rewards_of(run(*rewards)) == [3.5, 1.0, None]
    assert parts_of(with_gold) == parts_of(run(*rewards))
    assert [t.gold for g in with_gold for t in g.trajectories] == [
        {"same": 9.0},
        {"same": None},
        {"same": 8.0},
    ]


def test_a_gold_reward_that_fails_leaves_the_answer_scored() -> None:
    """A part that fails takes the whole reward away; a gold one must not decide what is trained on."""
    failed = Reward("g", constant(Failed("timeout: 2 s"), 1.0, Failed("crash")))
    scored = score(cohort(), [Reward("r", constant(1.0, 0.0, 1.0))], TrainerState(), gold=[failed])
    assert rewards_of(scored.cohort) == [1.0, 0.0, 1.0]
    assert [t.gold["g"] for g in scored.cohort for t in g.trajectories] == [None, 1.0, None]
    assert scored.metrics == pytest.approx(
        {"gold/g/failed": 2 / 3, "gold/g/failed/timeout": 1 / 3, "gold/g/failed/crash": 1 / 3}
    )
    first = scored.cohort[0].trajectories[0]
    assert first.extra == {"gold/g/failed": "timeout: 2 s"}


def test_an_async_gold_reward_is_awaited() -> None:
    async def late(completions: list[str]) -> list[float]:
        return [1.0] * len(completions)

    scored = score(cohort(), [Reward("r", constant(0, 0, 0))], TrainerState(), gold=[Reward("g", late)])
    assert {t.gold["g"] for g in scored.cohort for t in g.trajectories} == {1.0}
