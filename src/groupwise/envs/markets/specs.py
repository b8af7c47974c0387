"""`market:googl,cost=0.001` and `forecast:prices.csv,score=log`: from words to environments and rows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from groupwise.envs.markets.bars import Bars, bars
from groupwise.envs.markets.forecasting import Forecast
from groupwise.envs.markets.look_ahead import Peek, look_ahead, telling
from groupwise.envs.markets.prices import SHIPPED, PricesError, series
from groupwise.envs.markets.trading import Market
from groupwise.tasks.task import Row


@dataclass(frozen=True, slots=True)
class Trading:
    """Options of market:."""

    window: int = 16
    """Bars that one looks back."""
    cost: float = 0.0005
    """Share of what is traded."""
    length: int = 64
    """Decisions in an episode of training, and of the validation between steps."""
    shuffled: int = 0
    """Not 0: the control, returns in an order and with signs drawn by this number."""


@dataclass(frozen=True, slots=True)
class Forecasting:
    """Options of forecast:."""

    window: int = 16
    score: str = "brier"
    """brier or log."""
    bins: int = 21
    """Probabilities to choose from."""
    shuffled: int = 0


Options = Trading | Forecasting
KINDS: dict[str, type[Options]] = {"market": Trading, "forecast": Forecasting}


def is_market(name: str) -> bool:
    """True for the names that this module makes environments of."""
    return name.partition(":")[0] in KINDS


def make(name: str, prices: np.ndarray | None = None) -> Market | Forecast:
    """The environment that a name such as `market:googl,cost=0.001` is for; `prices` [T] in place of its own.

    Raises:
        PricesError: naming the prices or the option that cannot be, and the way out.
    """
    known, options = _read(name)
    if prices is not None:
        known = bars(replace(known.series, prices=prices), known.window)
    try:
        if isinstance(options, Trading):
            return Market(known, options.cost, options.length)
        return Forecast(known, options.score, options.bins)
    except ValueError as error:
        raise PricesError(f"{name}: {error}") from error


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Episodes of the validation part, one after the other; each row tells where it begins."""

    first: int
    length: int
    number: int
    trading: bool

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < self.number:
            raise IndexError(index)
        row = {"prompt": index, "start": self.first + index * self.length}
        return {**row, "length": self.length} if self.trading else row


def held_out(name: str) -> HeldOut:
    """Rows of validation. Training's starts are drawn by the environment, with the seed that it is given."""
    known, options = _read(name)
    part = known.part("validation")
    length = min(options.length, len(part)) if isinstance(options, Trading) else 1
    return HeldOut(part.first, length, len(part) // length, isinstance(options, Trading))


def foresight(name: str) -> Peek | None:
    """Whether the environment of this name shows or gives, after training, what depends on later prices."""
    known, _ = _read(name)
    part = known.part("validation")
    rows = held_out(name)
    found = [
        look_ahead(telling(partial(make, name), options=rows[i]), known.series.prices, part.first, seed=i)
        for i in (0, len(rows) // 2)
    ]
    return next(filter(None, found), None)


def _read(name: str) -> tuple[Bars, Options]:
    kind, _, rest = name.partition(":")
    prices, _, words = rest.partition(",")
    if not prices:
        raise PricesError(f"{name!r}: {kind}:PRICES; there are {', '.join(SHIPPED)}, and FILE.csv")
    options = _options(words, kind)
    return _bars(prices, options.window, options.shuffled), options


@lru_cache(maxsize=8)
def _bars(prices: str, window: int, shuffled: int) -> Bars:
    known = series(prices)
    return bars(known.shuffled(shuffled) if shuffled else known, window)


def _options(words: str, name: str) -> Options:
    usual = KINDS[name]()
    known = {f.name: getattr(usual, f.name) for f in fields(usual)}
    values: dict[str, Any] = {}
    for part in filter(None, (word.strip() for word in words.split(","))):
        option, _, value = (word.strip() for word in part.partition("="))
        if option not in known:
            default = ", ".join(f"{word}={value}" for word, value in known.items())
            raise PricesError(f"{name} has no option {part!r}. There are, with their defaults: {default}")
        kind = type(known[option])
        try:
            values[option] = kind(value)
        except ValueError as error:
            wanted = "a whole number" if kind is int else "a number"
            raise PricesError(f"{name}: {option}={value!r} has to be {wanted}") from error
    return KINDS[name](**values)
