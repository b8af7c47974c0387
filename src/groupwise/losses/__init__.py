"""The maths of the update, over flat vectors of N decisions."""

from groupwise.losses.corrections import Correction
from groupwise.losses.decisions import MAX_LOG_RATIO, Decisions
from groupwise.losses.divergences import Divergence, k1, k2, k3, k3_corrected
from groupwise.losses.ratios import Ratio, per_decision, per_trajectory
from groupwise.losses.surrogates import Surrogate, cispo, clipped, plain
from groupwise.losses.weights import Weigh, constant, each_group_alike, per_token_mean, per_trajectory_mean

__all__ = [
    "MAX_LOG_RATIO",
    "Correction",
    "Decisions",
    "Divergence",
    "Ratio",
    "Surrogate",
    "Weigh",
    "cispo",
    "clipped",
    "constant",
    "each_group_alike",
    "k1",
    "k2",
    "k3",
    "k3_corrected",
    "per_decision",
    "per_token_mean",
    "per_trajectory",
    "per_trajectory_mean",
    "plain",
]
