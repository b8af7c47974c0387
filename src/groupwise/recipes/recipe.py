"""An algorithm as one value.

A recipe is complete: advantage, ratio, surrogate, weighting and divergence in one place. A variant is
`dataclasses.replace(GRPO, ...)`; there is nothing to register.
"""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.advantages import Advantage, Rescale
from groupwise.losses import Correction, Divergence, Ratio, Select, Surrogate, Weigh
from groupwise.recipes.checks import complaint, proportional
from groupwise.recipes.controls import Control, Refresh
from groupwise.recipes.filters import Keep


@dataclass(frozen=True, slots=True)
class Recipe:
    """One algorithm.

    Raises:
        ValueError: parts that cannot work together, with the reason and the way out.
    """

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
    reward_kl: float = 0.0
    """Each decision's reward falls by this times k1, the log-prob less the reference's: added to the
    advantages as what is still to come, after any normalisation. In nats; needs a frozen reference."""
    entropy_scale: float = 0.0
    """Nats: the loss falls by this times the weighted mean entropy."""
    kl_control: Control | None = None
    """Moves `kl_scale` and `reward_kl` after each step, by the step's KL. It may use a `kl_scale` of 0 for
    some steps; `reward_kl` stays above 0."""
    entropy_control: Control | None = None
    """Moves `entropy_scale` after each step, by the step's entropy."""
    entropy_floor: float = 0.0
    """Nats a decision below which a run warns that its policy has become deterministic."""
    refresh: Refresh | None = None
    """Moves the reference."""
    select: Select | None = None
    """(the step's decisions, uniform [N]) -> selected [N] bool, for a surrogate that tells them apart."""
    keep: Keep | None = None
    """trajectory -> whether the loss counts it; its group's baseline does in any case."""
    staleness: int | None = None
    """Answers of versions of the policy more optimizer steps behind than this are left out, and counted."""

    def __post_init__(self) -> None:
        if found := complaint(self):
            raise ValueError(found)

    @property
    def needs_reference(self) -> bool:
        return self.kl is not None or self.reward_kl != 0

    @property
    def skips_zero_advantage(self) -> bool:
        """True when a decision of advantage 0 has exactly no gradient, so it need not be computed.

        Of a surrogate that is not of this package that is not known, and nothing is skipped.
        """
        told_apart = self.select is not None or self.entropy_control is not None
        divergent = self.needs_reference or self.entropy_scale != 0
        return not divergent and not told_apart and proportional(self.surrogate)
