"""Environments of others with other options, by names of their own."""

import gymnasium

gymnasium.register(
    "StillLake-v0",
    entry_point="gymnasium.envs.toy_text.frozen_lake:FrozenLakeEnv",
    kwargs={"map_name": "4x4", "is_slippery": False},
    max_episode_steps=100,
)
