"""GAIL's discriminator (Ho & Ermon 2016), GSL §3 and A.4: which of two sources did a pair come from?"""

from typing import Any

import flax.linen as nn
import jax

from gsljax.networks.mlp import VectorEncoder
from gsljax.networks.soft_actor_critic import linear
from gsljax.types import ActionSpec


class Discriminator(nn.Module):
    """The logit that a pair came from the *policy*: D(s, a) = sigmoid(logit), near 0 for demonstrations.

    Attributes:
      action: the action space; discrete actions go in one-hot, continuous ones as they are.
      encoder: observation and action to features: `VectorEncoder`, `ImpalaEncoder` for images, `PointCloudEncoder`.
    """

    action: ActionSpec
    encoder: nn.Module = VectorEncoder()

    @nn.compact
    def __call__(self, observation: Any, action: jax.Array) -> jax.Array:
        """Observation `[..., *shape]` and action, `[...]` integers or `[..., D]` reals, to logits `[...]`."""
        if self.action.num_actions is not None:
            action = jax.nn.one_hot(action, self.action.num_actions)
        return linear(1, "logit")(self.encoder(observation, action))[..., 0]
