"""Credit where answers part, on trees written out by hand."""

import itertools

import numpy as np
import pytest
import torch

from answers import rewards_of, siblings, told, turn
from groupwise.advantages import center, tree
from groupwise.trajectory import Group


def words(*leaves: tuple[str, float]) -> Group:
    """Siblings from one prompt; every letter is a decision."""
    return siblings(*(told(r, turn([ord(c) for c in word])) for word, r in leaves))


def lists(group: Group) -> list[list[float]]:
    return [row.tolist() for row in tree(rewards_of(group), group)]


def test_a_full_binary_tree_meets_hand_numbers() -> None:
    """V(root) = .25, V(l) = .5, V(r) = 0: A(l) = .25, A(ll) = .5, A(lr) = -.5."""
    got = lists(words(("ll", 1), ("lr", 0), ("rl", 0), ("rr", 0)))
    assert got == [[0.25, 0.5], [0.25, -0.5], [-0.25, 0.0], [-0.25, 0.0]]


def test_along_an_answer_the_advantages_add_up_to_its_reward_less_the_mean() -> None:
    group = words(("abcd", 0.3), ("abd", 1.0), ("b", -2.0), ("abcx", 0.7), ("ax", 0.1))
    sums = torch.tensor([sum(row) for row in lists(group)], dtype=torch.float64)
    torch.testing.assert_close(sums, center(rewards_of(group)), rtol=0, atol=1e-14)


def test_branches_of_a_node_weighed_by_their_answers_cancel() -> None:
    """Three answers through "a", of which two go on to "b"."""
    got = lists(words(("ab", 1), ("ab", 0), ("ac", 0), ("x", 0)))
    assert sum(row[1] for row in got[:3]) == pytest.approx(0, abs=1e-15)
    assert got[0] == got[1], "the same decisions have the same value, whatever came of them"


def test_answers_that_part_at_once_are_centred_there_and_silent_after() -> None:
    group = words(("axy", 1.0), ("bxy", 0.0), ("cxy", 0.5))
    assert lists(group) == [[0.5, 0, 0], [-0.5, 0, 0], [0, 0, 0]]


def test_what_was_read_between_turns_is_part_of_the_path() -> None:
    """The same first words and different replies: the second turns are other branches."""
    first = told(1.0, turn([5]), turn([6], observation=(70,)))
    second = told(0.0, turn([5]), turn([6], observation=(71,)))
    third = told(0.4, turn([5]), turn([7], observation=(71,)))
    got = lists(siblings(first, second, third))
    assert [row[0] for row in got] == [0.0, 0.0, 0.0], "all took the same first decision"
    assert [row[1] for row in got] == pytest.approx([0.0, -0.2, 0.2])


def test_numeric_worlds_that_answer_by_chance_are_told_apart() -> None:
    """One action and two outcomes: the luck between them is nobody's decision."""
    lucky = told(1.0, turn([0, 1], observation=np.array([[0.0, 0.0], [1.0, 0.0]])))
    other = told(0.0, turn([0, 1], observation=np.array([[0.0, 0.0], [2.0, 0.0]])))
    assert lists(siblings(lucky, other)) == [[0.0, 0.0], [0.0, 0.0]]


def test_the_update_is_centering_at_every_branch_point() -> None:
    """Sum over answers of A_it per distinct decision equals that of r - mean of those at the node."""
    leaves = [("".join(w), r) for w, r in zip(itertools.product("ab", repeat=3), range(8), strict=True)]
    group = words(*leaves[:6], ("abb", 9.0))
    got, rewards = lists(group), rewards_of(group).tolist()
    paths = ["".join(map(chr, t.turns[0].decisions)) for t in group.trajectories]
    for depth, prefix in [(0, ""), (1, "a"), (1, "b"), (2, "ab"), (2, "ba")]:
        here = [i for i, path in enumerate(paths) if path.startswith(prefix)]
        mean = sum(rewards[i] for i in here) / len(here)
        for letter in "ab":
            took = [i for i in here if paths[i][depth] == letter]
            assert sum(got[i][depth] for i in took) == pytest.approx(sum(rewards[i] - mean for i in took))


def test_equals_teach_exactly_nothing() -> None:
    assert lists(words(("ab", 0.3), ("ac", 0.1 + 0.2), ("ab", 0.3))) == [[0.0, 0.0]] * 3


def test_answers_without_decisions_get_an_empty_advantage() -> None:
    assert lists(words(("", 1.0), ("", 0.0))) == [[], []]


def test_a_lonely_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="group of 1 has no baseline"):
        lists(words(("ab", 1)))
