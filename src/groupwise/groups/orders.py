"""What a sampler is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.trajectory import Prompt


@dataclass(frozen=True, slots=True)
class Order:
    """Collect `count` trajectories for one prompt."""

    prompt: Prompt
    count: int
