"""What bench/control.py compares: environments, how long, and the settings of both sides.

PPO's are those of rl-baselines3-zoo's hyperparams/ppo.yml, by their names there; `lin_0.001` falls to 0 over
the run. Where the zoo has none it says whose they are. Ours are settings of `groupwise train`, found by short
tries on seed 100, which is not among those that are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

RECIPES = "bench/control_recipes.py"
WORLDS = "bench/control_worlds.py"
"""Environments that are another's with other options."""

WIDE = {"ortho_init": False, "activation_fn": "ReLU", "net_arch": {"pi": [256, 256], "vf": [256, 256]}}
GRID = {
    "normalize": True,
    "n_envs": 8,
    "n_steps": 128,
    "batch_size": 64,
    "gae_lambda": 0.95,
    "gamma": 0.99,
    "n_epochs": 10,
    "ent_coef": 0.0,
    "learning_rate": 2.5e-4,
    "clip_range": 0.2,
}
GRID_OURS = {
    "recipe": "return_to_go_99",
    "prompts": 2,
    "group_size": 8,
}
DEFAULTS = {"n_envs": 8, "n_steps": 256}


@dataclass(frozen=True, slots=True)
class Setup:
    """One environment with both sides' settings."""

    world: str
    """As in `groupwise train gym:WORLD`."""
    steps: int
    """Of the environment, for each side."""
    ppo: Mapping[str, Any]
    """Empty: it is not measured beside this."""
    ours: Mapping[str, Any]
    solved: float | None = None
    """The score that gymnasium, or issue and zoo, call solved."""
    source: str = "rl-baselines3-zoo"
    """Of PPO's settings."""
    episodes: int = 20
    """Held-out starts of an evaluation."""
    points: int = 20
    """Of a curve, after its first."""
    wrapper: str = ""
    """`module:name` around the environment, for PPO: what the zoo puts there."""


SETUPS: Mapping[str, Setup] = {
    "CartPole-v1": Setup(
        "CartPole-v1",
        50_000,
        {
            "n_envs": 8,
            "n_steps": 32,
            "batch_size": 256,
            "gae_lambda": 0.8,
            "gamma": 0.98,
            "n_epochs": 20,
            "ent_coef": 0.0,
            "learning_rate": "lin_0.001",
            "clip_range": "lin_0.2",
        },
        {},
        solved=475,
    ),
    "Acrobot-v1": Setup(
        "Acrobot-v1",
        100_000,
        {
            "normalize": True,
            "n_envs": 16,
            "n_steps": 256,
            "gae_lambda": 0.94,
            "gamma": 0.99,
            "n_epochs": 4,
            "ent_coef": 0.0,
        },
        {
            "recipe": "near_states",
            "prompts": 1,
            "group_size": 16,
            "epochs": 10,
            "learning_rate": 0.003,
            "normalise_observations": True,
        },
        solved=-100,
    ),
    "LunarLander-v3": Setup(
        "LunarLander-v3",
        1_000_000,
        {
            "n_envs": 16,
            "n_steps": 1024,
            "batch_size": 64,
            "gae_lambda": 0.98,
            "gamma": 0.999,
            "n_epochs": 4,
            "ent_coef": 0.01,
        },
        {
            "recipe": f"{RECIPES}:NEAR_TO_LAND",
            "prompts": 2,
            "group_size": 8,
            "epochs": 8,
            "minibatches": 8,
            "learning_rate": 0.003,
            "decay_steps": 140,
            "normalise_observations": True,
        },
        solved=200,
    ),
    "Pendulum-v1": Setup(
        "Pendulum-v1",
        100_000,
        {
            "n_envs": 4,
            "n_steps": 1024,
            "gae_lambda": 0.95,
            "gamma": 0.9,
            "n_epochs": 10,
            "ent_coef": 0.0,
            "learning_rate": 1e-3,
            "clip_range": 0.2,
            "use_sde": True,
            "sde_sample_freq": 4,
        },
        {
            "recipe": f"{RECIPES}:FITTED_90",
            "prompts": 2,
            "group_size": 8,
            "epochs": 10,
            "minibatches": 16,
            "learning_rate": 0.003,
            "decay_steps": 31,
            "bounds": "clip",
            "noise": 2.7,
            "normalise_observations": True,
        },
        solved=-200,
    ),
    "Hopper-v5": Setup(
        "Hopper-v5",
        100_000,
        {
            "normalize": True,
            "n_envs": 1,
            "n_steps": 512,
            "batch_size": 32,
            "gamma": 0.999,
            "learning_rate": 9.80828e-5,
            "ent_coef": 0.00229519,
            "clip_range": 0.2,
            "n_epochs": 5,
            "gae_lambda": 0.99,
            "max_grad_norm": 0.7,
            "vf_coef": 0.835671,
            "policy_kwargs": {"log_std_init": -2, **WIDE},
        },
        {
            "recipe": f"{RECIPES}:NEAR_999",
            "prompts": 1,
            "group_size": 16,
            "epochs": 10,
            "minibatches": 32,
            "learning_rate": 0.001,
            "bounds": "clip",
            "normalise_observations": True,
        },
    ),
    "MiniGrid-Empty-5x5-v0": Setup(
        "minigrid:MiniGrid-Empty-5x5-v0",
        50_000,
        GRID,
        GRID_OURS,
        source="rl-baselines3-zoo, of MiniGrid-DoorKey-5x5-v0",
        wrapper="minigrid.wrappers:FlatObsWrapper",
    ),
    "MiniGrid-DoorKey-5x5-v0": Setup(
        "minigrid:MiniGrid-DoorKey-5x5-v0",
        100_000,
        GRID,
        {
            "recipe": "fitted_states",
            "prompts": 2,
            "group_size": 8,
            "epochs": 8,
            "minibatches": 4,
            "learning_rate": 0.001,
            "entropy_scale": 0.01,
        },
        wrapper="minigrid.wrappers:FlatObsWrapper",
    ),
    "highway-fast-v0": Setup(
        "highway_env:highway-fast-v0",
        20_000,
        {
            "n_envs": 6,
            "n_steps": 128,
            "batch_size": 64,
            "n_epochs": 10,
            "learning_rate": 5e-4,
            "gamma": 0.8,
            "policy_kwargs": {"net_arch": {"pi": [256, 256], "vf": [256, 256]}},
        },
        {
            "recipe": f"{RECIPES}:NEAR_90",
            "prompts": 2,
            "group_size": 8,
            "epochs": 8,
            "minibatches": 4,
            "learning_rate": 0.002,
        },
        source="highway-env's scripts/sb3_highway_ppo.py",
        points=6,
    ),
    "FrozenLake-v1, still": Setup(
        f"{WORLDS}:StillLake-v0",
        30_000,
        DEFAULTS,
        {"recipe": "return_to_go_99"},
        source="stable-baselines3's defaults, 8 environments",
    ),
    "FrozenLake-v1, slippery": Setup(
        "FrozenLake-v1",
        60_000,
        DEFAULTS,
        {
            "recipe": "return_to_go_99",
            "prompts": 16,
            "group_size": 8,
            "learning_rate": 0.003,
            "entropy_scale": 0.02,
        },
        source="stable-baselines3's defaults, 8 environments",
        episodes=100,
    ),
}

# ---------------------------------------------------------------- baselines among themselves

BASELINES: Mapping[str, str] = {
    "return of the episode": f"{RECIPES}:EPISODE",
    "return to go": f"{RECIPES}:TO_GO",
    "return to go, discount 0.99": f"{RECIPES}:TO_GO_99",
    "equal states (GiGPO), 0.99": f"{RECIPES}:ANCHORS",
    "near states, 0.99": f"{RECIPES}:NEAR",
    "near states, 0.99, trace 0.95": f"{RECIPES}:NEAR_TRACED",
}
"""Recipes that differ in their advantages alone."""
COMPARED = {"Acrobot-v1": 40_000, "FrozenLake-v1, slippery": 60_000}
"""Environments and steps in which they are compared, with the other settings as above."""


def trial(environment: str, baseline: str) -> str:
    return f"{environment}, {baseline}"


EVERY = {
    **SETUPS,
    **{
        trial(name, baseline): replace(
            SETUPS[name], steps=steps, ppo={}, ours={**SETUPS[name].ours, "recipe": recipe}
        )
        for name, steps in COMPARED.items()
        for baseline, recipe in BASELINES.items()
    },
}
"""What bench/control.py measures."""
