"""The shapes everybody passes around: what an environment is, what a rollout holds, what a demonstration is.

Axes are named once, here: `T` steps, `N` lanes (parallel copies of the environment), `V` variations, `P` members
(parameter copies), `K` variations a lane may draw from. Everything below is one member's; `gsljax.population` adds the
leading member axis.
"""

from typing import Any, NamedTuple

import jax

from gsljax.cloud_layout import CloudLayout

Scalar = jax.Array | float
"""A traced or a plain number."""

Metrics = dict[str, jax.Array]
"""Flat dict of scalars with stable names, such as `{"policy_loss": ...}`."""


class ActionSpec(NamedTuple):
    """What an environment accepts: `num_actions` discrete choices, or a box of `dimension` reals in [low, high]."""

    num_actions: int | None = None
    dimension: int | None = None
    low: float = -1.0
    high: float = 1.0

    @property
    def is_discrete(self) -> bool:
        """Whether an action is one of `num_actions` integers."""
        return self.num_actions is not None

    def clip(self, action: Any) -> Any:
        """Actions `[..., D]` (NumPy's or JAX's) as the environment plays them; discrete ones as they are."""
        return action if self.is_discrete else action.clip(self.low, self.high)


class EnvSpec(NamedTuple):
    """What the rest of gsljax must know about an environment.

    Attributes:
      name: shown to the user.
      num_variations: how many variations there are; their ids are 0 .. num_variations - 1.
      observation_shape: shape of one lane's observation.
      observation_dtype: its dtype name, `"float32"` or `"uint8"`.
      action: the action space.
      horizon: longest episode in steps; an episode that reaches it is truncated.
      has_success: whether steps carry a meaningful `success`.
      score_range: the returns that count as 0 and as 1 in a normalised score; None where there is no such convention.
      variation_names: what the variations are called in tables and figures, in the order of their ids; empty where they
        are called by their ids.
      cloud_layout: how an observation holds a point cloud; None where it is a plain array.
    """

    name: str
    num_variations: int
    observation_shape: tuple[int, ...]
    observation_dtype: str
    action: ActionSpec
    horizon: int
    has_success: bool
    score_range: tuple[float, float] | None = None
    variation_names: tuple[str, ...] = ()
    cloud_layout: CloudLayout | None = None

    def normalized(self, episode_return: float) -> float:
        """The score of a return, from 0 to 1 within `score_range`, which must not be None."""
        assert self.score_range is not None
        low, high = self.score_range
        return (episode_return - low) / (high - low)

    def return_of(self, normalized: float) -> float:
        """The return of a score, the inverse of `normalized`."""
        assert self.score_range is not None
        low, high = self.score_range
        return low + normalized * (high - low)


class Step(NamedTuple):
    """One step of all lanes of one member, each field `[N]` or `[N, ...]`.

    `observation` is what the step led to: after `terminated` or `truncated` the true final one. The step after that
    ignores its action, returns the first observation of the next episode and has `valid` False (Gymnasium's NEXT_STEP
    rule). `episode_return` and `success` belong to the whole episode so far; read them where it ends.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    valid: jax.Array
    variation: jax.Array
    episode_return: jax.Array
    success: jax.Array


class Rollout(NamedTuple):
    """What `gsljax.rollout.collect` returns and every algorithm's `update` takes.

    Attributes:
      observation: `[T + 1, N, ...]`; entry t is what action t was chosen from, the last one is for bootstrapping.
      action: `[T, N, ...]` as sampled from the policy (an environment clips it to its own range).
      reward: `[T, N]`.
      terminated, truncated: `[T, N]` bool; how the episode ended with this step, if it did.
      valid: `[T, N]` bool; False where the step was a reset and its action was ignored.
      log_prob: `[T, N]` of `action` under the policy that chose it.
      value: `[T + 1, N]` value estimates of `observation`.
      variation: `[T, N]` int32 id of the variation being played.
      episode_return: `[T, N]` undiscounted return of the episode so far.
      success: `[T, N]` bool, success of the episode so far.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    valid: jax.Array
    log_prob: jax.Array
    value: jax.Array
    variation: jax.Array
    episode_return: jax.Array
    success: jax.Array


class DemonstrationBatch(NamedTuple):
    """Observation-action pairs to imitate: `observation` `[B, ...]` and `action` `[B, ...]`, any leading axes."""

    observation: Any
    action: Any
