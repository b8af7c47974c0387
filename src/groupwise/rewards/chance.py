"""Rewards by chance: a control run, in which nothing can be learned from them.

A gain under rewards that say nothing comes from elsewhere: from a format that the policy drifts to, from
clipping that favours what is likely already, or from chance.  (Shao et al., arXiv 2506.10947, section 2)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from groupwise.rewards.scoring import TrainerState


def chance(settings: str = "") -> Callable[..., list[float]]:
    """0 or 1 for each answer, 1 with the probability `settings`, a half unless given.

    The draw depends on the step, on the prompts that are asked together and on the answer's place, not on the
    answer: a resumed run draws what it would have drawn, and prompts that replace others draw anew.

    Raises:
        ValueError: no probability.
    """
    try:
        p = float(settings or 0.5)
    except ValueError:
        p = -1.0
    if not 0 <= p <= 1:
        raise ValueError(f"random:{settings}: give a probability from 0 to 1, such as random:0.5.")

    def drawn(prompts: Sequence[Any], completions: Sequence[Any], trainer_state: TrainerState) -> list[float]:
        asked = hashlib.blake2b(repr(list(prompts)).encode("utf-8", "replace"), digest_size=8).digest()
        seed = [trainer_state.global_step, int.from_bytes(asked)]
        draws = np.random.default_rng(seed).random(len(completions))
        return [float(d < p) for d in draws]

    return drawn
