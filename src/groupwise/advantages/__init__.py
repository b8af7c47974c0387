"""Rewards to advantages."""

from groupwise.advantages.anchors import gigpo
from groupwise.advantages.assign import assign
from groupwise.advantages.baselines import asymmetric, length_weighted, shrunk
from groupwise.advantages.fitted import fitted_states
from groupwise.advantages.near import near_states
from groupwise.advantages.outcome import (
    EPSILON,
    Advantage,
    Outcome,
    center,
    is_flat,
    leave_one_out,
    maxrl,
    standardize,
    standardized,
)
from groupwise.advantages.parts import gdpo
from groupwise.advantages.returns import process, returns_to_go
from groupwise.advantages.step import Rescale, batch_scale, centered_scale, over_informative, whiten
from groupwise.advantages.stratified import importance_weighted, stratified
from groupwise.advantages.subsets import pass_at, pkpo
from groupwise.advantages.tree import tree

__all__ = [
    "EPSILON",
    "Advantage",
    "Outcome",
    "Rescale",
    "assign",
    "asymmetric",
    "batch_scale",
    "center",
    "centered_scale",
    "fitted_states",
    "gdpo",
    "gigpo",
    "importance_weighted",
    "is_flat",
    "leave_one_out",
    "length_weighted",
    "maxrl",
    "near_states",
    "over_informative",
    "pass_at",
    "pkpo",
    "process",
    "returns_to_go",
    "shrunk",
    "standardize",
    "standardized",
    "stratified",
    "tree",
    "whiten",
]
