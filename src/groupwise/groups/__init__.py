"""Who is asked how often, and which of the answers are trained on."""

from groupwise.groups.allocators import Allocate, BudgetError, by_spread, knapsack, uniform
from groupwise.groups.beliefs import Belief, Beliefs
from groupwise.groups.filters import Skip, is_dead, seldom
from groupwise.groups.orders import Order
from groupwise.groups.planner import Grouping, Plan, plan, prompts_drawn
from groupwise.groups.subsets import drawn, extremes, top

__all__ = [
    "Allocate",
    "Belief",
    "Beliefs",
    "BudgetError",
    "Grouping",
    "Order",
    "Plan",
    "Skip",
    "by_spread",
    "drawn",
    "extremes",
    "is_dead",
    "knapsack",
    "plan",
    "prompts_drawn",
    "seldom",
    "top",
    "uniform",
]
