"""Which prompts a step gets, and why a resumed run gets the same."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from groupwise.tasks.task import Row, Task


def task(rows: int = 7, held_out: int = 3) -> Task:
    train: list[Row] = [{"prompt": f"train {i}", "answer": i} for i in range(rows)]
    return Task("toy", train, [{"prompt": f"held out {i}", "answer": -i} for i in range(held_out)], ())


def stream(steps: int, n: int, seed: int = 0) -> list[str]:
    return [str(p.content) for s in range(steps) for p in task().stream(s * n, n, seed)]


def test_a_draw_depends_on_step_size_and_seed_alone() -> None:
    """A generator kept between steps would make a resumed run draw other prompts."""
    one = task()
    forwards = [one.stream(3 * s, 3, seed=5) for s in range(6)]
    backwards = [task().stream(3 * s, 3, seed=5) for s in reversed(range(6))]
    assert forwards == backwards[::-1]


def test_every_row_comes_once_a_pass_and_passes_differ() -> None:
    """Steps of 3 over 7 rows: batches cross the ends of passes, and 7 steps are 3 whole passes."""
    drawn = stream(steps=7, n=3)
    passes = [drawn[i : i + 7] for i in (0, 7, 14)]
    for one in passes:
        assert sorted(one) == sorted(f"train {i}" for i in range(7))
    assert len({tuple(one) for one in passes}) == 3


def test_the_stream_does_not_depend_on_how_it_is_cut_into_steps() -> None:
    assert stream(steps=14, n=1) == stream(steps=7, n=2) == stream(steps=2, n=7) == stream(steps=1, n=14)


def test_a_pass_is_shuffled_once_not_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million starts of an environment take longer to shuffle than a small network to train a step."""
    made = []
    new = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: made.append(seed) or new(seed))
    for step in range(6):
        task(rows=11).stream(4 * step, 4, seed=77)
    assert made == [[77, 0], [77, 1], [77, 2]]


def test_a_step_larger_than_the_rows_takes_several_passes() -> None:
    assert set(Counter(stream(steps=1, n=21)).values()) == {3}


def test_seeds_give_different_orders() -> None:
    assert len({tuple(stream(steps=1, n=7, seed=s)) for s in range(5)}) == 5


def test_ordinals_count_the_prompts_of_the_run() -> None:
    """They name the random numbers: a repeat would sample the same answers twice."""
    assert [p.ordinal for s in range(3) for p in task().stream(4 * s, 4, seed=0)] == list(range(12))


def test_columns_travel_with_their_row_without_the_prompt() -> None:
    for prompt in task().stream(0, 7, seed=1):
        assert dict(prompt.columns) == {"answer": int(str(prompt.content).split()[1])}


def test_conversations_and_seeds_pass_through() -> None:
    chat = [{"role": "user", "content": "hello"}]
    rows: list[Row] = [{"prompt": chat}, {"prompt": 17}]
    assert [p.content for p in Task("toy", [], rows, ()).examples(2)] == [chat, 17]


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (2, 2), (3, 3), (99, 3)])
def test_examples_are_the_first_held_out_rows(asked: int, given: int) -> None:
    got = task().examples(asked)
    assert [p.content for p in got] == [f"held out {i}" for i in range(given)]
    assert [p.columns["answer"] for p in got] == [-i for i in range(given)]


def test_held_out_rows_are_never_drawn() -> None:
    assert not any("held out" in content for content in stream(steps=10, n=7))


def test_the_rows_are_shuffled_once_a_pass_and_not_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million starts, as environments have, took 0.13 s a step to shuffle anew: longer than some games."""
    made = []
    plain = np.random.default_rng

    def counted(seed: Any) -> Any:
        made.append(seed)
        return plain(seed)

    monkeypatch.setattr(np.random, "default_rng", counted)
    one = task(rows=1001)
    for step in range(10):
        one.stream(10 * step, 10, seed=123)
    assert made == [[123, 0]]
