"""Puzzles of reasoning-gym, made without end by rules, by name: `reasoning-gym:gcd`.  (arXiv 2505.24760)"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from groupwise.rewards.pool import isolated
from groupwise.rewards.scoring import Reward
from groupwise.tasks.data import DataError, apart
from groupwise.tasks.task import Row, Task

OWN = {"size": 1000, "held_out": 100, "seed": 0, "partial": False}
"""Options that are ours; all others are the puzzle's."""
SECONDS = 2.0
"""That scoring one answer may take."""
MEMORY_MB = 4096


def reasoning(options: str = "", allow_unsafe: bool = False) -> Task:
    """The task. `gcd,size=1000,held_out=100,seed=0,partial=false` and the puzzle's own options.

    size rows to train on, less those whose question is held out too. Rows are made at once: most puzzles
    take less than 0.1 ms each, the slowest 70 ms. partial=true gives the puzzle's own credit for answers
    that are right in part. Scored in worker processes that can write nothing and reach nobody, since some
    rules evaluate what the answer says as Python; `allow_unsafe` leaves that wall away.

    Raises:
        DataError: reasoning-gym is missing, there is no such puzzle, or it refuses an option.
    """
    name, *rest = [part.strip() for part in options.split(",")]
    given = dict(_option(part) for part in rest)
    own = {key: given.pop(key, default) for key, default in OWN.items()}
    for key in ("size", "held_out"):
        if type(own[key]) is not int or own[key] < 1:
            raise DataError(f"reasoning-gym's option {key}={own[key]}: give a whole number from 1 on.")
    # One seed for both: item i is made from seed + i, so another seed's items would be the same, shifted.
    made = _made(name, {**given, "size": own["size"] + own["held_out"], "seed": own["seed"]})
    rows = [_row(made[i]) for i in range(own["size"] + own["held_out"])]
    held_out = rows[: own["held_out"]]
    train = apart(rows[own["held_out"] :], held_out, f"reasoning-gym:{name}")
    rule = "progress" if own["partial"] else "solved"
    place = f"groupwise.rewards.puzzles:{rule}"
    reward = Reward(rule, isolated(place, None, SECONDS, MEMORY_MB, locked=not allow_unsafe))
    return Task(f"reasoning-gym:{options}", train, held_out, (reward,), max_new_tokens=512)


def messages(question: str) -> list[dict[str, str]]:
    """How a puzzle is put to a chat model."""
    how = (
        "Reason step by step. Then write the final answer, and nothing else, between <answer> and </answer>."
    )
    return [{"role": "user", "content": f"{question.strip()}\n\n{how}"}]


def _row(entry: Mapping[str, Any]) -> Row:
    return {"prompt": messages(entry["question"]), "answer": entry["answer"], "entry": dict(entry)}


def _option(part: str) -> tuple[str, Any]:
    key, equals, value = (text.strip() for text in part.partition("="))
    if not equals:
        raise DataError(f"reasoning-gym's option {part!r} has no value: write it as in min_numbers=2.")
    with contextlib.suppress(json.JSONDecodeError):
        return key, json.loads(value.lower() if value in ("True", "False") else value)
    return key, value


def _made(name: str, options: Mapping[str, Any]) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise DataError(
            f"reasoning-gym cannot be imported ({error}): pip install -e '.[reasoning]'."
        ) from error
    known = sorted(set(DATASETS) - {"composite"})  # a mixture of others, which needs a list of them
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = (
            f" Did you mean {' or '.join(near)}?"
            if near
            else f" It has, among others, {', '.join(known[:8])}."
        )
        raise DataError(f"reasoning-gym has no puzzle {name!r}.{hint} Write it as in reasoning-gym:gcd.")
    config = [f.name for f in fields(DATASETS[name][1]) if f.name not in OWN]
    if strange := [key for key in options if key not in OWN and key not in config]:
        raise DataError(
            f"reasoning-gym's {name} has no option {strange[0]!r}: choose from {', '.join([*OWN, *config])}."
        )
    try:
        return reasoning_gym.create_dataset(name, **options)
    except (AssertionError, TypeError, ValueError) as error:
        raise DataError(f"reasoning-gym's {name} refuses its options: {error}.") from error
