"""Conversations by name: `calculator`, `textarena:GuessTheNumber-v0`, `env:my_env.py:Shop`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from groupwise.envs import shapes
from groupwise.envs.arena import textarena
from groupwise.envs.calculator import calculator
from groupwise.envs.clarify import clarify
from groupwise.envs.consistency import consistency
from groupwise.envs.text import HELD_OUT, TRAINED_ON, Conversations, conversations, returned
from groupwise.rewards.scoring import Reward
from groupwise.tasks.catalogue import check_rewards, judged_by
from groupwise.tasks.data import DataError, checked, hold_out, read_rows
from groupwise.tasks.task import CONVERSATIONS, Rows
from groupwise.user_code import module_of

BUILT_IN: dict[str, Callable[[str], Conversations]] = {
    "calculator": calculator,
    "consistency": consistency,
    "clarify": clarify,
    "textarena": textarena,
}
"""Each takes the text after the colon."""


def is_conversation(spec: str) -> bool:
    return spec.partition(":")[0] in CONVERSATIONS


def load(
    spec: str,
    rewards: Sequence[Reward] = (),
    seed: int = 0,
    n_held_out: int = 200,
    gold: Sequence[Reward] = (),
) -> Conversations:
    """The conversations that `spec` names.

    `env:FILE.py:NAME` is an environment of the user's own (envs.shapes says of what shape), whose rows are
    seeds; `env:FILE.py:NAME,ROWS` takes its rows from a data file, `n_held_out` of them split off by `seed`.
    What the environment gives is the first reward, and `rewards` are added to it; they take the place of a
    built-in task's, which then judge the run as gold rewards unless `gold` has others.

    Raises:
        ValueError (of many kinds): naming what cannot be found, or cannot be talked to.
    """
    check_rewards(rewards, gold)
    name, _, options = spec.partition(":")
    if name in BUILT_IN:
        return judged_by(BUILT_IN[name](options), rewards, gold)
    place, _, source = options.partition(",")
    file, _, attribute = place.rpartition(":")
    if not file or not attribute:
        raise DataError(f"{spec}: write env:FILE.py:NAME, with ,ROWS if the rows come from a data file.")
    thing = getattr(module_of(file), attribute, None)
    if thing is None:
        raise DataError(f"{file} has no {attribute!r}, which the task {spec} asks for")
    world = shapes.world_of(thing, place)
    given = [Reward("return", returned)] if shapes.gives_rewards(thing) else []
    if not given and not rewards:
        raise DataError(
            f"{spec} gives no rewards, by `step` or by `get_reward`: add --reward FILE.py:FUNCTION"
        )
    check_rewards([*given, *rewards], gold)
    train, held_out = _rows(source, seed, n_held_out)
    task = conversations(spec, world, train, held_out, [*given, *rewards])
    return replace(task, gold=tuple(gold))


def _rows(source: str, seed: int, n_held_out: int) -> tuple[Rows, Rows]:
    if not source:
        return TRAINED_ON, HELD_OUT
    rows = checked(read_rows(source), source, talked_to=True)
    return hold_out(rows, n_held_out, seed, whole=True)
