"""How demonstrations are used: by an auxiliary loss (DAPG in two forms, BC) or by an auxiliary reward (GAIL)."""

import dataclasses
import math
from typing import Literal, get_args

import jax

from gsljax.algorithms.adversary import GAILConfig
from gsljax.distributions import Distribution
from gsljax.errors import UserError
from gsljax.losses import bc_loss, classic_dapg_loss, dapg_loss
from gsljax.types import DemonstrationBatch, Metrics, Scalar

ImitationMethod = Literal["none", "dapg", "dapg-classic", "bc", "gail"]


@dataclasses.dataclass(frozen=True)
class ImitationConfig:
    """How demonstrations enter the policy's loss in phase II."""

    method: ImitationMethod = "dapg"
    """dapg: the paper's smoothed form; dapg-classic: log-likelihood with a decaying weight; bc: the likelihood alone,
    without the reinforcement-learning loss; gail: a discriminator's reward beside the environment's; none:
    demonstrations unused."""
    dapg_weight: float = 0.5
    """Weight of the demonstration term of dapg (ω; the authors' 0.5)."""
    classic_weight: float = 0.01
    """Weight of the demonstration term of dapg-classic at its start (λ0)."""
    classic_decay: float = 0.95
    """Decay of dapg-classic's weight per update (λ1)."""
    bc_weight: float = 1.0
    """Weight of the likelihood in bc."""
    gail_weight: float = 0.7
    """Share of the discriminator's reward in gail (1 - beta; the paper's beta is 0.3)."""
    gail: GAILConfig = dataclasses.field(default_factory=GAILConfig)
    """The discriminator of gail."""
    interval: int = 4
    """The demonstration term enters every interval-th minibatch update."""
    freeze_scale: bool = True
    """Keep the gradient of DAPG's term off the policy's std; in bc nothing else would train it."""
    demonstration_std: float | None = None
    """Std with which demonstrated actions are scored, in place of the policy's (continuous actions). The pull of dapg
    on a pair vanishes where the policy is several stds away: a wide, constant one still reaches such pairs."""

    @property
    def weight(self) -> float:
        """The weight of the method's demonstration term."""
        weights = {"dapg": self.dapg_weight, "dapg-classic": self.classic_weight, "bc": self.bc_weight}
        return (weights | {"gail": self.gail_weight, "none": 0.0})[self.method]

    @property
    def has_loss(self) -> bool:
        """Whether the method adds a term to the policy's loss."""
        return self.method in ("dapg", "dapg-classic", "bc")

    def __post_init__(self):
        if self.method not in get_args(ImitationMethod):
            allowed = ", ".join(get_args(ImitationMethod))
            raise UserError(f"The imitation method is {self.method!r}, but must be one of {allowed}.")
        for name in ("dapg_weight", "classic_weight", "bc_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"The imitation's {name} is {getattr(self, name)}, but must be at least 0 and finite.")
        if not 0 <= self.gail_weight <= 1:
            raise UserError(f"The imitation's gail_weight is {self.gail_weight}, but must lie between 0 and 1.")
        if not 0 < self.classic_decay <= 1:
            raise UserError(
                f"The imitation's classic_decay is {self.classic_decay}, but must be above 0 and at most 1."
            )
        if self.demonstration_std is not None and not 0 < self.demonstration_std < math.inf:
            raise UserError(
                f"The imitation's demonstration_std is {self.demonstration_std}, but must be positive and finite."
            )
        if self.interval < 1:
            raise UserError(f"The imitation's interval is {self.interval}, but must be at least 1.")


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
      weight: the traced weight, which takes the place of `config.weight`.
      iteration: number of updates with demonstrations so far.

    Returns:
      The loss and its metrics.
    """
    if config.demonstration_std is not None:
        policy = policy.with_std(config.demonstration_std)
    elif config.freeze_scale and config.method != "bc":
        policy = policy.freeze_scale()
    log_prob = policy.log_prob(batch.action)
    if config.method == "dapg":
        return dapg_loss(log_prob, advantage_max, weight)
    if config.method == "dapg-classic":
        return classic_dapg_loss(log_prob, advantage_max, weight, config.classic_decay, iteration)
    if config.method == "bc":
        return bc_loss(log_prob, weight)
    raise UserError(
        f"The imitation method is {config.method!r}, which has no loss; allowed are dapg, dapg-classic, bc."
    )
