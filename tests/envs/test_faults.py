"""Worlds that raise, hang, give no numbers or ignore their seed: counted, told, and not learned from."""

from __future__ import annotations

import copy
import signal
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from groupwise import metrics  # noqa: E402
from groupwise.advantages import assign, center  # noqa: E402
from groupwise.envs import watch  # noqa: E402
from groupwise.envs.classic import returns  # noqa: E402
from groupwise.envs.faults import FailedEpisodesWarning, UnequalStartsWarning  # noqa: E402
from groupwise.envs.networks import network  # noqa: E402
from groupwise.envs.sampler import EnvironmentSampler  # noqa: E402
from groupwise.envs.spaces import UnplayableError, controls, senses  # noqa: E402
from groupwise.envs.watch import HangWarning, HungError, Watch, Watched  # noqa: E402
from groupwise.groups import Order  # noqa: E402
from groupwise.packing import pack  # noqa: E402
from groupwise.policies import NetworkPolicy  # noqa: E402
from groupwise.recipes import DR_GRPO  # noqa: E402
from groupwise.rewards.scoring import TrainerState  # noqa: E402
from groupwise.trajectory import Prompt, StopReason  # noqa: E402
from worlds import Countdown, Faulty, Unborn, Unseeded  # noqa: E402


def playing(make_env: Any, **more: Any) -> EnvironmentSampler:
    env = make_env()
    seen, acted = senses(env.observation_space), controls(env.action_space)
    policy = NetworkPolicy(network(seen.layout, acted.outputs, acted.log_stds, 0), acted.distribution)
    return EnvironmentSampler(policy, make_env, seen, acted, 0, **more)


def orders(*starts: int, count: int = 6) -> list[Order]:
    return [Order(Prompt(i, start), count) for i, start in enumerate(starts)]


@pytest.mark.filterwarnings("ignore:a call into the environment hung")
@pytest.mark.parametrize(
    ("fault", "words", "made"),
    [
        ("raises", r"RuntimeError: the motor is broken \(.*worlds.py:67\)", 1),
        ("exits", "SystemExit: 3", 1),
        ("hangs", "HungError: it did not come back within 0.3 seconds", 1),
        ("observation", "the first after 2 steps: an observation that is not finite\\. They", 2),
        ("reward", "a reward of nan", 2),
        ("none", "TypeError: the reward is None, and has to be a number", 1),
        ("four", r"expected 5, got 4\); step has to return obs, reward, terminated, truncated, info", 1),
        ("shape", r"an observation of \(3,\), where its space has \(2,\)", 2),
    ],
)
def test_an_episode_that_fails_is_told_and_not_learned_from(fault: str, words: str, made: int) -> None:
    """Its siblings go on, and their baseline is without it."""
    played = playing(lambda: Faulty(fault), watch=Watch(patience=0.3))
    with pytest.warns(FailedEpisodesWarning, match=words):
        [group] = played.collect(orders(0))
    failed = [t.n_decisions < 2 or t.turns[0].decisions[1] == 1 for t in group.trajectories]
    assert 0 < sum(failed) < 6
    assert [t.stopped is StopReason.ERROR for t in group.trajectories] == failed
    assert {t.n_decisions for t, bad in zip(group.trajectories, failed, strict=True) if bad} == {made}
    [scored] = assign(returns([group], TrainerState()).cohort, center)
    assert [t.reward for t in scored.trajectories] == [None if bad else 2.0 for bad in failed]
    assert pack([scored], DR_GRPO, played.policy, 1000) is None  # the others are all alike
    numbers = metrics.of_cohort([scored])
    assert numbers["stopped/error"] == pytest.approx(sum(failed) / 6)
    assert numbers["rewards/unscored"] == pytest.approx(sum(failed) / 6)
    told = [s["extra"].get("error", "") for s in metrics.samples_of([scored])]
    assert [bool(t) for t in told] == failed


def test_a_failure_is_told_once_and_its_environment_made_anew() -> None:
    made = []

    def make_env() -> Any:
        made.append(Faulty("raises"))
        return made[-1]

    played = playing(make_env)
    with pytest.warns(FailedEpisodesWarning):
        [first] = played.collect(orders(0))
    failed = sum(t.stopped is StopReason.ERROR for t in first.trajectories)
    assert len(made) == 1 + 6 + failed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [again] = played.collect(orders(0))
    assert [t.n_decisions for t in again.trajectories] == [t.n_decisions for t in first.trajectories]


@pytest.mark.filterwarnings("ignore:a call into the environment hung")
def test_one_that_hangs_when_it_is_closed_does_not_hold_up_the_run() -> None:
    """As one whose other side of a connection is gone: to close it is to wait for it again."""

    class Stuck(Faulty):
        def close(self) -> None:
            time.sleep(60)

    began = time.monotonic()
    with pytest.warns(FailedEpisodesWarning, match="HungError"):
        playing(lambda: Stuck("hangs"), watch=Watch(patience=0.3)).collect(orders(0))
    assert time.monotonic() - began < 40


def test_a_step_in_which_nothing_succeeds_ends_the_run() -> None:
    """Else a run would go on for hours and learn nothing."""
    with pytest.raises(UnplayableError, match="all 6 episodes failed; the first after 0 steps: OSError"):
        playing(lambda: Unborn(3)).collect(orders(0))


def test_one_that_cannot_be_reset_has_an_empty_episode() -> None:
    born = iter([Countdown(3), *(Unborn(3) if i % 2 else Countdown(3) for i in range(6))])
    again = [Countdown(3)] * 3
    played = playing(lambda: next(born, None) or again.pop())
    with pytest.warns(FailedEpisodesWarning, match="3 of 6 episodes failed, the first after 0 steps"):
        [group] = played.collect(orders(0))
    [scored] = returns([group], TrainerState()).cohort
    assert [t.n_decisions for t in scored.trajectories] == [3, 0, 3, 0, 3, 0]
    assert metrics.of_cohort([scored])["completions/min_length"] == 0
    assert np.isnan(scored.rewards).sum() == 3
    assert pack(assign([scored], center), DR_GRPO, played.policy, 1000) is None


def test_an_environment_that_ignores_its_seed_is_played_with_a_warning() -> None:
    played = playing(lambda: Unseeded(3))
    with pytest.warns(UnequalStartsWarning, match="ignores the seed.*starts in a group are independent"):
        [group] = played.collect(orders(0))
    assert {t.stopped for t in group.trajectories} == {StopReason.FINISHED}
    played.collect(orders(0))  # told once: warnings are errors here
    playing(lambda: Unseeded(3)).collect(orders(0, 1, count=1))  # nobody to be compared with


def test_after_the_first_hang_nobody_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Siblings hang in the same place: each would cost the whole patience, in silence."""
    monkeypatch.setattr(watch, "LEAST", 0.1)
    real, intervals = signal.setitimer, []

    def noted(which: int, seconds: float, interval: float = 0.0) -> Any:
        intervals.append(interval)
        return real(which, seconds, interval)

    monkeypatch.setattr(signal, "setitimer", noted)
    with (
        pytest.warns(HangWarning, match=r"not come back within 1 seconds.*a call has 0\.1 seconds"),
        pytest.warns(FailedEpisodesWarning, match="HungError"),
    ):
        [group] = playing(lambda: Faulty("hangs"), watch=Watch(patience=1.0)).collect(orders(0, count=24))
    hung = sum(t.stopped is StopReason.ERROR for t in group.trajectories)
    assert hung > 3
    assert intervals == [1.0, 0.1, 0]


@pytest.mark.filterwarnings("ignore:a call into the environment hung")
def test_a_watch_ends_what_hangs_and_lets_go_of_the_timer() -> None:
    before = signal.getsignal(signal.SIGALRM)
    watch = Watch(patience=0.3)
    with watch.looking():
        time.sleep(0.8)  # not inside a call: the policy's own time is its own
        watch.calls, watch.inside = 1, True
        began = time.monotonic()
        with pytest.raises(HungError):
            time.sleep(60)
        assert time.monotonic() - began < 40
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.filterwarnings("ignore:a call into the environment hung")
def test_the_copy_of_a_watched_world_is_watched() -> None:
    """The doctor copies worlds to see whether that is exact: a copy that hangs would hold it up for ever."""
    watch = Watch(patience=0.3)
    copied = copy.deepcopy(Watched(Faulty("hangs"), watch))
    with watch.looking():
        copied.reset(seed=0)
        copied.step(1)
        with pytest.raises(HungError):
            copied.step(1)


@pytest.mark.filterwarnings("ignore:a call into the environment hung")
def test_many_short_calls_are_no_hang() -> None:
    watch = Watch(patience=1000)
    with watch.looking():
        for _ in range(3):
            with watch.call():
                signal.raise_signal(signal.SIGALRM)  # as the timer does
            signal.raise_signal(signal.SIGALRM)
        with watch.call():
            signal.raise_signal(signal.SIGALRM)
            with pytest.raises(HungError):
                signal.raise_signal(signal.SIGALRM)


def test_a_watch_in_another_thread_stands_back() -> None:
    """Signals belong to the main thread: episodes are played all the same."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.extend(playing(lambda: Countdown(3)).collect(orders(0))))
    thread.start()
    thread.join()
    assert [t.n_decisions for t in done[0].trajectories] == [3] * 6
