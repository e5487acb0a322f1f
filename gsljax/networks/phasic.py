"""The dual network of Phasic Policy Gradient (Cobbe et al. 2021), GSL §5.3."""

import flax.linen as nn
import jax

from gsljax.distributions import Distribution
from gsljax.networks.impala import ImpalaEncoder, normalized
from gsljax.networks.mlp import PolicyHead
from gsljax.types import ActionSpec


class PhasicActorCritic(nn.Module):
    """Two full encoders: one carries the policy and an auxiliary value, the other the value.

    The architecture `dual` of openai/phasic-policy-gradient, `ppg.py`; all heads start with weights of norm 0.1.

    Attributes:
      action: the action space; discrete gives a `Categorical`, continuous a `ClampedGaussian`.
      encoder: observation to features; it is copied for each trunk, with parameters of its own. `ImpalaEncoder` for
        images, `MLP` or `VectorEncoder` for vectors.
      initial_std, min_std, max_std, squash_mean: see `GaussianHead`; unused for discrete actions.
    """

    action: ActionSpec
    encoder: nn.Module = ImpalaEncoder(initialization="ppg")
    initial_std: float = 1.0
    min_std: float = 0.5
    max_std: float = 1.5
    squash_mean: bool = False

    def setup(self) -> None:
        """Two trunks and three heads, so that both methods share them."""
        self.policy_trunk = self.encoder.copy()
        self.value_trunk = self.encoder.copy()
        std = (self.initial_std, self.min_std, self.max_std, self.squash_mean)
        self.policy_head = PolicyHead(self.action, normalized(0.1), *std)
        self.value_head = nn.Dense(1, kernel_init=normalized(0.1))
        self.auxiliary_value_head = nn.Dense(1, kernel_init=normalized(0.1))

    def __call__(self, observation: jax.Array) -> tuple[Distribution, jax.Array]:
        """Observations `[..., *shape]` to a distribution over actions and values `[...]`: what acting needs."""
        policy, value, _ = self.with_auxiliary(observation)
        return policy, value

    def with_auxiliary(self, observation: jax.Array) -> tuple[Distribution, jax.Array, jax.Array]:
        """Distribution, value `[...]`, and the policy trunk's auxiliary value `[...]`: what the auxiliary phase trains.

        Call it as `network.apply(params, observation, method="with_auxiliary")`. `init` makes its parameters too.
        """
        features = self.policy_trunk(observation)
        value = self.value_head(self.value_trunk(observation))[..., 0]
        return self.policy_head(features), value, self.auxiliary_value_head(features)[..., 0]
