"""Prices are read as they are, oldest first, or refused by line."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from groupwise.envs.markets.prices import PricesError, series
from markets import of, walk


def written(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


def test_the_adjusted_close_goes_before_the_close(tmp_path: Path) -> None:
    """A split is no loss: the column that is adjusted for it is taken, whatever the order and the case."""
    text = "\ufeffDate,Close,ADJ Close\n2020-01-01,200,100\n2020-01-02,101,101\n"
    read = series(written(tmp_path / "a.csv", text))
    assert read.prices.tolist() == [100, 101]
    assert read.times == ("2020-01-01", "2020-01-02")
    assert read.name == "a"
    assert series(written(tmp_path / "b.csv", "price\n3\n4.5\n")).prices.tolist() == [3, 4.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("date,close\n2020-01-02,2\n2020-01-01,1\n", "line 3: 2020-01-01 comes after 2020-01-02; rows go"),
        ("date,close\n2020-01-02,2\n2020-01-02,1\n", "line 3: 2020-01-02 comes after"),
        ("time,close\n02.01.2017 00:00:00.000,2\n31.12.2016 00:00:00.000,1\n", "line 3: 31.12.2016"),
        ("Date,close\n01/28/2018,2\n01/27/2018,1\n", "line 3: 01/27/2018 comes after 01/28/2018"),
        ("Date,close\n03/02/2018,2\n02/01/2018,1\n", "line 3: 02/01/2018 comes after 03/02/2018"),
        ("timestamp,close\n1517356800,2\n1517270400,1\n", "line 3: 1517270400 comes after 1517356800"),
        ("date,time,close\n2020-01-02,10:00,2\n2020-01-02,09:00,1\n", "line 3: 2020-01-02 09:00 comes after"),
        ("date,close\nMonday,2\nTuesday,1\n", "times such as 'Monday' are not all of one form that is known"),
        ("date,close\n2018-01-01,2\n02/01/2018,1\n", "times such as '2018-01-01' are not all of one form"),
        ("close\n1\nnone\n", "line 3: close is 'none', no number"),
        ("close\n1\n0\n", "bar 1 has the price 0.0; prices are above 0"),
        ("close\n1\nnan\n", "bar 1 has the price nan"),
        ("open,high\n1,2\n", "has the columns open, high; one has to be called adj close, close or price"),
        ("close\n", "no rows under its header"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PricesError, match=re.escape(words)):
        series(written(tmp_path / "a.csv", text))


def test_days_before_months_are_read_in_their_order(tmp_path: Path) -> None:
    """As texts these go down: 31.01. comes after 01.02."""
    text = "Time,close\n31.01.2017 22:00:00.000,1\n01.02.2017 01:00:00.000,2\n"
    assert len(series(written(tmp_path / "a.csv", text)).prices) == 2


@pytest.mark.parametrize(
    "times",
    [
        ("01/31/2018", "02/01/2018"),
        ("31/01/2018", "01/02/2018"),
        ("2018/01/31 22:00", "2018/02/01 01:00"),
        ("1517356800", "1517443200"),
        ("2018-10-28T02:30+02:00", "2018-10-28T02:00+01:00"),
    ],
)
def test_times_are_read_in_many_forms(times: tuple[str, str], tmp_path: Path) -> None:
    """The last: an hour that there is twice when summer ends."""
    text = f"Date,close\n{times[0]},1\n{times[1]},2\n"
    assert series(written(tmp_path / "a.csv", text)).times == times


def test_an_hour_may_have_a_column_of_its_own(tmp_path: Path) -> None:
    text = "date,time,close\n2020-01-02,09:00,2\n2020-01-02,10:00,1\n"
    assert series(written(tmp_path / "a.csv", text)).times == ("2020-01-02 09:00", "2020-01-02 10:00")


def test_unknown_prices_are_told_with_those_near() -> None:
    with pytest.raises(PricesError, match=r"no prices 'gogl'\. Did you mean 'googl'"):
        series("gogl")


def test_the_shipped_series_are_whole() -> None:
    if importlib.util.find_spec("gym_anytrading") is None:
        pytest.skip("gym-anytrading is not installed")
    googl, euro = series("googl"), series("eurusd")
    assert (len(googl.prices), googl.times[0], googl.times[-1]) == (2335, "2009-05-22", "2018-08-29")
    assert (len(euro.prices), euro.name) == (6225, "eurusd")
    assert 1.03 < euro.prices.min() < euro.prices.max() < 1.25


def test_shuffled_returns_are_the_same_sizes_in_another_order() -> None:
    """The control would be no control if it kept order or drift, or invented moves."""
    real = walk()
    one, other = real.shuffled(1), real.shuffled(2)
    moves, shuffled, again = (np.diff(np.log(s.prices)) for s in (real, one, other))
    assert np.allclose(np.sort(np.abs(moves)), np.sort(np.abs(shuffled)))
    assert abs(np.corrcoef(np.abs(moves), np.abs(shuffled))[0, 1]) < 0.2
    assert not np.allclose(shuffled, again)
    assert np.array_equal(one.prices, real.shuffled(1).prices)
    steady = of(1.01 ** np.arange(2000))
    ups = (np.diff(np.log(steady.shuffled(1).prices)) > 0).mean()
    assert 0.45 < ups < 0.55  # drift is gone
