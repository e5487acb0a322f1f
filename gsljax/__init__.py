"""gsljax: generalist-specialist learning (GSL, ICML 2022) in JAX.

From Python, a whole run is `gsljax.api.train("maze")`; its parts are pure functions that jit, vmap and shard in a
script of your own: `algorithms.make_ppo`, `rollout.collect`, `population.over_members`, `losses`.
"""

from gsljax import algorithms, api, envs, evaluation, gsl, losses, networks, population, presets, rollout, train_state
from gsljax.errors import TimeIsUp, UserError

__all__ = [
    "TimeIsUp",
    "UserError",
    "algorithms",
    "api",
    "envs",
    "evaluation",
    "gsl",
    "losses",
    "networks",
    "population",
    "presets",
    "rollout",
    "train_state",
]
