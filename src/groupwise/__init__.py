"""groupwise: train policies with Group Relative Policy Optimization."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from groupwise.recipes import CISPO, DAPO, DR_GRPO, GRPO, GSPO, RECIPES, RLOO, Loss, Recipe
    from groupwise.recipes.objective import objective
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


PIECES = ("advantages", "losses", "recipes")


def __getattr__(name: str) -> Any:
    """Names are imported when they are asked for: `groupwise --help` need not wait for torch."""
    if name in PIECES:
        return import_module(f"groupwise.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'groupwise' has no attribute {name!r}")
    places = (import_module(f"groupwise.{place}") for place in ("trajectory", "recipes"))
    return next(getattr(place, name) for place in places if hasattr(place, name))
