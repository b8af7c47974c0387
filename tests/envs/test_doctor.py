"""The doctor says what is wrong, and what to do about it."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.spaces import Box, Dict, Discrete, Text  # noqa: E402

from groupwise.envs.doctor import examine  # noqa: E402
from groupwise.envs.findings import BAD, GOOD, LOOK, Finding  # noqa: E402
from groupwise.envs.make import make  # noqa: E402
from groupwise.envs.watch import Watch  # noqa: E402
from worlds import Countdown, Faulty, Toy, Unborn, Unseeded  # noqa: E402


def findings(make_env: Any, seconds: float = 0.2) -> dict[str, Finding]:
    return {finding.about: finding for finding in examine(make_env, seconds=seconds, most=20)}


class Constant(Countdown):
    """No reward at all, and every start the same."""

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen * 1000, 0.0, *rest


class Worldly(Countdown):
    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        return seen + random.random(), reward, *rest


class Redefined(Worldly):
    """Every reset makes its space of actions anew; what is seen depends on the action alone."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.action_space = Discrete(5)
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        return np.full(2, float(action)), *Countdown.step(self, action)[1:]


def test_a_space_that_every_reset_makes_anew_is_no_chance_of_the_worlds() -> None:
    """As highway-env does; actions drawn from the new one would be other ones in the second run."""
    assert findings(lambda: Redefined(99, cut=50))["seed"].mark == GOOD


class Worn(Countdown):
    """Every episode begins where the last one ended."""

    ends = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        seen, info = super().reset(seed=seed)
        return seen + self.np_random.random() + self.ends, info

    def step(self, action: Any) -> Any:
        self.ends += 0.1
        return super().step(action)


def test_an_environment_that_remembers_its_last_episode_is_told() -> None:
    """Two new ones agree, so only one that was used before tells."""
    found = findings(lambda: Worn(3))["seed"]
    assert found.mark == BAD
    assert "One that has played before" in found.said


class Rare(Countdown):
    """One start in twelve pays."""

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen, float(self.lucky), *rest

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.lucky = seed == 7
        return super().reset(seed=seed)


class Unbounded(Countdown):
    def step(self, action: Any) -> Any:
        seen, *rest = super().step(action)
        return seen + np.array([0.0, 9.0]), *rest


class Nowhere(Countdown):
    def step(self, action: Any) -> Any:
        seen, *rest = super().step(action)
        return seen * np.array([1.0, np.nan]), *rest


class Mute(Countdown):
    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen, None, *rest


def test_of_episodes_that_all_failed_nothing_else_is_said() -> None:
    """Means of nothing are NaN, with warnings of numpy's, and advice that leads away from the cause."""
    found = findings(lambda: Mute(3))
    assert "20 of 20 random episodes failed" in found["errors"].said
    assert "the reward is None, and has to be a number" in found["errors"].said
    assert not {"rewards", "episodes", "numbers"} & found.keys()


@pytest.mark.filterwarnings("ignore:a call into the environment hung")
def test_an_environment_that_hangs_is_told() -> None:
    watch = Watch(patience=0.3)
    found = {f.about: f for f in examine(lambda: Faulty("hangs"), seconds=0.2, most=20, watch=watch)}
    assert found["errors"].mark == BAD
    assert "It hung in its first steps" in found["errors"].said
    assert "HungError: it did not come back within 0.3 seconds" in found["errors"].said


def test_of_one_episode_nothing_is_concluded() -> None:
    found = findings(lambda: Constant(3), seconds=0.0)["rewards"]
    assert found.mark == LOOK
    assert "One episode says little" in found.said


def test_a_healthy_world_is_called_so() -> None:
    found = findings(partial(make, "CartPole-v1"))
    assert {f.mark for f in found.values()} <= {GOOD, LOOK}
    assert "4 numbers" in found["observations"].said
    assert "Discrete(2), played as Categorical" in found["actions"].said
    assert found["seed"].mark == found["snapshot"].mark == found["episodes"].mark == GOOD
    assert "a deep copy" in found["snapshot"].said
    assert "limit 500; 0 of 20 were cut" in found["episodes"].said
    assert "100% of steps have a reward" in found["rewards"].said
    assert "steps a second" in found["speed"].said


def test_pendulum_wants_its_rewards_normalised() -> None:
    found = findings(partial(make, "Pendulum-v1"))
    assert found["rewards"].mark == LOOK
    assert "So large a deviation drowns" in found["rewards"].said
    assert "--normalise-rewards" in found["rewards"].said
    assert "played as Squashed" in found["actions"].said


@pytest.mark.parametrize(
    ("make_env", "about", "mark", "words"),
    [
        (lambda: Unseeded(3), "seed", BAD, "reset(seed) does not decide the start"),
        (lambda: Worldly(99, cut=50), "seed", BAD, "part after 1 steps"),
        (lambda: Constant(3), "starts", LOOK, "Two seeds begin alike"),
        (lambda: Constant(3), "rewards", BAD, "All 20 returns are equal"),
        (lambda: Constant(3), "numbers", LOOK, "--normalise-observations"),
        (lambda: Constant(3), "episodes", GOOD, "none was needed; one that goes on is cut after 1000 steps"),
        (lambda: Constant(0, cut=0), "episodes", LOOK, " went on until they were cut, after 1000 steps"),
        (lambda: Countdown(9), "episodes", GOOD, "it cuts by itself: 20 of 20 were cut"),
        (lambda: Faulty("raises"), "errors", BAD, "RuntimeError: the motor is broken"),
        (lambda: Faulty("exits"), "errors", BAD, "RuntimeError: it wanted to exit"),
        (lambda: Faulty("reward"), "rewards", BAD, "no finite number"),
        (lambda: Faulty("observation"), "numbers", BAD, "; these are left out of training"),
        (
            lambda: Nowhere(3),
            "numbers",
            BAD,
            "in all 20 episodes, first in number 1 at step 1: none could be",
        ),
        (lambda: Rare(3), "rewards", LOOK, "66% of groups of 8 have equal returns"),
        (
            lambda: Unbounded(3),
            "bounds",
            LOOK,
            "75.0% of the observations leave their space: number 1 reached",
        ),
        (lambda: Faulty("shape"), "errors", BAD, "an observation of (3,), where its space has (2,)"),
        (lambda: Unborn(3), "errors", BAD, "OSError: no port is free"),
        (lambda: Toy(Text(3), Discrete(2)), "spaces", BAD, "observations Text"),
        (lambda: Toy(Dict({"a": Text(3), "b": Discrete(2)}), Discrete(2)), "observations", LOOK, "Left out"),
        (lambda: Toy(Box(-1, 1, (2,)), Box(-np.inf, np.inf, (1,))), "actions", LOOK, "from -inf to inf"),
    ],
)
def test_what_stands_in_the_way_is_named(make_env: Any, about: str, mark: str, words: str) -> None:
    found = findings(make_env)
    assert about in found, found
    assert found[about].mark == mark
    assert words in found[about].said
