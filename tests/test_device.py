"""Convolutions go into CUDA graphs on a GPU alone, and only where no compilation cache is kept."""

import jax
import pytest

from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.device import GRAPHS, compiler_options, is_accelerator
from gsljax.gsl.training import acting_strategy, chosen_strategy
from gsljax.networks import ImpalaActorCritic
from gsljax.train_state import clone
from gsljax.types import ActionSpec, EnvSpec


@pytest.mark.parametrize(
    ("backend", "cache", "expected"),
    [
        ("cpu", None, None),
        ("tpu", None, None),
        ("gpu", None, {"xla_gpu_enable_command_buffer": GRAPHS}),
        ("gpu", "somewhere", None),
    ],
)
def test_graphs_of_convolutions(backend, cache, expected, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", cache)
    try:
        assert compiler_options() == expected
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert is_accelerator() == (backend != "cpu")


def test_xla_knows_the_names_of_what_goes_into_a_graph():
    """A CPU's compiler reads the option, too, and refuses a name that it does not know."""
    options = {"xla_gpu_enable_command_buffer": GRAPHS}
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2
    with pytest.raises(jax.errors.JaxRuntimeError, match="not a valid enum value"):
        jax.jit(lambda x: x + 1, compiler_options={"xla_gpu_enable_command_buffer": "NOTHING"})(1)


def test_beside_an_accelerator_a_population_acts_all_at_once_unless_told(monkeypatch):
    spec = EnvSpec("test", 1, (64, 64, 3), "uint8", ActionSpec(num_actions=3), 5, False)
    algorithm = make_ppo(ImpalaActorCritic(spec.action, (4,), 8), spec, PPOConfig())
    states = clone(algorithm.init(jax.random.key(0)), 40)
    assert isinstance(chosen_strategy("auto", states), int)  # as many as a CPU's cache holds
    assert acting_strategy("auto", states) == chosen_strategy("auto", states)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert acting_strategy("auto", states) == "vmap" and chosen_strategy("auto", states) == "map"
    assert acting_strategy("map", states) == "map"
