"""From settings to conversations with an environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from groupwise.envs import shapes
from groupwise.envs.catalogue import is_conversation, load
from groupwise.envs.conversation import ConversationSampler
from groupwise.envs.dialogue import Limits
from groupwise.envs.text import Conversations, Message
from groupwise.envs.tools import Toolbox
from groupwise.rewards.scoring import Reward, Scored
from groupwise.rollouts import TextSampler
from groupwise.settings import ConfigError, Settings
from groupwise.tasks.task import Task
from groupwise.trajectory import Trajectory

__all__ = ["beginning", "is_conversation", "refuse", "sampler", "task", "toolbox", "unpaid"]


def task(s: Settings, rewards: Sequence[Reward], gold: Sequence[Reward] = ()) -> Conversations:
    """Of completed settings.

    Raises:
        ValueError (of many kinds): naming what cannot be found, or cannot be talked to.
    """
    assert s.held_out is not None
    return load(s.task, rewards, s.seed, s.held_out, gold)


def refuse(s: Settings) -> None:
    """Raises ConfigError for flags that do not go together, with what is known before a model is read."""
    if not is_conversation(s.task):
        given = {"--max-turns": s.max_turns, "--max-context": s.max_context}
        if flags := [flag for flag, value in given.items() if value is not None]:
            raise ConfigError(f"{', '.join(flags)}: only for conversations, and {s.task} is none")
        return
    if s.held_out_file is not None:
        raise ConfigError(
            f"--held-out-file {s.held_out_file}: {s.task} brings its own held-out rows, or splits them off "
            "those of env:FILE.py:NAME,ROWS"
        )
    if s.seats is not None:
        raise ConfigError(f"--seats {s.seats}: one policy holds all conversations of a group; leave it away")
    assert s.max_context is not None and s.tokens_per_microbatch is not None  # noqa: PT018
    if s.max_context < 2 or (s.max_turns is not None and s.max_turns < 1):
        raise ConfigError(f"--max-context {s.max_context} (2 or more), --max-turns {s.max_turns} (1 or more)")
    if s.max_context > s.tokens_per_microbatch:
        raise ConfigError(
            f"a conversation may have {s.max_context} tokens, and a micro-batch holds "
            f"{s.tokens_per_microbatch}: raise --tokens-per-microbatch or lower --max-context"
        )


def sampler(
    s: Settings, task: Conversations, own: TextSampler, tell: Callable[[str], None]
) -> ConversationSampler:
    """What holds the conversations of a run, with the policy of `own`."""
    assert s.max_context is not None
    limits = Limits(s.max_turns or task.turns, s.max_context)
    made = ConversationSampler(own.policy, own.tokenizer, own.sampling, s.seed, task.world, limits)
    if made.follows.drops_thinking:
        tell(
            f"the chat template of {own.policy.model.name} leaves <think>...</think> out of earlier answers; "
            "in these conversations it stays where it was said"
        )
    return made


def unpaid(scored: Scored, task: Task) -> Scored:
    """Without what an environment gave on the way, where other rewards stand in its place.

    Recipes that assign credit turn by turn would else learn from rewards that nobody asked for.
    """
    if not isinstance(task, Conversations) or task.paid_on_the_way:
        return scored
    bare = [
        replace(group, trajectories=tuple(_unpaid(t) for t in group.trajectories)) for group in scored.cohort
    ]
    return replace(scored, cohort=bare)


def _unpaid(trajectory: Trajectory) -> Trajectory:
    return replace(trajectory, turns=tuple(replace(turn, rewards=None) for turn in trajectory.turns))


def toolbox(task: Conversations) -> Toolbox | None:
    """The functions that may be called in the first held-out conversation."""
    return shapes.toolbox(task.world(), task.held_out[0])


def beginning(task: Conversations) -> list[Message]:
    """What stands before a user's first words in the first held-out conversation, examples among it."""
    opening: list[Message] = task.held_out[0]["prompt"]
    said = [i for i, message in enumerate(opening) if message["role"] == "user"]
    return opening[: said[-1]] if said else []
