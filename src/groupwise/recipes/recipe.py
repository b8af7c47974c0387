"""An algorithm as one value.

A recipe is complete: advantage, ratio, surrogate, weighting and divergence in one place. A variant is
`dataclasses.replace(GRPO, ...)`; there is nothing to register.
"""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.advantages import Advantage, Rescale
from groupwise.losses import Correction, Divergence, Ratio, Surrogate, Weigh


@dataclass(frozen=True, slots=True)
class Recipe:
    """One algorithm."""

    advantage: Advantage
    """(rewards [G], the scored siblings) -> advantages [G], or one [T_i] for each of them."""
    ratio: Ratio
    """(log_ratio [N], decisions) -> log_ratio [N] at its level."""
    surrogate: Surrogate
    """(log_ratio [N], decisions) -> term [N]."""
    weigh: Weigh
    """(trajectory_id [N], group_id [N]) -> weight [N], over the whole optimizer step."""
    rescale: Rescale | None = None
    """(advantage [N], trajectory_id [N], rewards [M]) -> advantage [N], over the whole step."""
    correction: Correction | None = None
    """decisions -> factor [N] on the surrogate, for decisions that another policy made."""
    kl: Divergence | None = None
    """(new_logp, reference_logp, log_ratio) -> term [N]; needs a frozen reference."""
    kl_scale: float = 0.0
    entropy_scale: float = 0.0
    """Nats: the loss falls by this times the weighted mean entropy."""

    def __post_init__(self) -> None:
        if (self.kl is None) != (self.kl_scale == 0):
            raise ValueError(
                f"kl={self.kl} with kl_scale={self.kl_scale}: a divergence needs a scale and a scale "
                "a divergence. Give both, or neither."
            )

    @property
    def needs_reference(self) -> bool:
        return self.kl is not None

    @property
    def skips_zero_advantage(self) -> bool:
        """True when a decision of advantage 0 has exactly no gradient, so it need not be computed."""
        return self.kl is None and self.entropy_scale == 0
