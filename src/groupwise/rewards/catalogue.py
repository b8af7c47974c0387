"""From what a user writes to a reward: `my_reward.py:score=0.5`, `package.module:score`, `random`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

import torch

from groupwise.rewards import judge_settings, learned
from groupwise.rewards.chance import chance
from groupwise.rewards.fluency import fluency
from groupwise.rewards.frozen import DEFAULT
from groupwise.rewards.judge import judge
from groupwise.rewards.relevance import relevance
from groupwise.rewards.scoring import Reward
from groupwise.user_code import UserCodeError, module_of

BUILT_IN: dict[str, Callable[[str, torch.device | None], Callable[..., object]]] = {
    "random": lambda settings, device: chance(settings),
    "fluency": lambda settings, device: fluency(settings, device=device),
    "relevance": relevance,
    "judge": judge,
}
"""Rewards that take settings, by name; each is given the text after the colon, and where its model goes."""


@dataclass(frozen=True, slots=True)
class Held:
    """A frozen model that a reward keeps in memory beside the one in training."""

    name: str
    """A folder, a hub id or pip:PACKAGE."""
    head: str
    """What the class of transformers that loads it ends in: ForCausalLM, or nothing."""
    exact: bool = False
    """In float32; else as its device computes fast in."""


def held_by(spec: str) -> tuple[Held, ...]:
    """The models of a reward that is written as for `load_reward`; none is loaded.

    Raises:
        ValueError: settings of a judge that cannot be read.
    """
    known, _, settings = spec.partition("=")[0].partition(":")
    if known == "fluency":
        return (Held(settings or DEFAULT, "ForCausalLM"),)
    if known == "relevance":
        return (Held(settings, ""),) if settings else ()
    if known == "judge":
        local = judge_settings.read(settings).local
        return (Held(local, "ForCausalLM"),) if local else ()
    place, equals, _ = spec.rpartition("=")
    found = (learned.models(place) if equals else ()) or learned.models(spec)
    return tuple(Held(name, "ForSequenceClassification", exact=True) for name in found)


def load_reward(spec: str, device: torch.device | None = None) -> Reward:
    """A function, a built-in reward or a reward model, with `=WEIGHT` at the end if it is not 1.

    `file.py:function`, `module:function`, a name with or without `:settings`, a folder that `groupwise
    reward train` wrote, `reward-model:ID`.

    A file is run once, however many of its functions are asked for. Modules beside the file, and
    modules in the working folder, can be imported.

    Args:
        device: where a model that it asks is loaded; the best one unless given.

    Raises:
        UserCodeError: there is no such file, module or function, or it raised when imported.
        ValueError: settings that a built-in reward does not understand.
    """
    known, equals, weight = spec.partition("=")
    known, _, settings = known.partition(":")
    if known in BUILT_IN:
        return Reward(known, BUILT_IN[known](settings, device), _weight(weight, spec) if equals else 1.0)
    if (model := _reward_model(spec, device)) is not None:
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


def _reward_model(spec: str, device: torch.device | None) -> Reward | None:
    place, equals, weight = spec.rpartition("=")
    if equals and (found := learned.named(place, device)) is not None:
        return replace(found, weight=_weight(weight, spec))
    return learned.named(spec, device)


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
