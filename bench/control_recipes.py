"""Recipes of bench/control.py: one loss, and advantages that differ by what a return is compared with."""

from dataclasses import replace

from groupwise.advantages import center, fitted_states, gigpo, near_states, returns_to_go
from groupwise.recipes import RECIPES

TO_GO = RECIPES["return_to_go"]
EPISODE = replace(TO_GO, advantage=center)
TO_GO_99 = replace(TO_GO, advantage=returns_to_go(discount=0.99))
ANCHORS = replace(TO_GO, advantage=gigpo(weight=1.0, discount=0.99))

NEAR_TRACED = RECIPES["near_states"]
NEAR = replace(NEAR_TRACED, advantage=near_states(discount=0.99))
NEAR_999 = replace(NEAR_TRACED, advantage=near_states(discount=0.999, trace=0.98))
NEAR_TO_LAND = replace(NEAR_TRACED, advantage=near_states(discount=0.999, trace=0.98, bootstrap=False))
NEAR_90 = replace(NEAR_TRACED, advantage=near_states(discount=0.9, trace=0.95))

FITTED = RECIPES["fitted_states"]
FITTED_999 = replace(FITTED, advantage=fitted_states(discount=0.999, trace=0.98))
FITTED_90 = replace(FITTED, advantage=fitted_states(discount=0.9, trace=0.95))
