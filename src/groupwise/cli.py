"""The command line: groupwise train | plan | eval | chat | play | doctor | backtest | report | reward.

Commands are imported when one is asked for: torch alone takes seconds, and help need not wait for it.
"""

from __future__ import annotations

import sys

from groupwise import __version__
from groupwise.allocator import keep_freed_memory
from groupwise.terminal import console

NAMES = ("train", "plan", "eval", "chat", "play", "doctor", "backtest", "report", "reward")

HELP = """[bold]groupwise[/] trains policies with Group Relative Policy Optimization.

  groupwise train               two-digit addition with the small default model
  groupwise train my.jsonl --reward my_reward.py:score
  groupwise train calculator    a model that calls a tool; other conversations: docs/conversations.md
  groupwise train gym:CartPole-v1
  groupwise train --resume runs/NAME
  groupwise plan my.jsonl ...   memory and time that `train` with the same options will take

  groupwise eval runs/NAME      held-out scores of a run or a model
  groupwise chat runs/NAME      talk to it
  groupwise play runs/NAME      watch it in its environment: a window, a GIF, or text
  groupwise doctor gym:ID       what an environment is like to train in
  groupwise backtest runs/NAME  a policy of prices, on the bars after its training
  groupwise report runs/NAME    write report.html
  groupwise reward train pairs.jsonl    learn a reward from what people prefer

Each command explains itself: groupwise train --help
"""


def main() -> None:
    """The entry point of the `groupwise` command."""
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help"):
        console.print(HELP, highlight=False)
        sys.exit(0)
    if args[0] == "--version":
        console.print(__version__, highlight=False)
        sys.exit(0)
    if args[0] not in NAMES:
        console.print(f"[red]unknown command {args[0]!r}[/]; there are {', '.join(NAMES)}")
        sys.exit(2)
    keep_freed_memory()
    try:
        from groupwise.commands import run

        sys.exit(run(args[0], args[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
