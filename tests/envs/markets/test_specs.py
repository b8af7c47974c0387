"""From words to a market: options, rows of validation, and a whole run."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("gymnasium")

from groupwise.config import build
from groupwise.envs import classic
from groupwise.envs.make import make as make_any
from groupwise.envs.markets.forecasting import Forecast, log_score
from groupwise.envs.markets.prices import PricesError
from groupwise.envs.markets.specs import foresight, held_out, make
from groupwise.envs.markets.trading import Market
from groupwise.groups import Order
from groupwise.market_commands import backtest_command, probabilities
from groupwise.settings import ConfigError, Settings
from groupwise.trainer import evaluate, train
from groupwise.world_commands import doctor_command, play_command
from markets import save, walk


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    return save(tmp_path / "prices.csv", walk().prices)


def test_options_reach_the_market(prices: Path) -> None:
    market = make(f"market:{prices},window=4, cost=0.01,length=20")
    assert isinstance(market, Market)
    assert (market.bars.window, market.cost, market.length) == (4, 0.01, 20)
    forecast = make(f"forecast:{prices},score=log,bins=5")
    assert isinstance(forecast, Forecast)
    assert forecast.score is log_score
    assert len(forecast.probabilities) == 5
    control = make(f"market:{prices},shuffled=3")
    assert np.array_equal(control.bars.series.prices, make(f"market:{prices}").bars.series.shuffled(3).prices)
    assert make_any(f"market:{prices}").bars is make(f"market:{prices}").bars


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("market:", "'market:': market:PRICES; there are googl, eurusd, and FILE.csv"),
        ("market:{},fee=1", "market has no option 'fee=1'. There are, with their defaults: window=16, cost"),
        ("market:{},window=few", "market: window='few' has to be a whole number"),
        ("market:{},cost=much", "market: cost='much' has to be a number"),
        ("market:{},shuffled=-1", "shuffled=-1: a seed, 1 or more"),
        ("market:{},cost=0.7", "cost=0.7: a share of what is traded"),
        ("forecast:{},score=roc", "score=roc: there are brier, log"),
        ("market:{},window=40", "300 bars; with window=40 a fifth of them has to hold two windows"),
    ],
)
def test_words_that_name_nothing_are_told(prices: Path, words: str, complaint: str) -> None:
    with pytest.raises(PricesError, match=re.escape(complaint)):
        make(words.format(prices))


def test_held_out_rows_go_through_validation_once(prices: Path) -> None:
    """Each bar of validation is decided on once, but for a rest that makes no whole episode."""
    rows, part = (
        held_out(f"market:{prices},window=4,length=20"),
        make(f"market:{prices},window=4").bars.parts[1],
    )
    starts = [rows[i]["start"] for i in range(len(rows))]
    assert starts == list(range(part.first, part.last - 19, 20))
    assert {rows[i]["length"] for i in range(len(rows))} == {20}
    asked = held_out(f"forecast:{prices},window=4")
    assert [asked[i]["start"] for i in range(len(asked))] == list(range(part.first, part.last))
    with pytest.raises(IndexError):
        asked[len(asked)]


def test_siblings_live_through_the_same_prices_and_held_out_play_through_validation(prices: Path) -> None:
    name = f"market:{prices},window=4,length=20"
    sampler, task = classic.player(name, 0, "squash"), classic.task(name)
    groups = sampler.collect([Order(prompt, 3) for prompt in task.stream(0, 2, 0)])
    for group in groups:
        shown = [t.turns[0].observation[:, :-1] for t in group.trajectories]
        assert np.array_equal(shown[0], shown[1])
        assert np.array_equal(shown[0], shown[2])
    assert not np.array_equal(*(g.trajectories[0].turns[0].observation[:, :-1] for g in groups))
    known = make(name).bars
    for i, prompt in enumerate(task.examples(3)):
        [group] = sampler.collect([Order(prompt, 1)], greedy=True)
        first = known.parts[1].first + 20 * i
        expected = known.features[first : first + 20]
        assert np.array_equal(group.trajectories[0].turns[0].observation[:, :-1], expected)


def test_an_episode_may_be_longer_than_that_of_an_endless_world(tmp_path: Path) -> None:
    """Cut after 1000 steps, as worlds without a limit are, it would not be closed, nor pay for that."""
    name = f"market:{save(tmp_path / 'long.csv', walk(2000).prices)},window=4,length=1100"
    [group] = classic.player(name, 0, "squash").collect([Order(classic.task(name).stream(0, 1, 0)[0], 2)])
    assert [t.n_decisions for t in group.trajectories] == [1100, 1100]


def test_the_check_begins_after_training_and_passes_our_own(prices: Path) -> None:
    assert foresight(f"market:{prices},window=4") is None
    assert foresight(f"forecast:{prices},window=4") is None


def trained(tmp_path: Path, task: str, **more: int) -> Path:
    from groupwise import runs

    settings = Settings(task=task, device="cpu", out=tmp_path / "run", **more)
    runs.begin(tmp_path / "run", settings)
    built = build(settings, tmp_path / "run", Console(file=io.StringIO()), lambda: False)
    train(built.run)
    built.journal.close()
    return tmp_path / "run"


def test_a_run_is_trained_and_looked_at_on_later_bars(prices: Path, tmp_path: Path) -> None:
    task = f"market:{prices},window=4,length=10"
    run = trained(tmp_path, task, steps=2, prompts=2, group_size=2)
    told = Console(file=io.StringIO(), width=200)
    assert backtest_command([str(run)], told) == 0
    text = told.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=f"no pictures: groupwise backtest {run}"):
        play_command([str(run)], told)
    known = make(task).bars
    for part in ("validation", "test"):
        assert f"prices, {part}, {len(known.part(part))} bars, cost 0.0005" in text
    assert text.count("random") == text.count("flat") == 2


def test_a_forecasters_run_says_the_mean_of_what_it_would_draw(prices: Path, tmp_path: Path) -> None:
    from groupwise import runs

    task = f"forecast:{prices},window=4,bins=4"
    run = trained(tmp_path, task, steps=1, prompts=2, group_size=2)
    told = Console(file=io.StringIO(), width=200)
    assert backtest_command([str(run)], told) == 0
    assert "always 0.5" in told.file.getvalue()  # type: ignore[attr-defined]
    opened = runs.opened(str(run)).run
    said = probabilities(make(task), "test", opened.sampler)  # type: ignore[arg-type]
    assert len(said) == len(make(task).bars.part("test"))
    assert np.abs(said - 0.5).max() < 0.1  # near-uniform at the start
    scores = evaluate(opened.sampler, opened.score, opened.task, 10_000)
    assert len(scores.answers) == len(make(task).bars.part("validation"))


def test_a_backtest_is_of_a_market(tmp_path: Path) -> None:
    run = trained(tmp_path, "gym:CartPole-v1", steps=1, prompts=1, group_size=2, held_out=1)
    with pytest.raises(ConfigError, match="is of gym:CartPole-v1; a backtest is of market:PRICES"):
        backtest_command([str(run)], Console(file=io.StringIO()))


def test_the_doctor_looks_for_the_future(prices: Path) -> None:
    told = Console(file=io.StringIO(), width=200)
    assert doctor_command([f"market:{prices},window=4,length=10", "--seconds", "0.1"], told) == 0
    assert "Nothing that it shows or gives changes when later prices do" in told.file.getvalue()  # type: ignore[attr-defined]


def test_a_market_learns_where_there_is_something_to_learn(tmp_path: Path) -> None:
    """A price that swings: after two falls come two rises. Holding earns nothing, following it much."""
    swing = 100 * np.exp(0.02 * np.tile([0, 1, 2, 1], 100))
    task = f"market:{save(tmp_path / 'swing.csv', swing)},window=4,length=16"
    settings = Settings(task=task, device="cpu", steps=15, prompts=4, learning_rate=0.01, seed=1)
    built = build(settings, tmp_path, Console(file=io.StringIO()), lambda: False)
    state = train(built.run)
    built.journal.close()
    after = evaluate(built.run.sampler, built.run.score, built.run.task, 20).scores["return"]
    most = 0.02 * 14
    assert after > 0.9 * most > state.before["return"]
