"""What changes a recipe's scales and its reference from step to step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Control = Callable[[float, float], tuple[float, float]]
"""(scale kept, measured in this step) -> (scale to keep, scale to use in the next step)."""


@dataclass(frozen=True, slots=True)
class AdaptiveKL:
    """scale (1 + clip(KL / target - 1, -0.2, 0.2) / horizon). (Ziegler et al., arXiv 1909.08593)

    KL is the step's mean k3 in nats a decision, not a sequence, so that `target` does not depend on how
    long answers are. `horizon` in steps: 10 is the paper's gain of 0.1.
    """

    target: float
    horizon: float = 10.0

    def __post_init__(self) -> None:
        if not (self.target > 0 and self.horizon >= 1):
            raise ValueError(f"{self}: target above 0 nats a decision, horizon at least 1 step")

    def __call__(self, scale: float, measured: float) -> tuple[float, float]:
        error = min(max(measured / self.target - 1, -0.2), 0.2)
        scale = scale * (1 + error / self.horizon)
        return scale, scale


@dataclass(frozen=True, slots=True)
class EntropyTarget:
    """scale + delta below the target, scale - delta above, within 0 and `most`; used only below the target.

    (Skywork-OR1, arXiv 2505.22312.) Entropy in nats a decision. It is measured in one step and acts in
    the next, where the paper measures the step's own before it.
    """

    target: float = 0.2
    delta: float = 0.005
    most: float = 1.0

    def __post_init__(self) -> None:
        if not (self.target > 0 and self.delta > 0 and self.most >= self.delta):
            raise ValueError(f"{self}: target (nats a decision) and delta above 0, most at least delta")

    def __call__(self, scale: float, measured: float) -> tuple[float, float]:
        low = measured < self.target
        scale = min(max(scale + (self.delta if low else -self.delta), 0.0), self.most)
        return scale, scale if measured <= self.target else 0.0


@dataclass(frozen=True, slots=True)
class Refresh:
    """After every `every` steps the reference becomes alpha policy + (1 - alpha) reference.

    alpha = 0.6 and every = 512 are TR-DPO's (arXiv 2404.09656); alpha = 1 with `new_optimizer` is the hard
    reset of ProRL (2505.24864), which does it by hand when held-out scores stall.
    """

    every: int
    alpha: float = 1.0
    new_optimizer: bool = False
    """Forget the optimizer's moments too."""

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 < self.alpha <= 1:
            raise ValueError(f"{self}: every is 1 step or more, 0 < alpha <= 1")
