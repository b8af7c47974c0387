"""The maths of groups that several policies wrote: what to divide by, and how much is left of the answers.

Prompt x, n_j answers from policy q_j, shares alpha_j = n_j / G, target policy pi. An answer's importance
weight is pi(y) / q(y) over all its decisions. What q is, a value of type `Ratios` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from groupwise.losses import MAX_LOG_RATIO
from groupwise.trajectory import Trajectory


def log_mixture(logp: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Exact log q_mix(y_t | y_<t) of one answer, q_mix = sum_j alpha_j q_j.

    logp [M, T] natural log of the answer's T decisions under each of the M policies, counts [M] their
    seats -> [T] float64, which sums to log sum_j alpha_j q_j(y).

    The shares alpha_j hold for whole answers. Within one, what has been written tells which policy writes:
    token t is drawn with the shares alpha_j q_j(y_<t), normalised. So with L_j the sum of log q_j so far,
    log q_mix(y_<=t) = logsumexp_j (log alpha_j + L_j), and a token's is the difference of two of them.
    """
    share = np.log(np.asarray(counts, dtype=np.float64) / np.sum(counts))
    joint = share[:, None] + np.cumsum(np.asarray(logp, dtype=np.float64), axis=1)
    return np.diff(np.logaddexp.reduce(joint, axis=0), prepend=0.0)


def log_weight(trajectory: Trajectory) -> float:
    """log pi(y) / q(y) of a whole answer: 0 where the policy that the step begins with chose."""
    if trajectory.proximal_logp is None:
        return 0.0
    gap = trajectory.proximal_logp.astype(np.float64) - trajectory.behaviour_logp
    return float(gap.sum())


def effective_share(total: float, squares: float, n: int) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2, as a share of the n answers; 0 if no weight is left.

    1 where all weigh alike. For many answers it comes to 1 / (1 + chi^2(pi || q)) for weights pi / q.
    """
    return total**2 / squares / n if squares and n else 0.0


def weights(log_weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """exp, bounded above as the learner bounds it. [n] -> [n]."""
    return np.exp(np.minimum(np.asarray(log_weights, dtype=np.float64), MAX_LOG_RATIO))


# ---------------------------------------------------------------- what ratios are taken to


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer of T decisions under the policies of its group, natural logs."""

    own: np.ndarray
    """[T] under the policy that wrote it."""
    current: np.ndarray
    """[T] under the policy that the step begins with."""
    every: np.ndarray | None
    """[M, T] under all M policies of the group, where `Ratios.everywhere`."""
    counts: tuple[int, ...]
    """[M] answers that each wrote."""


@dataclass(frozen=True, slots=True)
class Ratios:
    """What an answer's decisions are taken to be drawn from."""

    behaviour: Callable[[Scored], np.ndarray]
    """-> [T], the log-probs that importance weights divide by."""
    everywhere: bool = False
    """Needs every answer scored by every policy of the group, not by the current one alone."""


def _mixed(answer: Scored) -> np.ndarray:
    assert answer.every is not None
    return log_mixture(answer.every, answer.counts)


balance = Ratios(_mixed, everywhere=True)
"""pi / q_mix: the balance heuristic (Veach and Guibas 1995; Owen and Zhou 2000). Unbiased, of less variance
than `per_source`, and a weight is at most G / (seats of the current policy)."""

per_source = Ratios(lambda answer: answer.own)
"""pi / q_j of the policy that wrote it. Unbiased where every q_j can say all that pi can; not bounded."""

uncorrected = Ratios(lambda answer: answer.current)
"""No weights: every answer counts as the current policy's. Biased; for experiments."""

RATIOS: Mapping[str, Ratios] = MappingProxyType(
    {"balance": balance, "per_source": per_source, "none": uncorrected}
)
