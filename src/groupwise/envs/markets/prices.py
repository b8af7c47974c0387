"""Series of prices: those that gym-anytrading ships, or a file of the user's own."""

from __future__ import annotations

import csv
import difflib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

SHIPPED = {"googl": "STOCKS_GOOGL", "eurusd": "FOREX_EURUSD_1H_ASK"}
"""Alphabet's share by the day, 2009 to 2018; the euro in dollars by the hour, 2017."""
COLUMNS = ("adj close", "close", "price")
"""Whose values are taken, the first that is there."""
TIMES = ("date", "time", "datetime", "timestamp")


class PricesError(ValueError):
    """Prices that cannot be found or used; names the file, the row and the way out."""


@dataclass(frozen=True, slots=True)
class Series:
    """Prices by bar, the oldest first."""

    name: str
    prices: np.ndarray
    """[T] float64, above 0."""
    times: tuple[str, ...] = ()
    """Of each bar, as the file has them; empty where it has none."""

    def __post_init__(self) -> None:
        wrong = np.flatnonzero(~(np.isfinite(self.prices) & (self.prices > 0)))
        if len(wrong):
            raise PricesError(
                f"{self.name}: bar {wrong[0]} has the price {self.prices[wrong[0]]}; prices are above 0"
            )

    def shuffled(self, seed: int) -> Series:
        """The same returns in an order, and with signs, that are drawn: nothing to be learnt is left."""
        if seed < 0:
            raise PricesError(f"shuffled={seed}: a seed, 1 or more")
        draw = np.random.default_rng(seed)
        returns = draw.permutation(np.diff(np.log(self.prices)))
        returns *= draw.choice((-1.0, 1.0), len(returns))
        prices = self.prices[0] * np.exp(np.concatenate([[0.0], returns.cumsum()]))
        return replace(self, name=f"{self.name}, shuffled {seed}", prices=prices)


def series(name: str) -> Series:
    """`googl`, `eurusd` or FILE.csv with a column of prices (adj close, close or price).

    Raises:
        PricesError: there is none of that name, or its rows cannot be used.
    """
    if name in SHIPPED:
        return replace(_read(_shipped(name)), name=name)
    path = Path(name).expanduser()
    if path.is_file():
        return _read(path)
    near = difflib.get_close_matches(name, SHIPPED, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise PricesError(f"there are no prices {name!r}.{hint} There are {', '.join(SHIPPED)}, and FILE.csv.")


def _shipped(name: str) -> Path:
    # found and not imported: that would bring pandas and matplotlib, for rows that csv reads
    found = importlib.util.find_spec("gym_anytrading")
    places = found.submodule_search_locations if found is not None else None
    if not places:
        raise PricesError(f"the prices {name!r} come with gym-anytrading: pip install -e '.[market]'")
    return Path(places[0]) / "datasets" / "data" / f"{SHIPPED[name]}.csv"


def _read(path: Path) -> Series:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PricesError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise PricesError(f"{path} has no rows under its header")
    named = {str(name).strip().lower(): name for name in rows[0]}
    price = next((named[c] for c in COLUMNS if c in named), None)
    if price is None:
        raise PricesError(
            f"{path} has the columns {', '.join(map(str, rows[0]))}; one has to be called "
            f"{', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
        )
    values = []
    for number, row in enumerate(rows, start=2):
        try:
            values.append(float(row[price]))
        except (TypeError, ValueError) as error:
            raise PricesError(f"{path}, line {number}: {price} is {row[price]!r}, no number") from error
    columns = [named[c] for c in TIMES if c in named]
    of_day = 2 if {"date", "time"} <= named.keys() else 1  # a day and an hour, in columns of their own
    times = tuple(" ".join(str(row[c]) for c in columns[:of_day]) for row in rows) if columns else ()
    _refuse_disorder(path, times)
    return Series(path.stem, np.array(values), times)


def _refuse_disorder(path: Path, times: Sequence[str]) -> None:
    """Newest first, as some sites give them, the past would be the future."""
    read = [moments for reading in READINGS if (moments := _moments(times, reading)) is not None]
    if times and not read:
        raise PricesError(
            f"{path}: times such as {times[0]!r} are not all of one form that is known (2018-01-31, "
            "31.01.2018, 01/31/2018, with or without an hour, or seconds since 1970), so nobody can tell "
            "whether rows go from the oldest to the newest. Write them so, or leave the column out if they do"
        )
    wrong = [number for moments in read if (number := _out_of_order(moments))]
    if read and len(wrong) == len(read):  # 01/02 is in January or in February
        number = wrong[0]
        raise PricesError(
            f"{path}, line {number}: {times[number - 2]} comes after {times[number - 3]}; "
            "rows go from the oldest to the newest, each once"
        )


def _out_of_order(moments: Sequence[float]) -> int:
    """The line of the first that is not later than the one before; 0 where all are."""
    return next((n for n, (one, two) in enumerate(pairwise(moments), start=3) if two <= one), 0)


def _moments(times: Sequence[str], reading: Callable[[str], float]) -> list[float] | None:
    """Seconds; None where some cannot be read so."""
    try:
        return [reading(time.strip()) for time in times]
    except ValueError:
        return None


def _iso(time: str) -> float:
    return _seconds(datetime.fromisoformat(time))


def _form(form: str, time: str) -> float:
    return _seconds(datetime.strptime(time, form))


def _epoch(time: str) -> float:
    if not math.isfinite(seconds := float(time)):
        raise ValueError(time)
    return seconds


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


READINGS: tuple[Callable[[str], float], ...] = (
    _iso,
    *(
        partial(_form, day + hour)
        for day in ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d")
        for hour in ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f")
    ),
    _epoch,
)
"""Ways to read the times of a file: all by one."""
