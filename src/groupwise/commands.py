"""The commands by name, and what of their errors is told in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

from rich.markup import escape

from groupwise.checkpoints import DamagedError, SaveError
from groupwise.learner import NonFiniteError
from groupwise.market_commands import backtest_command
from groupwise.model_commands import chat_command, evaluate_command, report_command
from groupwise.rescue import OutOfMemoryError
from groupwise.reward_commands import reward
from groupwise.rewards.scoring import RewardError
from groupwise.terminal import console
from groupwise.train_commands import plan, train
from groupwise.world_commands import doctor_command, play_command

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "plan": plan,
    "eval": evaluate_command,
    "chat": chat_command,
    "play": partial(play_command, console=console),
    "doctor": partial(doctor_command, console=console),
    "backtest": partial(backtest_command, console=console),
    "report": report_command,
    "reward": reward,
}

EXPECTED = (
    ValueError,
    OutOfMemoryError,
    RewardError,
    SaveError,
    DamagedError,
    NonFiniteError,
    FloatingPointError,
    OSError,
)
"""What a user can put right: told in a sentence, without a traceback."""


def run(name: str, args: Sequence[str]) -> int:
    """The exit code of a command."""
    warnings.showwarning = lambda message, *_, **__: console.print(f"[yellow]{escape(str(message))}[/]")
    try:
        return COMMANDS[name](args)
    except EXPECTED as error:
        said = "\n".join([str(error), *getattr(error, "__notes__", ())])
        console.print(f"[red]error:[/] {escape(said)}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
