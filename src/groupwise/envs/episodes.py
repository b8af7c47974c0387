"""One episode: what was seen, decided and given, and how it came to its end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from groupwise.envs.normalise import Normaliser
from groupwise.envs.spaces import Senses
from groupwise.envs.watch import Watch
from groupwise.trajectory import PolicyTag, Prompt, StopReason, Trajectory, Turn
from groupwise.user_code import where

SHAPES = {
    "(expected 5": "step has to return obs, reward, terminated, truncated, info",
    "(expected 2": "reset has to return obs, info",
}
"""What to say where gymnasium unpacks something else."""


def number(reward: Any) -> float:
    """A reward as a float; TypeError where it is none."""
    try:
        return float(reward)
    except (TypeError, ValueError):
        raise TypeError(f"the reward is {reward!r:.80}, and has to be a number") from None


def told(error: BaseException) -> str:
    """What an environment raised, where in the user's code, and what its shape has to be."""
    text = str(error)
    hint = next((f"; {said}" for sign, said in SHAPES.items() if "to unpack " + sign in text), "")
    return f"{type(error).__name__}: {text}{hint}{where(error)}"


class Episode:
    """One episode under way. A world that fails ends it; it does not end the run."""

    observation: np.ndarray
    """What is decided on next, a row of the layout as the environment gave it."""

    def __init__(
        self, prompt: Prompt, sample: int, env: Any, senses: Senses, watch: Watch, limit: int
    ) -> None:
        self.prompt, self.sample, self.env = prompt, sample, env
        self.observations: list[np.ndarray] = []
        self.decisions: list[Any] = []
        self.logp: list[float] = []
        self.rewards: list[float] = []
        self.stopped: StopReason | None = None
        self.error = ""
        self._senses, self._watch, self._limit = senses, watch, limit

    def begin(self, seed: int) -> None:
        """Reset it; the other columns of its row are gymnasium's `options`."""
        try:
            with self._watch.call():
                # environments need not know of options, so they are given where there are some
                options = {"options": dict(self.prompt.columns)} if self.prompt.columns else {}
                observation, _ = self.env.reset(seed=seed, **options)
                self._see(observation)
        except (Exception, SystemExit) as error:
            self.fail(told(error))

    def step(self, decision: Any, action: Any, logp: float) -> None:
        """Note the decision, and do the action that it stands for."""
        self.observations.append(self.observation)
        self.decisions.append(decision)
        self.logp.append(logp)
        watch = self._watch  # its `call` by hand: every step pays for it
        watch.calls += 1
        watch.inside = True
        try:
            observation, reward, terminated, truncated, _ = self.env.step(action)
            self._end(number(reward), bool(terminated), bool(truncated))
            if self.stopped is None:
                self._see(observation)
        except (Exception, SystemExit) as error:  # some end the program where a window was closed
            self.fail(told(error))
        finally:
            watch.inside = False

    def _see(self, observation: Any) -> None:
        self.observation = self._senses.row(observation)

    def _end(self, reward: float, terminated: bool, truncated: bool) -> None:
        self.rewards.append(reward)
        if not math.isfinite(reward):
            self.fail(f"a reward of {reward}")
        elif terminated:
            self.stopped = StopReason.FINISHED
        elif truncated or len(self.rewards) >= self._limit:
            self.stopped = StopReason.LENGTH

    def fail(self, error: str) -> None:
        """End it as one that says nothing about the policy."""
        self.stopped, self.error = StopReason.ERROR, error

    def rows(self) -> np.ndarray:
        """[T, ...] what was decided on, as the environment gave it; a step that raised is left out."""
        made = len(self.rewards)
        return np.stack(self.observations[:made]) if made else np.empty((0, *self._senses.shape), np.float32)

    def trajectory(self, tag: PolicyTag, normaliser: Normaliser, greedy: bool) -> Trajectory:
        """As the policy saw it; the rewards of greedy play are as the environment gave them."""
        assert self.stopped is not None
        made = len(self.rewards)
        given = np.array(self.rewards)
        turn = Turn(
            normaliser.rows(self.rows()),
            np.array(self.decisions[:made]),
            np.array(self.logp[:made], dtype=np.float32),
            given if greedy else normaliser.rewards(given),
        )
        extra = {"error": self.error} if self.error else {}
        return Trajectory((turn,), tag, self.stopped, parts={"return": float(given.sum())}, extra=extra)
