"""From what a user writes to a reward: `my_reward.py:score=0.5`, `package.module:score`, `random`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from groupwise.rewards import learned
from groupwise.rewards.chance import chance
from groupwise.rewards.fluency import fluency
from groupwise.rewards.judge import judge
from groupwise.rewards.relevance import relevance
from groupwise.rewards.scoring import Reward
from groupwise.user_code import UserCodeError, module_of

BUILT_IN: dict[str, Callable[[str], Callable[..., object]]] = {
    "random": chance,
    "fluency": fluency,
    "relevance": relevance,
    "judge": judge,
}
"""Rewards that take settings, by name; each is given the text after the colon."""


def load_reward(spec: str) -> Reward:
    """A function, a built-in reward or a reward model, with `=WEIGHT` at the end if it is not 1.

    `file.py:function`, `module:function`, a name with or without `:settings`, a folder that `groupwise
    reward train` wrote, `reward-model:ID`.

    A file is run once, however many of its functions are asked for. Modules beside the file, and
    modules in the working folder, can be imported.

    Raises:
        UserCodeError: there is no such file, module or function, or it raised when imported.
        ValueError: settings that a built-in reward does not understand.
    """
    known, equals, weight = spec.partition("=")
    known, _, settings = known.partition(":")
    if known in BUILT_IN:
        return Reward(known, BUILT_IN[known](settings), _weight(weight, spec) if equals else 1.0)
    if (model := _reward_model(spec)) is not None:
        return model
    place, colon, rest = spec.rpartition(":")
    name, equals, weight = rest.partition("=")
    if not colon or not place or not name:
        raise UserCodeError(
            f"{spec!r} does not name a function. Write file.py:function or module:function, "
            "such as my_reward.py:score, or with a weight my_reward.py:score=0.5. "
            f"Built in: {', '.join(BUILT_IN)}. A reward model: its folder, or reward-model:ID."
        )
    number = _weight(weight, spec) if equals else 1.0
    module = module_of(place)
    function = _function(module, name, place)
    own = getattr(function, "__name__", name)
    return Reward(own if own.isidentifier() else name, function, number)


def _reward_model(spec: str) -> Reward | None:
    place, equals, weight = spec.rpartition("=")
    if equals and (found := learned.named(place)) is not None:
        return replace(found, weight=_weight(weight, spec))
    return learned.named(spec)


def _weight(text: str, spec: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise UserCodeError(f"{spec!r}: the weight {text!r} is no number. Write it as in score=0.5.")
    return weight


def _function(module: ModuleType, name: str, place: str) -> Callable[..., object]:
    if not hasattr(module, name):
        public = {n: v for n, v in vars(module).items() if inspect.isfunction(v) and not n.startswith("_")}
        own = [n for n, v in public.items() if v.__module__ == module.__name__]
        there = f"It has: {', '.join(own)}." if own else "It has no functions."
        raise UserCodeError(f"{place} has no function {name!r}. {there}")
    function = getattr(module, name)
    if inspect.isclass(function) or not callable(function):
        raise UserCodeError(
            f"{name!r} in {place} is a {type(function).__name__}, not a function: "
            f"def {name}(completions, **columns) -> list[float]."
        )
    found: Callable[..., object] = function
    return found
