"""Spaces to rows and actions: nothing lost, nothing out of bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

import torch  # noqa: E402
from gymnasium import spaces  # noqa: E402
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple  # noqa: E402

from groupwise.distributions import Categorical, Categoricals, Gaussian, Squashed  # noqa: E402
from groupwise.envs.networks import Layout, network  # noqa: E402
from groupwise.envs.spaces import UnplayableError, controls, senses  # noqa: E402

PIXELS = Box(0, 255, (20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("space", "width"),
    [
        (Box(-1, 1, (3,)), 3),
        (Box(-1, 1, (2, 3)), 6),
        (Box(-1, 1, ()), 1),
        (Box(0, 9, (7, 7, 3), np.uint8), 147),  # too small for a picture: a grid of numbers
        (Discrete(5), 5),
        (Discrete(5, start=3), 5),
        (MultiDiscrete([2, 3]), 5),
        (MultiBinary(4), 4),
        (Tuple((Box(0, 1, (2,)), Discrete(3))), 5),
        (Dict({"b": Box(0, 1, (2,)), "a": Discrete(3), "c": Tuple((MultiBinary(2),))}), 7),
    ],
)
def test_what_is_no_picture_is_flattened_as_gymnasium_does_it(space: spaces.Space[Any], width: int) -> None:
    space.seed(0)
    seen = senses(space)
    assert (seen.layout, seen.shape, seen.unread) == (Layout(width), (width,), ())
    for _ in range(5):
        sample = space.sample()
        row = seen.read(sample)
        assert row.dtype == np.float32
        assert np.array_equal(row, spaces.flatten(space, sample).astype(np.float32))


@pytest.mark.parametrize("space", [Box(-1, 1, (3,)), Box(-1, 1, (3, 2)), Dict({"a": Box(-1, 1, (3,))})])
def test_a_row_outlives_what_it_was_read_from(space: spaces.Space[Any]) -> None:
    """Some environments write what they show into the same memory each time: without a copy, all
    observations of an episode would be its last."""
    space.seed(0)
    sample = space.sample()
    row = senses(space).read(sample)
    kept = row.copy()
    (sample["a"] if isinstance(space, Dict) else sample)[:] = 7
    assert np.array_equal(row, kept)


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (PIXELS, (20, 30, 3)),
        (Box(0, 255, (16, 16), np.uint8), (16, 16, 1)),
        (Box(0, 255, (4, 84, 80), np.uint8), (84, 80, 4)),
        (Box(0, 255, (16, 84, 80), np.uint8), (84, 80, 16)),
    ],
)
def test_a_picture_keeps_its_bytes(space: Box, shape: tuple[int, int, int]) -> None:
    """Height, width, channels, whichever way round it came; four times smaller than floats."""
    space.seed(0)
    seen, sample = senses(space), space.sample()
    row = seen.read(sample)
    assert (seen.layout, seen.shape, row.shape, row.dtype) == (Layout(0, (shape,)), shape, shape, np.uint8)
    assert row[2, 3, -1] == (
        sample[2, 3] if sample.ndim == 2 else sample[-1, 2, 3] if shape[2] > 3 else sample[2, 3, -1]
    )
    kept = row.copy()
    sample[:] = 0  # the environment draws its next picture into the same memory
    assert np.array_equal(row, kept)


def test_a_picture_among_other_things_comes_last() -> None:
    space = Dict({"eye": PIXELS, "speed": Box(-9, 9, (2,)), "gear": Discrete(3)})
    space.seed(0)
    seen, sample = senses(space), space.sample()
    row = seen.read(sample)
    assert seen.layout == Layout(5, ((20, 30, 3),))
    assert row.shape == seen.shape == (5 + 1800,)
    assert np.array_equal(row[-1800:].reshape(20, 30, 3), sample["eye"])
    assert set(row[:5]) == {*sample["speed"], *np.eye(3)[sample["gear"]].astype(np.float32)}


def test_what_no_number_describes_is_left_out_by_name() -> None:
    space = Dict({"mission": Text(20), "inner": Dict({"direction": Discrete(4), "note": Text(3)})})
    seen = senses(space)
    assert seen.unread == ("inner.note", "mission")
    assert np.array_equal(seen.read({"mission": "go", "inner": {"direction": 2, "note": "x"}}), [0, 0, 1, 0])
    for space in (Text(5), spaces.Sequence(Box(0, 1)), Dict({"a": Text(3)})):
        with pytest.raises(UnplayableError, match="observations"):
            senses(space)


@pytest.mark.parametrize(
    ("space", "distribution", "outputs", "log_stds"),
    [
        (Discrete(3), Categorical(), 3, 0),
        (Discrete(3, start=-1), Categorical(), 3, 0),
        (MultiDiscrete([2, 5]), Categoricals((2, 5)), 7, 0),
        (MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [2, 3]]), Categoricals((2, 3, 4, 5)), 14, 0),
        (MultiBinary((2, 2)), Categoricals((2, 2, 2, 2)), 8, 0),
        (Box(-2, 2, (1,)), Squashed((2.0,)), 1, 1),
        (Box(np.array([-1, 0], np.float32), np.array([1, 0.3], np.float32)), None, 2, 2),
        (Box(-1, 1, (2, 2), np.float64), Squashed((1.0,) * 4), 4, 4),
        (Box(-np.inf, np.inf, (2,)), Gaussian(2), 2, 2),
        (Box(0, np.inf, (1,)), Gaussian(1), 1, 1),
        (Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (1,)), Gaussian(1), 1, 1),
    ],
)  # fmt: skip
def test_every_decision_is_an_action_of_the_space(
    space: spaces.Space[Any], distribution: Any, outputs: int, log_stds: int
) -> None:
    """At the very ends of the tanh too, where float32 rounds beyond a bound such as 0.3."""
    acted = controls(space)
    assert distribution in (None, acted.distribution)
    assert (acted.outputs, acted.log_stds) == (outputs, log_stds)
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(64, outputs + log_stds, generator=generator)
    uniform = torch.rand(64, acted.distribution.uniforms, generator=generator, dtype=torch.float64)
    decisions = acted.distribution.draw(given, uniform).numpy()
    if log_stds:
        decisions[0], decisions[1] = 100.0, -100.0
    actions = acted.actions(decisions)
    assert len(actions) == 64
    assert all(space.contains(action) for action in actions), actions[:2]
    if log_stds:
        assert np.array_equal(np.unique(actions[0]), np.unique(np.minimum(space.high, 100)))
    else:
        assert {str(a) for a in actions} == {str(a) for a in actions if space.contains(a)}


def test_choices_keep_their_order_and_their_start() -> None:
    assert controls(Discrete(3, start=-1)).actions(np.array([0, 1, 2])) == [-1, 0, 1]
    grid = MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [2, 3]])
    assert np.array_equal(controls(grid).actions(np.array([[1, 2, 3, 4]]))[0], [[1, 3], [5, 7]])


def test_real_decisions_count_from_the_middle() -> None:
    """0 is the middle; clipped, 1 is the bound; squashed, atanh of the place is."""
    box = Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
    decisions = np.array([[0.0, 0.0], [0.5, -0.5], [3.0, -3.0]], dtype=np.float32)
    assert np.allclose(controls(box, "clip").actions(decisions), [[0, 5], [1, 2.5], [2, 0]])
    assert np.allclose(
        controls(box).actions(np.arctanh(decisions[:2] * 0.9)), [[0, 5], [0.9, 2.75]], atol=1e-6
    )
    assert isinstance(controls(box, "clip").distribution, Gaussian)


@pytest.mark.parametrize(
    ("space", "bounds", "words"),
    [
        (Text(5), "squash", "actions Text"),
        (Dict({"a": Discrete(2)}), "squash", "actions Dict"),
        (Box(0, 5, (2,), np.int64), "squash", "actions Box"),
        (Box(1, 1, (2,)), "squash", "lower bound"),
        (Box(0, 1, (2,)), "reflect", "'reflect'.*squash and clip"),
    ],
)
def test_other_actions_are_refused(space: spaces.Space[Any], bounds: str, words: str) -> None:
    with pytest.raises(UnplayableError, match=words):
        controls(space, bounds)


@pytest.mark.parametrize(
    "layout", [Layout(4), Layout(0, ((20, 30, 3),)), Layout(5, ((16, 16, 1), (84, 84, 4)))], ids=str
)
def test_a_network_reads_its_layout_and_begins_near_uniform(layout: Layout) -> None:
    """And every weight has a say: a picture that is not looked at has no gradient."""
    width = layout.vector + sum(int(np.prod(p)) for p in layout.pictures)
    rows = torch.rand(3, width, generator=torch.Generator().manual_seed(0))
    if layout.pictures:
        rows[:, layout.vector :] *= 255
    if len(layout.pictures) == 1 and not layout.vector:
        rows = rows.to(torch.uint8).unflatten(-1, layout.pictures[0])
    net = network(layout, 2, 2, seed=0)
    out = net(rows)
    assert out.shape == (3, 4)
    assert (out[:, :2].abs() < 0.2).all()
    assert torch.equal(out[:, 2:], torch.full((3, 2), math.log(0.6)))
    out.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_networks_are_drawn_by_the_seed_and_leave_other_chance_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    nets = [network(Layout(4, ((16, 16, 3),)), 2, 0, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    weights = [torch.cat([p.flatten() for p in net.parameters()]) for net in nets]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
