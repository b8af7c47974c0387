"""Whatever order answers finish in, none is lost or doubled and memory follows its row."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.engine.scheduler import Request, Row, Scheduler
from groupwise.trajectory import StopReason


def requests(*counts: int) -> list[Request]:
    return [Request((5,) * (i + 1), count, i) for i, count in enumerate(counts)]


def identity(row: Row) -> tuple[int, int]:
    return row.request, row.sample


def finish(rows: list[Row]) -> None:
    for row in rows:
        row.stopped = StopReason.FINISHED


def check(scheduler: Scheduler, memory: list[tuple[int, int] | None], asked: list[Request]) -> None:
    rows = scheduler.rows
    assert len(rows) <= scheduler.capacity
    assert memory[: len(rows)] == [identity(row) for row in rows], "row i reads its own memory"
    owners: dict[int, int] = {}
    for row in rows:
        assert owners.setdefault(row.slot, row.request) == row.request, "a slot holds one prompt"
        assert 0 <= row.slot < scheduler.slots
        assert row.prompt == len(asked[row.request].tokens)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 9), max_size=12),
    st.integers(1, 12),
    st.floats(0.02, 1.0),
    st.integers(0, 2**32),
)
def test_every_answer_is_written_once_in_any_order_of_finishing(
    counts: list[int], max_rows: int, haste: float, seed: int
) -> None:
    dice, asked = random.Random(seed), requests(*counts)
    scheduler = Scheduler(asked, max_rows)
    assert scheduler.capacity <= max_rows
    memory: list[tuple[int, int] | None] = [None] * scheduler.capacity
    written: list[tuple[int, int]] = []
    while not scheduler.done:
        standing = len(scheduler.rows)
        for i, row in enumerate(new := scheduler.admit()):
            assert scheduler.rows[standing + i] is row, "new rows come last, and nobody moves for them"
            memory[standing + i] = identity(row)
        assert scheduler.rows, "never stuck with answers waiting"
        check(scheduler, memory, asked)
        held = {row.slot for row in scheduler.rows[:standing]}
        assert not held & {row.slot for row in new}, "a prompt in use is not overwritten"
        finish([row for row in scheduler.rows if dice.random() < haste])
        finished, sources, targets = scheduler.retire()
        moved = [memory[i] for i in sources]
        for target, value in zip(targets, moved, strict=True):
            memory[target] = value
        written += map(identity, finished)
        check(scheduler, memory, asked)
    assert sorted(written) == [(i, j) for i, n in enumerate(counts) for j in range(n)]


def test_siblings_enter_together_and_share_a_slot() -> None:
    scheduler = Scheduler(requests(3, 2), 8)
    new = scheduler.admit()
    assert [identity(row) for row in new] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert len({row.slot for row in new[:3]}) == len({row.slot for row in new[3:]}) == 1
    assert new[0].slot != new[3].slot


def test_a_slot_is_free_only_when_the_last_sibling_has_left() -> None:
    """The others still read their prompt from it."""
    scheduler = Scheduler(requests(2, 1, 1), 3)
    first, second, third = scheduler.admit()
    assert (first.slot, third.slot) == (second.slot, third.slot)
    finish([first])
    scheduler.retire()
    (newcomer,) = scheduler.admit()
    assert newcomer.slot not in {second.slot, third.slot}


def test_the_last_rows_fill_the_holes() -> None:
    scheduler = Scheduler(requests(6), 6)
    rows = scheduler.admit()
    finish([rows[0], rows[2], rows[5]])
    finished, sources, targets = scheduler.retire()
    assert finished == [rows[0], rows[2], rows[5]]
    assert (sources, targets) == ([3, 4], [0, 2]), "no more rows move than must"
    assert scheduler.rows == [rows[3], rows[1], rows[4]]
    assert scheduler.retire() == ([], [], [])


def test_admission_waits_for_a_quarter_of_the_room() -> None:
    """Prefilling one prompt at a time as each row leaves would cost a forward pass each."""
    scheduler = Scheduler(requests(8, *[1] * 8), 8)
    rows = scheduler.admit()
    finish(rows[:1])
    scheduler.retire()
    assert scheduler.admit() == []
    finish(rows[1:2])
    scheduler.retire()
    assert [row.request for row in scheduler.admit()] == [1, 2]


def test_a_group_larger_than_the_room_is_cut_and_numbered_on() -> None:
    scheduler = Scheduler(requests(5), 2)
    seen = []
    while not scheduler.done:
        seen.append([row.sample for row in scheduler.admit()])
        finish(scheduler.rows)
        scheduler.retire()
    assert seen == [[0, 1], [2, 3], [4]]


def test_the_newest_token_is_not_yet_in_memory() -> None:
    (row,) = Scheduler(requests(1), 1).admit()
    row.tokens += [7, 8, 9]
    assert (row.state.slot, row.state.prompt, row.state.length) == (row.slot, 1, 2)
