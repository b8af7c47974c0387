"""Two vehicles of highway-env that cross an intersection among others, with a third of its physics' steps.

`groupwise train zoo:bench/crossing.py:crossing` trains them.
"""

from typing import Any

from groupwise.envs import zoo


def crossing(**options: Any) -> Any:
    """`intersection-multi-agent-v2`, its physics at 5 steps a second in the place of 15."""
    return zoo.make("highway_env:intersection-multi-agent-v2", config={"simulation_frequency": 5}, **options)
