"""PushChair (Mu et al. 2021; GSL §5.4): a mobile robot with two arms pushes an office chair to a target.

Each of eight procedural chairs is a variation. docs/push_chair.md says what differs from the original task.
"""

import functools
import typing
from collections.abc import Sequence

from gsljax.envs.pools import Pools
from gsljax.envs.process_lanes import ProcessLanes
from gsljax.envs.push_chair.chairs import CHAIRS
from gsljax.envs.push_chair.lane import Mode, make_lane
from gsljax.envs.push_chair.observation import CHAIR_STATE, CLOUD_LAYOUT, NUM_ACTIONS
from gsljax.envs.push_chair.start import HORIZON
from gsljax.envs.vector_pools import require
from gsljax.errors import UserError
from gsljax.types import ActionSpec, EnvSpec

MOST_LANES = 32
"""In evaluations and demonstrations: a scene takes half a second to build, in which many steps could be played."""


def push_chair(
    mode: Mode = "state",
    physics_frequency: int = 100,
    horizon: int = HORIZON,
    num_workers: int | None = None,
    chairs: Sequence[str] = (),
) -> Pools:
    """The eight chairs, or some; variation v is the v-th of them, and every reset draws poses and frictions anew.

    An episode never terminates: it is truncated at the horizon, and is a success if any of its steps was one. Actions
    are `[22]` in [-1, 1]: velocities of the base and the arms, positions of the fingers, at 20 Hz.

    Args:
      mode: `state`, observations float32 `[113]`: the robot's state 87, the chair's 18, a one-hot id 8; `cloud`, packed
        point clouds (`gsljax.cloud_layout`) of 1200 points in two segments, robot and chair, and the robot's state 87.
        All positions and velocities are in the robot's frame.
      physics_frequency: in Hz, a multiple of 20; the original's is 500, which is slower.
      horizon: steps of an episode, 200 in the original.
      num_workers: the most processes that step the lanes; None for the number of cores.
      chairs: names of those to push, from `CHAIRS`; all of them if there are none. The one-hot id has all eight.

    Raises:
      UserError: if an argument is out of range, or ManiSkill or PyTorch is not installed.
    """
    if mode not in typing.get_args(Mode):
        raise UserError(f"PushChair's mode is {mode!r}, but must be one of: {', '.join(typing.get_args(Mode))}.")
    if physics_frequency < 20 or physics_frequency % 20:
        raise UserError(f"PushChair's physics_frequency is {physics_frequency}, but must be a multiple of 20.")
    if horizon < 1:
        raise UserError(f"PushChair's horizon is {horizon}, but must be at least 1.")
    played = _names(chairs)
    for package in ("torch", "mani_skill"):
        require(package, "PushChair", "maniskill")
    spec = spec_of(mode, horizon, played)
    ids = tuple(list(CHAIRS).index(name) for name in played)
    make = functools.partial(make_lane, chairs=ids, mode=mode, physics_frequency=physics_frequency, horizon=horizon)
    return Pools(spec, ProcessLanes(spec, make, num_workers).open_pool, most_lanes=MOST_LANES)


def _names(chairs: Sequence[str]) -> tuple[str, ...]:
    """Of all chairs if none are given."""
    for name in chairs:
        if name not in CHAIRS:
            raise UserError(f"PushChair has no chair {name!r}; there are: {', '.join(CHAIRS)}.")
    if len(set(chairs)) != len(chairs):
        raise UserError("PushChair's chairs name one of them twice, but each can be a variation once.")
    return tuple(chairs) or tuple(CHAIRS)


def spec_of(mode: Mode, horizon: int = HORIZON, chairs: Sequence[str] = tuple(CHAIRS)) -> EnvSpec:
    """What `push_chair` says of itself, which needs nothing to be installed."""
    is_cloud = mode == "cloud"
    return EnvSpec(
        name="PushChair",
        num_variations=len(chairs),
        observation_shape=(CLOUD_LAYOUT.size if is_cloud else CLOUD_LAYOUT.state + CHAIR_STATE + len(CHAIRS),),
        observation_dtype="uint8" if is_cloud else "float32",
        action=ActionSpec(dimension=NUM_ACTIONS, low=-1.0, high=1.0),
        horizon=horizon,
        has_success=True,
        cloud_layout=CLOUD_LAYOUT if is_cloud else None,
        variation_names=tuple(chairs),
    )


__all__ = ["CHAIRS", "HORIZON", "Mode", "push_chair", "spec_of"]
