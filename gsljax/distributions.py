"""Action distributions as small pytrees: `sample`, `log_prob`, `entropy`, `mode`, `kl`.

Each is batched over its leading axes; a continuous one sums over the last axis, the action's.
"""

import dataclasses
import functools
import math
from typing import NamedTuple, Protocol, Self

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

    def with_std(self, std: float) -> Self:
        """The same distribution with another, constant std (itself, where it has none)."""
        ...

    def kl(self, other: Self) -> jax.Array:
        """KL(self‖other) in nats, one number per batch entry; `other` is of the same kind and shape."""
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

    def with_std(self, std: float) -> "Categorical":
        """Itself: a categorical has no std."""
        return self

    def kl(self, other: "Categorical") -> jax.Array:
        """Σ_a p (log p − log q), `[...]`."""
        log_probs, other_log_probs = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(other.logits)
        return jnp.sum(jnp.exp(log_probs) * (log_probs - other_log_probs), axis=-1)


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

    def with_std(self, std: float) -> "ClampedGaussian":
        """The Gaussian with the same mean and a constant std in every dimension."""
        return self._replace(std=jnp.full_like(self.std, std))

    def kl(self, other: "ClampedGaussian") -> jax.Array:
        """Σ_d (log(τ_d / σ_d) + (σ_d² + (μ_d − ν_d)²) / 2τ_d² − ½) for N(μ, σ) from N(ν, τ), `[...]`."""
        ratio, shift = self.std / other.std, (self.mean - other.mean) / other.std
        return jnp.sum(0.5 * (jnp.square(ratio) + jnp.square(shift) - 1) - jnp.log(ratio), axis=-1)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["mean", "std"], meta_fields=["low", "high"])
@dataclasses.dataclass(frozen=True)
class TanhGaussian:
    """Gaussians squashed into (low, high): action = centre + half-width · tanh(u), u ~ N(mean, std) per dimension.

    SAC's policy (Haarnoja et al. 2018, App. C). `mean` and `std` are `[..., D]` and describe u; `low` and `high`
    (`ActionSpec`'s) are static.
    """

    mean: jax.Array
    std: jax.Array
    low: float = -1.0
    high: float = 1.0

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw an action, `[..., D]`, differentiable in `mean` and `std`."""
        return self._squash(self._unsquashed.sample(key))

    def sample_and_log_prob(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What `sample` draws, and its log-density `[...]` computed from u: exact however close to a bound."""
        unsquashed = self._unsquashed.sample(key)
        log_prob = self._unsquashed.log_prob(unsquashed) - jnp.sum(self._log_slope(unsquashed), axis=-1)
        return self._squash(unsquashed), log_prob

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-density of `action`, log N(u) − Σ_d log |d action_d / du_d| at u = atanh(…), `[...]`.

        An action within a millionth of a bound, or beyond it, counts as one there (|u| ≤ 7.25): finite, but no longer
        exact. For the policy's own samples take `sample_and_log_prob`.
        """
        centre, half_width = 0.5 * (self.high + self.low), 0.5 * (self.high - self.low)
        limit = 1 - 1e-6
        unsquashed = jnp.arctanh(jnp.clip((action - centre) / half_width, -limit, limit))
        return self._unsquashed.log_prob(unsquashed) - jnp.sum(self._log_slope(unsquashed), axis=-1)

    def entropy(self) -> jax.Array:
        """Entropy of u plus E Σ_d log |d action_d / du_d|, `[...]`.

        The expectation has no closed form, but it is one-dimensional per action: the trapezoidal rule on 65 points
        gives it to float32 precision for std up to 3, and within 0.001 nats up to e² (SAC's usual bound).
        """
        noise = jnp.linspace(-6.4, 6.4, 65, dtype=self.mean.dtype)
        weight = jax.nn.softmax(-0.5 * jnp.square(noise))
        slope = self._log_slope(self.mean[..., None] + self.std[..., None] * noise)
        return self._unsquashed.entropy() + jnp.sum(slope * weight, axis=(-2, -1))

    def mode(self) -> jax.Array:
        """The squashed mean, `[..., D]`: the median, which for a wide std is not where the density is largest."""
        return self._squash(self.mean)

    def freeze_scale(self) -> "TanhGaussian":
        """The same distribution with no gradient through its std."""
        return dataclasses.replace(self, std=jax.lax.stop_gradient(self.std))

    def with_std(self, std: float) -> "TanhGaussian":
        """The distribution with the same `mean` of u and a constant std of u in every dimension."""
        return dataclasses.replace(self, std=jnp.full_like(self.std, std))

    def kl(self, other: "TanhGaussian") -> jax.Array:
        """KL(self‖other), `[...]`: squashing both alike does not change the Gaussians'.

        Raises:
          ValueError: if the bounds differ.
        """
        if (self.low, self.high) != (other.low, other.high):
            raise ValueError(
                f"the bounds must be the same, not [{self.low}, {self.high}] and [{other.low}, {other.high}]"
            )
        return self._unsquashed.kl(other._unsquashed)

    @property
    def _unsquashed(self) -> ClampedGaussian:
        return ClampedGaussian(self.mean, self.std)

    def _squash(self, unsquashed: jax.Array) -> jax.Array:
        action = 0.5 * (self.high + self.low) + 0.5 * (self.high - self.low) * jnp.tanh(unsquashed)
        return jnp.clip(action, self.low, self.high)  # rounding can exceed a bound

    def _log_slope(self, unsquashed: jax.Array) -> jax.Array:
        """Log of half-width · (1 − tanh² u), which is 2 (log 2 − u − log(1 + exp(−2u))): never the log of 0."""
        log_slope = 2 * (math.log(2) - unsquashed - jax.nn.softplus(-2 * unsquashed))
        return log_slope + math.log(0.5 * (self.high - self.low))
