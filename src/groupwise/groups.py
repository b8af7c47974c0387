"""How many answers each prompt gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.trajectory import Prompt


@dataclass(frozen=True, slots=True)
class Grouping:
    """The make-up of a group."""

    size: int = 8
    """Answers to each prompt."""

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(
                f"group size {self.size}: an answer is judged against its siblings, so a group needs 2 "
                "or more. Set --group-size to 2 or more (4 to 32 is usual)."
            )


@dataclass(frozen=True, slots=True)
class Order:
    """Collect `count` trajectories for one prompt."""

    prompt: Prompt
    count: int


def plan(prompts: Sequence[Prompt], grouping: Grouping) -> list[Order]:
    """One order for each prompt."""
    return [Order(prompt, grouping.size) for prompt in prompts]
