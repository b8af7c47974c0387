"""groupwise: train policies with Group Relative Policy Optimization."""

from groupwise.recipes import CISPO, DAPO, DR_GRPO, GRPO, GSPO, RECIPES, RLOO, Loss, Recipe, objective
from groupwise.trajectory import Batch, Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

__version__ = "0.1.0"
__all__ = [
    "CISPO",
    "DAPO",
    "DR_GRPO",
    "GRPO",
    "GSPO",
    "RECIPES",
    "RLOO",
    "Batch",
    "Group",
    "Loss",
    "PolicyTag",
    "Prompt",
    "Recipe",
    "StopReason",
    "Trajectory",
    "Turn",
    "objective",
]
