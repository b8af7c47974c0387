"""The command line of reward models: groupwise reward train | eval | score."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from groupwise.reward_commands.judge import evaluate, score
from groupwise.reward_commands.train import train

console = Console()

HELP = """[bold]groupwise reward[/] learns what people prefer, to be used as a reward.

  groupwise reward train pairs.jsonl                  a reward model in runs/reward-1
  groupwise reward train pairs.jsonl --members 4      four, whose disagreement lowers the reward
  groupwise reward eval runs/reward-1 other.jsonl     its accuracy, calibration and length bias elsewhere
  groupwise reward score runs/reward-1 "Hi" "Hello!" "Go away."
  groupwise train prompts.jsonl --reward runs/reward-1

A row of pairs.jsonl is one of
  {"chosen": "...", "rejected": "..."}                      whole dialogues: Human: ... Assistant: ...
  {"prompt": "...", "chosen": "...", "rejected": "..."}     with or without "margin": 1.0
  {"prompt": "...", "ranking": ["best", ["tied", "tied"], "worst"]}

Each command explains itself: groupwise reward train --help. More in docs/rewards.md.
"""

COMMANDS = {"train": train, "eval": evaluate, "score": score}


def reward(args: Sequence[str]) -> int:
    """`groupwise reward ...`"""
    if not args or args[0] in ("-h", "--help"):
        console.print(HELP, highlight=False)
        return 0
    if args[0] not in COMMANDS:
        console.print(f"[red]unknown command {escape(repr(args[0]))}[/]; there are {', '.join(COMMANDS)}")
        return 2
    return COMMANDS[args[0]](args[1:])
