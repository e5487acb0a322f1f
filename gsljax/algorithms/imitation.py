"""How demonstrations are used: by an auxiliary loss (DAPG in two forms, BC) or by an auxiliary reward (GAIL)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import flax.linen as nn
import jax

from gsljax.algorithms.adversary import Adversary, GAILConfig, LogProb, make_adversary
from gsljax.distributions import Distribution
from gsljax.errors import UserError
from gsljax.losses import bc_loss, bc_squared_error_loss, classic_dapg_loss, dapg_loss
from gsljax.normalization import Moments
from gsljax.types import DemonstrationBatch, EnvSpec, Metrics, Scalar

ImitationMethod = Literal["none", "dapg", "dapg-classic", "bc", "gail"]
CloningLoss = Literal["log-likelihood", "squared-error"]


@dataclasses.dataclass(frozen=True)
class ImitationConfig:
    """How demonstrations enter the policy's loss in phase II."""

    method: ImitationMethod = "dapg"
    """dapg: the paper's smoothed form; dapg-classic: log-likelihood with a decaying weight; bc: the likelihood alone,
    without the reinforcement-learning loss; gail: a discriminator's reward beside the environment's; none:
    demonstrations unused. In a run it follows from the run's method and algorithm."""
    dapg_weight: float = 0.5
    """Weight of the demonstration term of dapg (ω; the authors' 0.5)."""
    classic_weight: float = 0.01
    """Weight of the demonstration term of dapg-classic at its start (λ0)."""
    classic_decay: float = 0.95
    """Decay of dapg-classic's weight per update (λ1)."""
    bc_weight: float = 1.0
    """Weight of bc's loss."""
    bc_loss: CloningLoss = "log-likelihood"
    """Loss of bc: the likelihood of demonstrated actions, or the squared error of the policy's deterministic one
    (continuous actions), which leaves a Gaussian's std untrained."""
    gail_weight: float = 0.7
    """Share of the discriminator's reward in gail (1 - beta; the paper's beta is 0.3)."""
    gail: GAILConfig = dataclasses.field(default_factory=GAILConfig)
    """The discriminator of gail."""
    interval: int = 4
    """The demonstration term of dapg, dapg-classic and bc enters every interval-th minibatch update."""
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
        if self.bc_loss not in get_args(CloningLoss):
            allowed = " or ".join(get_args(CloningLoss))
            raise UserError(f"The imitation's bc_loss is {self.bc_loss!r}, but must be {allowed}.")
        if not 0 <= self.gail_weight <= 1:
            raise UserError(f"The imitation's gail_weight is {self.gail_weight}, but must lie between 0 and 1.")
        if self.gail_weight == 1 and self.gail.keep_scale:
            raise UserError(
                "The imitation's gail_weight is 1, but must be below 1 where gail.keep_scale is set, which divides by "
                "the share of the environment's reward."
            )
        if not 0 < self.classic_decay <= 1:
            raise UserError(
                f"The imitation's classic_decay is {self.classic_decay}, but must be above 0 and at most 1."
            )
        if self.demonstration_std is not None and not 0 < self.demonstration_std < math.inf:
            raise UserError(
                f"The imitation's demonstration_std is {self.demonstration_std}, but must be positive and finite."
            )
        if self.demonstration_std is not None and self.method == "bc" and self.bc_loss == "squared-error":
            raise UserError(
                f"The imitation's demonstration_std is {self.demonstration_std}, but must be None for the bc_loss "
                "squared-error, which scores no action with a std."
            )
        if self.interval < 1:
            raise UserError(f"The imitation's interval is {self.interval}, but must be at least 1.")


def usable_imitation(imitation: ImitationConfig | None, spec: EnvSpec) -> ImitationConfig | None:
    """The configuration as an algorithm takes it: None where demonstrations are unused.

    Raises:
      UserError: if it cannot be used with the environment's actions.
    """
    if imitation is None or imitation.method == "none":
        return None
    if imitation.method == "bc" and imitation.bc_loss == "squared-error" and spec.action.is_discrete:
        raise UserError(
            f"The imitation's bc_loss is 'squared-error', but the actions of {spec.name} are discrete and have no "
            "distance; allowed is log-likelihood."
        )
    return imitation


def adversary_of(
    imitation: ImitationConfig | None,
    spec: EnvSpec,
    log_prob: LogProb,
    discriminator: nn.Module | None,
    statistics: Callable[[Any], Moments] | None,
) -> Adversary | None:
    """GAIL's discriminator, where the method is gail; see `make_adversary`.

    Raises:
      UserError: if there is a discriminator without that method, or it does not fit.
    """
    if imitation is not None and imitation.method == "gail":
        return make_adversary(spec, imitation.gail, log_prob, discriminator, statistics)
    if discriminator is not None:
        method = "none" if imitation is None else imitation.method
        raise UserError(f"A discriminator is given, but the imitation method is {method!r}; only gail has one.")
    return None


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
    if config.method == "bc" and config.bc_loss == "squared-error":
        return bc_squared_error_loss(policy.mode(), batch.action, weight)
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
