"""Refusing a configuration that does not fit its environment, its budgets or its preset, before anything starts."""

import math

import jax

from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.errors import UserError
from gsljax.gsl.agent import make_algorithm, settings_of
from gsljax.gsl.config import GSLConfig, TrainingConfig
from gsljax.types import EnvSpec

_PARTS = {"ppo": ("ppo", "ppg"), "auxiliary": ("ppg",), "sac": ("sac",)}
"""The parts of a stage's settings, with the algorithms that use them."""


def check_against(config: GSLConfig, spec: EnvSpec) -> None:
    """Refuse a configuration whose networks, algorithm or sizes do not fit the environment or its own budgets.

    Raises:
      UserError: naming the field.
    """
    if spec.variation_names and len(spec.variation_names) != spec.num_variations:
        raise UserError(
            f"{spec.name} has {len(spec.variation_names)} variation_names, but must have none or one for each of its "
            f"{spec.num_variations} variations."
        )
    for name in config.training_stages:
        _check_stage(name, config, spec)
    _check_handing_on(config)
    if config.is_baseline:
        _check_budget("total_samples", config.total_samples, config, spec.horizon, config.baseline.lanes)
    else:
        _check_sizes(config, spec)


def _check_handing_on(config: GSLConfig) -> None:
    """Refuse stages whose networks mean different things."""
    part = "sac" if config.algorithm == "sac" else "ppo"
    settings = {f"{name}.{part}": getattr(getattr(config, name), part) for name in config.training_stages}
    compared = {"normalize_observations": [one.normalize_observations for one in settings.values()]}
    if part == "sac":
        compared["reward_offset"] = [one.reward_offset for one in settings.values()]
    if part == "ppo":
        compared["normalize_values"] = [one.normalize_values for one in settings.values()]
        compared["normalize_rewards"] = [one.normalize_rewards for one in settings.values()]
        compared["reward_scope"] = [one.reward_scope for one in settings.values() if one.normalize_rewards]
    for what, values in compared.items():
        if len(set(values)) > 1:
            *first, last = settings
            raise UserError(
                f"{what} differs between {', '.join(first)} and {last}, but must be the same, as they hand their "
                "networks on."
            )


def check_unused(config: GSLConfig, default: GSLConfig) -> None:
    """Refuse a change to settings of an algorithm that is not the configured one.

    Raises:
      UserError: naming the settings.
    """
    for name in ("baseline", "generalist", "specialist", "phase_two"):
        for part, users in _PARTS.items():
            is_changed = getattr(getattr(config, name), part) != getattr(getattr(default, name), part)
            if is_changed and config.algorithm not in users:
                raise UserError(
                    f"{name}.{part} was changed, but the algorithm is {config.algorithm!r}, which does not use it."
                )


def check_lanes(config: GSLConfig, environment: JaxEnvironment | PooledEnvironment) -> None:
    """Refuse stages with fewer lanes than pools need for their variations.

    Those of E_low are not known yet: they may be such that every one needs a lane.

    Raises:
      UserError: naming the field.
    """
    if not isinstance(environment, PooledEnvironment):
        return
    of_all = environment.lanes_needed(tuple(range(environment.spec.num_variations)))
    low, of_specialist = config.num_low_performing, config.variations_per_specialist
    needed = {name: of_all for name in config.training_stages}
    if not config.is_baseline:
        needed["specialist"] = low if config.fine_tuning_share else of_specialist
    for name, lanes in needed.items():
        given = getattr(config, name).lanes
        if given < lanes:
            stages = " and fine-tuning" if name == "specialist" and config.fine_tuning_share else ""
            raise UserError(
                f"{name}.lanes is {given}, but {environment.spec.name} needs at least {lanes} for the variations of "
                f"{name}{stages}, one for each."
            )


def most_valid_steps(rollout_steps: int, horizon: int) -> int:
    """The most samples that one lane can yield in an epoch: after `horizon` steps at the latest one step is a reset."""
    return rollout_steps - rollout_steps // (horizon + 1)


def _check_stage(name: str, config: GSLConfig, spec: EnvSpec) -> None:
    training: TrainingConfig = getattr(config, name)
    samples = training.lanes * config.rollout_steps
    if config.algorithm == "sac":
        _check_sac(name, training, samples)
    else:
        _check_policy_gradient(name, training, samples, config, spec)
    imitation = config.imitation if name == "phase_two" else None
    try:
        algorithm = make_algorithm(settings_of(config.algorithm, training), config.network, spec, imitation)
        jax.eval_shape(lambda key: algorithm.init(key, (config.rollout_steps, training.lanes)), jax.random.key(0))
    except UserError as error:
        raise UserError(f"{name} cannot be trained: {error}") from None


def _check_sac(name: str, training: TrainingConfig, samples: int) -> None:
    if training.anneal:
        raise UserError(f"{name}.anneal is set, but SAC's learning rate is constant.")
    if training.initial_std is not None:
        raise UserError(f"{name}.initial_std is set, but SAC's std comes from its network.")
    if training.sac.replay_capacity < samples:
        raise UserError(
            f"{name}.sac.replay_capacity is {training.sac.replay_capacity}, but one rollout holds {samples} samples."
        )


def _check_policy_gradient(name: str, training: TrainingConfig, samples: int, config: GSLConfig, spec: EnvSpec) -> None:
    network = config.network
    if training.initial_std is not None:
        if spec.action.is_discrete or not hasattr(network, "min_std"):
            raise UserError(f"{name}.initial_std is set, but the policy has no std to start with.")
        if not network.min_std <= training.initial_std <= network.max_std:
            raise UserError(
                f"{name}.initial_std is {training.initial_std}, but must lie between network.min_std and "
                f"network.max_std ({network.min_std} and {network.max_std})."
            )
    if training.ppo.minibatch_size > samples:
        raise UserError(
            f"{name}.ppo.minibatch_size is {training.ppo.minibatch_size}, but a rollout of {training.lanes} lanes "
            f"and {config.rollout_steps} steps holds only {samples} samples."
        )


def _check_sizes(config: GSLConfig, spec: EnvSpec) -> None:
    num_variations, horizon = spec.num_variations, spec.horizon
    if config.plateau.metric == "success" and not spec.has_success:
        raise UserError(f"plateau.metric is 'success', but {spec.name} reports none; use 'return'.")
    if config.num_low_performing > num_variations:
        raise UserError(
            f"num_low_performing is {config.num_low_performing}, but the environment has {num_variations} variations."
        )
    episodes = config.demonstrations.specialist_episodes
    if episodes % config.num_low_performing:
        raise UserError(
            f"demonstrations.specialist_episodes is {episodes}, but must be a multiple of num_low_performing "
            f"({config.num_low_performing}), equally many for each variation."
        )
    if config.demonstrations.min_normalized is not None and spec.score_range is None:
        raise UserError(
            f"demonstrations.min_normalized is {config.demonstrations.min_normalized}, but {spec.name} has no score "
            "range to normalise returns by; use demonstrations.min_return."
        )
    specialists = config.specialist.lanes * config.num_specialists
    candidates = specialists * config.specialists_per_subset
    share_and_lanes = {
        "generalist_share": (config.generalist_share, config.generalist.lanes),
        "fine_tuning_share": (config.fine_tuning_share, config.specialist.lanes),
        "trial_share": (config.trial_share, candidates),
        "specialist_share": (
            config.specialist_share - config.trial_share, specialists if config.trial_share else candidates
        ),
    }  # fmt: skip
    left = config.total_samples
    for name, (share, lanes) in share_and_lanes.items():
        budget = int(share * config.total_samples)
        if share or name == "specialist_share":
            _check_budget(name, budget, config, horizon, lanes)
        if share and name in ("trial_share", "specialist_share"):
            _check_window(name, budget // _most_in_epoch(lanes, config, horizon), config)
        left -= budget
    episodes += config.demonstrations.generalist_episodes + config.low_episodes * num_variations
    epoch = _most_in_epoch(config.phase_two.lanes, config, horizon)
    enough = math.ceil((episodes * horizon + epoch) / (1 - sum(share for share, _ in share_and_lanes.values())))
    played = f", after {episodes} episodes of up to {horizon} steps for evaluation and demonstrations; "
    played += f"{enough} would do, or fewer episodes"
    _check_budget("total_samples", left - episodes * horizon, config, horizon, config.phase_two.lanes, played)


def _most_in_epoch(lanes: int, config: GSLConfig, horizon: int) -> int:
    """The most samples that an epoch of all `lanes` can take."""
    return lanes * most_valid_steps(config.rollout_steps, horizon)


def _check_window(field: str, epochs: int, config: GSLConfig) -> None:
    """Refuse a `best_window` that `epochs`, the fewest that the share `field` may pay for, cannot fill."""
    if config.best_window > epochs:
        raise UserError(
            f"best_window is {config.best_window}, but {field} may pay for no more than {epochs} epochs of all "
            "members; lower it, or raise total_samples."
        )


def _check_budget(field: str, budget: int, config: GSLConfig, horizon: int, lanes: int, before: str = "") -> None:
    """Refuse the value of `field` if it leaves its stage, or phase II, with less than an epoch."""
    epoch = _most_in_epoch(lanes, config, horizon)
    if budget < epoch:
        stage = "the baseline" if config.is_baseline else "phase II" if field == "total_samples" else "that stage"
        whole = "" if field == "total_samples" else f" of {config.total_samples} total_samples"
        raise UserError(
            f"{field} is {getattr(config, field)}{whole}, which leaves {stage} {max(budget, 0)} samples, but one epoch "
            f"of it takes {epoch}{before}."
        )
