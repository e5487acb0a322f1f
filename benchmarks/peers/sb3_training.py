"""Stable-Baselines3's training for `benchmarks.update`: run by the interpreter of an environment that has it.

The protocol is that of `rejax_training.py`; there is nothing to compile.
"""

# pyright: reportMissingImports=false
import json
import sys
from importlib.metadata import version

from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env

settings = json.loads(sys.argv[1])
environments = make_vec_env(settings["environment"], n_envs=settings["lanes"])
network = {"net_arch": settings["hidden"]}
if settings["algorithm"] == "ppo":
    steps = settings["num_steps"]
    minibatch = steps * settings["lanes"] // settings["num_minibatches"]
    algorithm = PPO(
        "MlpPolicy", environments, n_steps=steps, batch_size=minibatch, n_epochs=settings["num_epochs"],
        learning_rate=1e-3, policy_kwargs=network, device="cpu",
    )  # fmt: skip
else:
    algorithm = SAC(
        "MlpPolicy", environments, train_freq=1, gradient_steps=1, learning_starts=256, learning_rate=1e-3,
        batch_size=settings["minibatch_size"], buffer_size=settings["replay_capacity"], policy_kwargs=network,
        device="cpu",
    )  # fmt: skip
versions = {name: version(name) for name in ("stable-baselines3", "torch", "gymnasium")}
print(json.dumps({"compile_seconds": "", "versions": versions}), flush=True)
for _ in sys.stdin:
    algorithm.learn(settings["samples"])
    print("{}", flush=True)
