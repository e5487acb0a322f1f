"""Action distributions as small pytrees: `sample`, `log_prob`, `entropy`, `mode`.

Each is batched over its leading axes; a continuous one sums over the last axis, the action's.
"""

import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp


class Distribution(Protocol):
    """What an algorithm and an imitation loss need of a policy's output."""

    def sample(self, key: jax.Array) -> jax.Array:
        """One action per batch entry."""
        ...

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-probability (discrete) or log-density (continuous) of `action`, one number per batch entry."""
        ...

    def entropy(self) -> jax.Array:
        """Entropy in nats, one number per batch entry."""
        ...

    def mode(self) -> jax.Array:
        """The most likely action: what a deterministic evaluation plays."""
        ...

    def freeze_scale(self) -> "Distribution":
        """The same distribution, with no gradient through its spread (itself, where it has none of its own)."""
        ...


class Categorical(NamedTuple):
    """Discrete actions with unnormalised log-probabilities `logits` `[..., A]`."""

    logits: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw an int32 action `[...]`."""
        return jax.random.categorical(key, self.logits)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log softmax(logits)[action], `[...]`."""
        return jnp.take_along_axis(jax.nn.log_softmax(self.logits), action[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """-Σ p log p, `[...]`."""
        log_probs = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def mode(self) -> jax.Array:
        """Most likely action, `[...]`."""
        return jnp.argmax(self.logits, axis=-1)

    def freeze_scale(self) -> "Categorical":
        """Itself: a categorical has no separate spread."""
        return self


class ClampedGaussian(NamedTuple):
    """Independent Gaussians with `mean` `[..., D]` and `std` `[..., D]`, not squashed; whoever makes it clamps `std`.

    The paper's Meta-World policy (GSL A.3): the std is learnable, does not depend on the state, and is clamped.
    """

    mean: jax.Array
    std: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw `mean + std · ε`, `[..., D]`."""
        return self.mean + self.std * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Σ_d log N(action_d; mean_d, std_d), `[...]`."""
        deviation = (action - self.mean) / self.std
        per_dimension = -0.5 * deviation**2 - jnp.log(self.std) - 0.5 * math.log(2 * math.pi)
        return jnp.sum(per_dimension, axis=-1)

    def entropy(self) -> jax.Array:
        """Σ_d (½ + ½ log 2π + log std_d), `[...]`."""
        std = jnp.broadcast_to(self.std, self.mean.shape)
        return jnp.sum(0.5 + 0.5 * math.log(2 * math.pi) + jnp.log(std), axis=-1)

    def mode(self) -> jax.Array:
        """The mean."""
        return self.mean

    def freeze_scale(self) -> "ClampedGaussian":
        """The same Gaussian with no gradient through its std."""
        return self._replace(std=jax.lax.stop_gradient(self.std))
