"""Imitation by an auxiliary loss: DAPG in two forms, and BC, as plug-ins that any policy-gradient algorithm takes."""

import dataclasses
from typing import Literal

import jax

from gsljax.distributions import Distribution
from gsljax.errors import UserError
from gsljax.losses import bc_loss, classic_dapg_loss, dapg_loss
from gsljax.types import DemonstrationBatch, Metrics, Scalar

ImitationMethod = Literal["none", "dapg", "dapg-classic", "bc"]


USUAL_WEIGHT: dict[ImitationMethod, float] = {"none": 0.0, "dapg": 0.5, "dapg-classic": 0.01, "bc": 1.0}
"""The authors' ω, the original λ0, plain likelihood."""


@dataclasses.dataclass(frozen=True)
class ImitationConfig:
    """How demonstrations enter the policy's loss in phase II."""

    method: ImitationMethod = "dapg"
    """dapg: the paper's smoothed form; dapg-classic: log-likelihood with a decaying weight; bc: the likelihood alone,
    without the reinforcement-learning loss; none: demonstrations unused."""
    weight: float | None = None
    """Weight of the demonstration term (ω of dapg, λ0 of dapg-classic); None takes the usual: 0.5, 0.01, 1 for bc."""
    decay: float = 0.95
    """Decay of dapg-classic's weight per update (λ1); the other methods ignore it."""
    interval: int = 4
    """The demonstration term enters every interval-th minibatch update."""
    freeze_scale: bool = True
    """Keep the demonstration term's gradient off the policy's std."""

    @property
    def effective_weight(self) -> float:
        """The weight given, or the method's usual one."""
        return USUAL_WEIGHT[self.method] if self.weight is None else self.weight

    def __post_init__(self):
        if self.weight is not None and not self.weight >= 0:
            raise UserError(f"The imitation weight is {self.weight}, but must not be negative.")
        if not 0 < self.decay <= 1:
            raise UserError(f"The imitation decay is {self.decay}, but must be above 0 and at most 1.")
        if self.interval < 1:
            raise UserError(f"The imitation interval is {self.interval}, but must be at least 1.")


def imitation_loss(
    config: ImitationConfig,
    policy: Distribution,
    batch: DemonstrationBatch,
    advantage_max: jax.Array,
    weight: Scalar,
    iteration: jax.Array,
) -> tuple[jax.Array, Metrics]:
    """The configured demonstration term for a policy evaluated at the demonstrated observations.

    Args:
      config: which form (static).
      policy: distribution over actions at `batch.observation`, batch shape `[B]`.
      batch: demonstrated pairs.
      advantage_max: largest advantage of the epoch, scalar.
      weight: the traced weight, which takes the place of `config.effective_weight`.
      iteration: number of updates with demonstrations so far.

    Returns:
      The loss and its metrics.
    """
    if config.freeze_scale:
        policy = policy.freeze_scale()
    log_prob = policy.log_prob(batch.action)
    if config.method == "dapg":
        return dapg_loss(log_prob, advantage_max, weight)
    if config.method == "dapg-classic":
        return classic_dapg_loss(log_prob, advantage_max, weight, config.decay, iteration)
    if config.method == "bc":
        return bc_loss(log_prob, weight)
    raise UserError(
        f"The imitation method is {config.method!r}, which has no loss; allowed are dapg, dapg-classic, bc."
    )
