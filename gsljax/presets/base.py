"""What a preset is: a named configuration with its environment and its pictures."""

from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.errors import UserError
from gsljax.gsl.config import GSLConfig
from gsljax.gsl.experiment import Experiment
from gsljax.gsl.run import Outcome
from gsljax.report.film import FilmStyle


class Preset(NamedTuple):
    """A benchmark of the paper as one command.

    Attributes:
      name: what the command line calls it.
      description: one line.
      expected_time: of a whole run, with the hardware, as measured.
      config: the defaults; its class names every flag. Its algorithm is the preset's usual one.
      make_environment: from a configuration of that class.
      draw_behaviour: pictures of what the policies do, by file name; None if the benchmark has none.
      make_test_environment: the held-out variations of `gsljax evaluate --split test`; None if there are none.
      other_configs: the defaults with other algorithms.
      make_evaluation_environment: the training variations as the policy is evaluated on them after the run, if that is
        not as in training.
      evaluation_settings: dotted names of the settings that only evaluations after a run depend on: runs that differ in
        them have the same beginning.
      film_style: from a configuration, how episodes are drawn; None if they are filmed by observations that are images.
    """

    name: str
    description: str
    expected_time: str
    config: GSLConfig
    make_environment: Callable[[Any], JaxEnvironment | PooledEnvironment]
    draw_behaviour: Callable[[Experiment, Outcome], dict[str, Figure]] | None = None
    make_test_environment: Callable[[Any], JaxEnvironment | PooledEnvironment] | None = None
    other_configs: tuple[GSLConfig, ...] = ()
    make_evaluation_environment: Callable[[Any], JaxEnvironment | PooledEnvironment] | None = None
    evaluation_settings: tuple[str, ...] = ()
    film_style: Callable[[Any], FilmStyle] | None = None

    def config_for(self, algorithm: str) -> Any:
        """The defaults with an algorithm.

        Raises:
          UserError: if the preset has none, naming those it has.
        """
        configs = {config.algorithm: config for config in (self.config, *self.other_configs)}
        if algorithm not in configs:
            raise UserError(
                f"algorithm is {algorithm!r} (given, or the method's), but the preset {self.name} has settings only "
                f"for: {', '.join(configs)}."
            )
        return configs[algorithm]
