"""Rewards that wait and rewards that work, for bench/overlap.py; without torch, since workers import it."""

from __future__ import annotations

import time

from groupwise.rewards.pool import isolated

SECONDS = 0.2


def waits(completion: str) -> float:
    """As for a judge elsewhere."""
    time.sleep(SECONDS)
    return float(len(completion) % 2)


def works(completion: str) -> float:
    """As one that computes."""
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        pass
    return float(len(completion) % 2)


waiting = isolated(f"{__file__}:waits", seconds=10)
working = isolated(f"{__file__}:works", seconds=10)
