"""gsljax: generalist-specialist learning (GSL, ICML 2022) in JAX.

From Python, a whole run is `gsljax.api.train("maze")`; its parts are pure functions that jit, vmap and shard in a script
of your own: `gsljax.algorithms.make_ppo`, `gsljax.rollout.collect`, `gsljax.population.over_members`, `gsljax.losses`.
"""

from gsljax import algorithms, api, envs, evaluation, gsl, losses, networks, population, presets, rollout, train_state
from gsljax.errors import UserError

__all__ = [
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
