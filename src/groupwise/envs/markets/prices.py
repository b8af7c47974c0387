"""Series of prices: those that gym-anytrading ships, or a file of the user's own."""

from __future__ import annotations

import csv
import difflib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
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
    time = next((named[c] for c in TIMES if c in named), None)
    times = tuple(str(row[time]) for row in rows) if time is not None else ()
    _refuse_disorder(path, times)
    return Series(path.stem, np.array(values), times)


def _refuse_disorder(path: Path, times: Sequence[str]) -> None:
    """Newest first, as some sites give them, the past would be the future."""
    moments = [_moment(time) for time in times]
    for number, (one, two) in enumerate(pairwise(moments), start=3):
        if one is not None and two is not None and two <= one:
            raise PricesError(
                f"{path}, line {number}: {times[number - 2]} comes after {times[number - 3]}; "
                "rows go from the oldest to the newest, each once"
            )


def _moment(time: str) -> datetime | None:
    for form in (None, "%d.%m.%Y %H:%M:%S.%f"):
        try:
            moment = datetime.fromisoformat(time) if form is None else datetime.strptime(time, form)
        except ValueError:
            continue
        return moment.replace(tzinfo=None)
    return None
