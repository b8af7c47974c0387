"""Gymnasium environments by name, with the way out where there is none."""

from __future__ import annotations

import difflib
from typing import Any

import gymnasium

from groupwise.envs.markets.specs import is_market
from groupwise.envs.markets.specs import make as market
from groupwise.envs.spaces import UnplayableError
from groupwise.user_code import UserCodeError, module_of

UNLIMITED_STEPS = 1000
"""Where an environment sets no limit to its episodes, they are cut here."""

OF_EXTRA, EXTRA = ("minigrid", "highway_env"), "pip install -e '.[worlds]'"
"""Modules whose environments an extra of ours brings, and how it is installed."""


def make(name: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """A gymnasium environment by `Id-v0`, `module:Id-v0`, `FILE.py:Id-v0`, or one of our own markets.

    Raises:
        PricesError: a market's prices or options cannot be used.
        UnplayableError: naming the id, the reason, and the names near it.
    """
    if is_market(name):
        return market(name)
    place, _, own = name.rpartition(":")
    if not place and own.endswith(".py"):
        place, own = own, ""
    known = set(gymnasium.registry)
    try:
        if place:
            module_of(place)  # importing it registers what it has
        if not own:
            raise gymnasium.error.UnregisteredEnv("there is no id")
        return gymnasium.make(own, disable_env_checker=True, **options)
    except UserCodeError as error:
        extra = f" It comes with {EXTRA}." if place in OF_EXTRA else ""
        raise UnplayableError(f"the environment {name!r}: {error}{extra}") from error
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        if place.endswith(".py"):
            new = ", ".join(sorted(set(gymnasium.registry) - known)) or "nothing new"
            asked = f", and not {own!r}" if own else ""
            raise UnplayableError(f"write {place}:ID. {place} registers {new}{asked}") from error
        raise UnplayableError(f"gymnasium has no environment {name!r}: {error}{_near(own)}") from error
    except (gymnasium.error.Error, ImportError) as error:
        raise UnplayableError(f"gymnasium cannot make {name!r}: {error}") from error
    except Exception as error:
        raise UnplayableError(f"{name} raised when it was made: {type(error).__name__}: {error}") from error


def _near(name: str) -> str:
    close = difflib.get_close_matches(name, list(gymnasium.registry), n=3, cutoff=0.5)
    near = f" Near it: {', '.join(close)}." if close else ""
    return f"{near} Those of another package are named with its module, as minigrid:MiniGrid-Empty-5x5-v0."


def limit_of(env: gymnasium.Env[Any, Any]) -> int | None:
    """Steps of an episode after which the environment itself ends it; None: it does not say."""
    return None if env.spec is None else env.spec.max_episode_steps
