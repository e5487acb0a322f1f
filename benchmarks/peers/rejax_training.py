"""rejax's training for `benchmarks.update`: run by the interpreter of an environment that has rejax, not gsljax.

The settings come as JSON in the first argument; the seconds that compiling took are printed, then, for every line that
is read, the program runs once.
"""

# pyright: reportMissingImports=false
import json
import sys
import time
from importlib.metadata import version

import jax
from rejax import PPO, SAC

settings = json.loads(sys.argv[1])
common = {
    "env": settings["environment"],
    "total_timesteps": settings["samples"],
    "eval_freq": settings["samples"],
    "skip_initial_evaluation": True,
    "num_envs": settings["lanes"],
    "learning_rate": 1e-3,
}
if settings["algorithm"] == "ppo":
    network = {"hidden_layer_sizes": settings["hidden"], "activation": "tanh"}
    ppo = {name: settings[name] for name in ("num_steps", "num_epochs", "num_minibatches")}
    algorithm = PPO.create(**common, **ppo, agent_kwargs=network, max_grad_norm=0.5)
else:
    replay = {"buffer_size": settings["replay_capacity"], "fill_buffer": 256, "batch_size": settings["minibatch_size"]}
    algorithm = SAC.create(**common, **replay, num_epochs=1, hidden_layer_sizes=settings["hidden"])
algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())

started = time.perf_counter()
train = jax.jit(lambda key: algorithm.train(key)).lower(jax.random.key(0)).compile()
versions = {name: version(name) for name in ("rejax", "jax", "gymnax")}
print(json.dumps({"compile_seconds": time.perf_counter() - started, "versions": versions}), flush=True)
for _ in sys.stdin:
    jax.block_until_ready(train(jax.random.key(0)))
    print("{}", flush=True)
