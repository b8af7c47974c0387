"""From what a user writes to what is trained on: `gsm8k`, `code:tests.jsonl`, `my_rows.jsonl`."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from groupwise.rewards.scoring import Reward
from groupwise.tasks.arithmetic import arithmetic
from groupwise.tasks.code import code
from groupwise.tasks.data import DataError, apart, checked, hold_out, is_hub_id, is_path, read_rows
from groupwise.tasks.grounded import grounded
from groupwise.tasks.gsm8k import gsm8k
from groupwise.tasks.reasoning import reasoning
from groupwise.tasks.task import CONVERSATIONS, Task
from groupwise.user_code import UserCodeError

T = TypeVar("T", bound=Task)

BUILT_IN: dict[str, Callable[[str], Task]] = {
    "arithmetic": arithmetic,
    "gsm8k": gsm8k,
    "code": code,
    "grounded": grounded,
    "reasoning-gym": reasoning,
}
"""Each takes the text after the colon."""
TOTAL = "reward"
"""What the sum of all parts is called among held-out scores."""
BRINGS = {
    "arithmetic": "arithmetic:held_out=500",
    "gsm8k": "gsm8k:train.jsonl,test.jsonl",
    "code": "code:train.jsonl,test.jsonl",
    "grounded": "grounded:train.jsonl,test.jsonl",
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
    gold: Sequence[Reward] = (),
) -> Task:
    """The task that `spec` names: a built-in one with its options, a data file or a hub data set.

    Args:
        rewards: needed for a file or a hub data set; in place of its own for a built-in task.
        held_out: a file or hub data set (its split `test`) to judge by; its prompts are taken out
            of training. None: `n_held_out` rows are split off by `seed`. Built-in tasks bring theirs.
        allow_unsafe_code: run code that a model wrote even where nothing keeps it apart.
        gold: rewards to judge by that are never trained on, in place of a built-in task's own. One that
            has none, and whose rewards are replaced, is judged by those.
    """
    check_rewards(rewards, gold)
    name, _, options = spec.partition(":")
    if name in BUILT_IN:
        unsafe = {"code": code, "reasoning-gym": reasoning}
        make = partial(unsafe[name], allow_unsafe=allow_unsafe_code) if name in unsafe else BUILT_IN[name]
        return _built_in(name, make, options, rewards, held_out, gold)
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
    return Task(spec, train, kept, tuple(rewards), gold=tuple(gold))


_TEACH = """{spec} has rows but does not say what a good answer is. Write my_reward.py:

    def score(completions, answer, **columns):
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        return [float(str(a) in text) for text, a in zip(texts, answer)]

where answer is a column of your rows, and add: --reward my_reward.py:score"""


def _built_in(
    name: str,
    make: Callable[[str], Task],
    options: str,
    rewards: Sequence[Reward],
    held_out: str | None,
    gold: Sequence[Reward],
) -> Task:
    if held_out is not None:
        raise DataError(f"{name} brings its own held-out rows, so {held_out} has no use: see {BRINGS[name]}.")
    return judged_by(make(options), rewards, gold)


def check_rewards(rewards: Sequence[Reward], gold: Sequence[Reward]) -> None:
    """Raises UserCodeError for names that would be lost beside others, and for weights without meaning."""
    for these in (rewards, gold):
        if twice := [name for name, n in Counter(reward.name for reward in these).items() if n > 1]:
            raise UserCodeError(f"two rewards are named {twice[0]!r}: rename one, their parts go by name.")
    if any(reward.name == TOTAL for reward in rewards):
        raise UserCodeError(
            f"a reward is named {TOTAL!r}, as is the sum of all parts, and would be lost beside it: rename "
            "the function, as in def score(completions, **columns)."
        )
    if weighted := [reward for reward in gold if reward.weight != 1]:
        raise UserCodeError(
            f"the gold reward {weighted[0].name!r} has the weight {weighted[0].weight:g}: it is never "
            "trained on, so a weight means nothing. Leave it away."
        )


def judged_by(task: T, rewards: Sequence[Reward], gold: Sequence[Reward]) -> T:
    """A built-in task with the rewards of the user, if any, in place of its own, which then judge it."""
    if not rewards:
        return replace(task, gold=tuple(gold) or task.gold)
    return replace(task, rewards=tuple(rewards), gold=tuple(gold) or task.gold or task.rewards)


def _unknown(spec: str) -> str:
    near = difflib.get_close_matches(spec.partition(":")[0].lower(), [*BUILT_IN, *CONVERSATIONS], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return (
        f"There is no task {spec!r}.{hint} Built in: {', '.join([*BUILT_IN, *CONVERSATIONS])}. "
        "Or name a file such as rows.jsonl, or a hub data set owner/name."
    )
