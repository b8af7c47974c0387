"""From what a user writes to what is trained on: `gsm8k`, `my_rows.jsonl`, `my_reward.py:score=0.5`."""

from __future__ import annotations

import difflib
import inspect
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from groupwise.rewards.scoring import Reward
from groupwise.tasks.arithmetic import arithmetic
from groupwise.tasks.code import code
from groupwise.tasks.data import DataError, apart, checked, hold_out, is_hub_id, is_path, read_rows
from groupwise.tasks.gsm8k import gsm8k
from groupwise.tasks.reasoning import reasoning
from groupwise.tasks.task import Task
from groupwise.user_code import UserCodeError, module_of

BUILT_IN: dict[str, Callable[[str], Task]] = {
    "arithmetic": arithmetic,
    "gsm8k": gsm8k,
    "code": code,
    "reasoning-gym": reasoning,
}
"""Each takes the text after the colon."""
BRINGS = {
    "arithmetic": "arithmetic:held_out=500",
    "gsm8k": "gsm8k:train.jsonl,test.jsonl",
    "code": "code:train.jsonl,test.jsonl",
    "reasoning-gym": "reasoning-gym:gcd,held_out=100",
}
"""How a built-in task is told what to hold out."""


def load(
    spec: str,
    rewards: Sequence[Reward] = (),
    held_out: str | None = None,
    seed: int = 0,
    n_held_out: int = 200,
    allow_unsafe_code: bool = False,
) -> Task:
    """The task that `spec` names: a built-in one with its options, a data file or a hub data set.

    Args:
        rewards: needed for a file or a hub data set; in place of its own for a built-in task.
        held_out: a file or hub data set (its split `test`) to judge by; its prompts are taken out
            of training. None: `n_held_out` rows are split off by `seed`. Built-in tasks bring theirs.
        allow_unsafe_code: run code that a model wrote even where nothing keeps it apart.
    """
    if twice := [name for name, n in Counter(reward.name for reward in rewards).items() if n > 1]:
        raise UserCodeError(f"two rewards are named {twice[0]!r}: rename one, their parts go by name.")
    name, _, options = spec.partition(":")
    if name in BUILT_IN:
        make = partial(code, allow_unsafe=allow_unsafe_code) if name == "code" else BUILT_IN[name]
        return _built_in(name, make, options, rewards, held_out)
    if not is_path(spec) and not is_hub_id(spec) and not Path(spec).exists():
        raise DataError(_unknown(spec))
    if not rewards:
        raise DataError(_TEACH.format(spec=spec))
    rows = checked(read_rows(spec), spec)
    if held_out is None:
        train, kept = hold_out(rows, n_held_out, seed)
    else:
        kept = checked(read_rows(held_out, split="test"), held_out)
        train = apart(rows, kept, spec)
    return Task(spec, train, kept, tuple(rewards))


_TEACH = """{spec} has rows but does not say what a good answer is. Write my_reward.py:

    def score(completions, answer, **columns):
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        return [float(str(a) in text) for text, a in zip(texts, answer)]

where answer is a column of your rows, and add: --reward my_reward.py:score"""


def _built_in(
    name: str, make: Callable[[str], Task], options: str, rewards: Sequence[Reward], held_out: str | None
) -> Task:
    if held_out is not None:
        raise DataError(f"{name} brings its own held-out rows, so {held_out} has no use: see {BRINGS[name]}.")
    task = make(options)
    return replace(task, rewards=tuple(rewards)) if rewards else task


def _unknown(spec: str) -> str:
    near = difflib.get_close_matches(spec.partition(":")[0].lower(), BUILT_IN, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return (
        f"There is no task {spec!r}.{hint} Built in: {', '.join(BUILT_IN)}. "
        "Or name a file such as rows.jsonl, or a hub data set owner/name."
    )


# ---------------------------------------------------------------------------- rewards by name


def load_reward(spec: str) -> Reward:
    """`file.py:function` or `module:function`, with `=WEIGHT` at the end if it is not 1.

    A file is run once, however many of its functions are asked for. Modules beside the file, and
    modules in the working folder, can be imported.

    Raises:
        UserCodeError: there is no such file, module or function, or it raised when imported.
    """
    place, colon, rest = spec.rpartition(":")
    name, equals, weight = rest.partition("=")
    if not colon or not place or not name:
        raise UserCodeError(
            f"{spec!r} does not name a function. Write file.py:function or module:function, "
            "such as my_reward.py:score, or with a weight my_reward.py:score=0.5."
        )
    number = _weight(weight, spec) if equals else 1.0
    module = module_of(place)
    function = _function(module, name, place)
    own = getattr(function, "__name__", name)
    return Reward(own if own.isidentifier() else name, function, number)


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
