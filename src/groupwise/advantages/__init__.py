"""Rewards to advantages."""

from groupwise.advantages.assign import assign
from groupwise.advantages.outcome import (
    EPSILON,
    Advantage,
    center,
    is_flat,
    leave_one_out,
    standardize,
)
from groupwise.advantages.step import Rescale, batch_scale
from groupwise.advantages.stratified import importance_weighted, stratified

__all__ = [
    "EPSILON",
    "Advantage",
    "Rescale",
    "assign",
    "batch_scale",
    "center",
    "importance_weighted",
    "is_flat",
    "leave_one_out",
    "standardize",
    "stratified",
]
