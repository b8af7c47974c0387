"""Reads a judge's verdict from its reply: from the last line and in one form only.

What stands above it does not count: a judge may quote there what an answer said about its own score.
"""

from __future__ import annotations

import re

from groupwise.rewards.endpoint import Reply
from groupwise.rewards.scoring import Failed
from groupwise.rewards.words import plain

_N = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"


def score_of(reply: Reply, low: float, high: float) -> float | Failed:
    """The score on the last line: `SCORE: 7`, also `7/10` if the scale ends at 10.

    >>> score_of("Sound, but long.\\n**SCORE: 7**", 1, 10), score_of("7 of 10", 1, 10)
    (7.0, Failed(reason='unparsable: 7 of 10'))
    """
    if isinstance(reply, Failed):
        return reply
    line = _last_line(reply)
    found = re.fullmatch(rf"SCORE\s*:\s*(-?{_N})(?:\s*/\s*({_N}))?\.?", line, re.I)
    if found and low <= float(found[1]) <= high and float(found[2] or high) == high:
        return float(found[1])
    return Failed(f"unparsable: {line[:80]}")


def winner_of(reply: Reply) -> float | Failed:
    """1 if the last line says `WINNER: A`, 0 for B, 1/2 for TIE."""
    if isinstance(reply, Failed):
        return reply
    line = _last_line(reply)
    found = re.fullmatch(r"WINNER\s*:\s*(A|B|TIE)\.?", line, re.I)
    return {"A": 1.0, "B": 0.0, "TIE": 0.5}[found[1].upper()] if found else Failed(f"unparsable: {line[:80]}")


def ranking_of(reply: Reply, n: int) -> list[int] | Failed:
    """Points of the n answers as numbered: n at most, 1 at least, more is better, equal for ties.

    >>> ranking_of("RANKING: 2 > 1 = 3", 3), ranking_of("RANKING: 2 > 1", 3)
    ([2, 3, 2], Failed(reason='unparsable: RANKING: 2 > 1'))
    """
    if isinstance(reply, Failed):
        return reply
    line = _last_line(reply)
    found = re.fullmatch(r"RANKING\s*:\s*([0-9]{1,4}(?:\s*[>=]\s*[0-9]{1,4})*)\.?", line, re.I)
    tiers = [[int(k) for k in tier.split("=")] for tier in found[1].split(">")] if found else []
    if sorted(k for tier in tiers for k in tier) != list(range(1, n + 1)):
        return Failed(f"unparsable: {line[:80]}")
    points = {k: n - level for level, tier in enumerate(tiers) for k in tier}
    return [points[k] for k in range(1, n + 1)]


def _last_line(reply: str) -> str:
    lines = [
        line for line in plain(reply[-2000:]).replace("*", "").replace("`", "").splitlines() if line.strip()
    ]
    return lines[-1].strip() if lines else ""
