"""The paper's maze (GSL §4, A.1): a corridor, a junction, and one branch for every goal.

The free space is a union of axis-aligned rectangles. A step moves along x, then along y, each time as far as the
union allows on that straight line; so walls can neither be passed nor tunnelled through, at any speed, and an agent
that pushes diagonally into a wall slides along it.

                          +---+------------------
                          |   |   branch n-1   (goal)
                          |   +------------------
      +-------------------+   +------------------
      | start   corridor      |   branch ...   (goal)
      +-------------------+   +------------------
                          |   +------------------
                          |   |   branch 0     (goal)
                          +---+------------------
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces

from gsljax.errors import UserError


@dataclasses.dataclass(frozen=True)
class BrushMazeConfig:
    """Geometry, context, reward and observation of the maze, in maze units and steps."""

    num_branches: int = 5
    """Number of branches, goals and variations (n)."""
    corridor_length: float = 6.0
    """Length of the corridor from the start to the junction."""
    junction_width: float = 3.0
    """Extent of the junction along x: a bar that joins the corridor to all branches."""
    branch_length: float = 3.0
    """Length of each branch; the goal is half a half-width before its end."""
    branch_spacing: float = 1.0
    """Distance between the centre lines of neighbouring branches."""
    half_width: float = 0.35
    """Half the width of the corridor and of each branch."""
    max_speed: float = 0.25
    """Largest displacement per step and axis; the action (-1 .. 1) is in units of it."""
    goal_radius: float = 0.6
    """An episode is a success if it ends this close to its goal."""
    start_noise: float = 0.2
    """The start is uniform over 0 <= x <= twice this, |y| <= this, cut to the corridor."""
    intervals_per_goal: int = 3
    """Number of disjoint context intervals that stand for the same goal: the more, the harder c is to read."""
    interval_gap: float = 0.5
    """Share of [-context_scale, context_scale] left empty between the intervals."""
    context_scale: float = 1.0
    """The context intervals lie in [-context_scale, context_scale]: the smaller, the harder c is to read."""
    position_scale: float = 0.2
    """Positions are multiplied by this in the observation."""
    reward: Literal["manhattan", "geodesic"] = "manhattan"
    """Distance in the reward: |dx| + |dy|, exact outside wrong branches, or the exact one that leads out of them."""
    reward_scale: float = 0.1
    """Reward per step is minus this times the distance to the goal."""
    horizon: int = 150
    """Steps after which an episode is truncated."""

    def __post_init__(self):
        for name in ("num_branches", "intervals_per_goal", "horizon"):
            if getattr(self, name) < 1:
                raise UserError(f"The maze's {name} is {getattr(self, name)}, but must be at least 1.")
        positive = ("corridor_length", "junction_width", "branch_length", "branch_spacing", "half_width", "max_speed",
                    "goal_radius", "context_scale", "position_scale", "reward_scale")  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise UserError(f"The maze's {name} is {getattr(self, name)}, but must be positive.")
        if not self.start_noise >= 0:
            raise UserError(f"The maze's start_noise is {self.start_noise}, but must not be negative.")
        if not 0 <= self.interval_gap < 1:
            raise UserError(f"The maze's interval_gap is {self.interval_gap}, but must be at least 0 and below 1.")
        if self.reward not in ("manhattan", "geodesic"):
            raise UserError(f"The maze's reward is {self.reward!r}, but must be 'manhattan' or 'geodesic'.")
        if self.branch_spacing <= 2 * self.half_width:
            raise UserError(
                f"The maze's branch_spacing is {self.branch_spacing}, but must exceed twice the half_width "
                f"({self.half_width}), or the branches would have no wall between them."
            )
        if self.num_branches > 1 and self.goal_radius >= self.branch_spacing - self.half_width:
            raise UserError(
                f"The maze's goal_radius is {self.goal_radius}, but must be below branch_spacing - half_width "
                f"({self.branch_spacing - self.half_width:g}), or it would reach into the neighbouring branch."
            )


@struct.dataclass
class BrushMazeParams(environment.EnvParams):
    """What may differ between lanes: the variation (the goal's index; -1 draws one at each reset)."""

    variation: int | jax.Array = -1
    max_steps_in_episode: int = 150


@struct.dataclass
class BrushMazeState(environment.EnvState):
    """Where the agent is: `position` and `velocity` `[2]` in maze units, the drawn `goal` and its `context`."""

    time: int | jax.Array
    position: jax.Array
    velocity: jax.Array
    goal: jax.Array
    context: jax.Array


def context_intervals(num_goals: int, per_goal: int, gap: float, scale: float) -> np.ndarray:
    """The context intervals of every goal, `[num_goals, per_goal, 2]` (low, high), disjoint, covering [-scale, scale].

    The range is cut into `per_goal` blocks of `num_goals` slots, and the share `gap` of every slot is left empty around
    it. With one interval per goal the slots are in the goals' order. With more, every block has its own fixed
    permutation of the goals (two blocks may share one), and the goal is no monotone function of the context.
    """
    width = 2 * scale / (num_goals * per_goal)
    intervals = np.zeros((num_goals, per_goal, 2))
    for block in range(per_goal):
        order = np.arange(num_goals) if per_goal == 1 else np.random.default_rng(block).permutation(num_goals)
        for goal in range(num_goals):
            low = -scale + (block * num_goals + order[goal]) * width
            intervals[goal, block] = low + width * gap / 2, low + width * (1 - gap / 2)
    return intervals.astype(np.float32)


class BrushMaze(environment.Environment[BrushMazeState, BrushMazeParams]):
    """The maze as a gymnax environment.

    Observation `[5]` float32: position (2) × `position_scale`, velocity of the last step (2) in units of `max_speed`,
    context. Action `[2]`: velocity in units of `max_speed`, clipped to [-1, 1]. Reward: minus `reward_scale` times the
    distance to the goal after the step. `info["success"]`: whether the episode ended, with this step, at its goal.
    There is no termination, only truncation at the horizon.

    Attributes:
      config: the geometry and the rest of the parameters.
      rectangles: `[R, 4]` (x0, x1, y0, y1): corridor, junction, branch 0 .. n-1 from bottom to top.
      goals: `[n, 2]` positions.
      intervals: `[n, intervals_per_goal, 2]` context intervals.
    """

    def __init__(self, config: BrushMazeConfig | None = None):
        """Lay out the rectangles, goals and context intervals of `config`."""
        super().__init__()
        self.config = c = config or BrushMazeConfig()
        centres = (np.arange(c.num_branches) - (c.num_branches - 1) / 2) * c.branch_spacing
        bar_start, bar_end = c.corridor_length, c.corridor_length + c.junction_width
        end = bar_end + c.branch_length
        half_height = max(centres[-1] + c.half_width, c.half_width)
        corridor = [0.0, bar_start, -c.half_width, c.half_width]
        junction = [bar_start, bar_end, -half_height, half_height]
        branches = [[bar_end, end, y - c.half_width, y + c.half_width] for y in centres]
        self.rectangles = np.array([corridor, junction, *branches], np.float32)
        self.goals = np.stack([np.full(c.num_branches, end - c.half_width / 2), centres], axis=1).astype(np.float32)
        self.intervals = context_intervals(c.num_branches, c.intervals_per_goal, c.interval_gap, c.context_scale)

    @property
    def default_params(self) -> BrushMazeParams:
        """Variation drawn at each reset, horizon from the configuration."""
        return BrushMazeParams(max_steps_in_episode=self.config.horizon)

    def reset_env(self, key: jax.Array, params: BrushMazeParams) -> tuple[jax.Array, BrushMazeState]:
        """Draw the goal (unless `params.variation` names it), the context from the goal's intervals, the start."""
        goal_key, slot_key, context_key, start_key = jax.random.split(key, 4)
        c = self.config
        drawn = jax.random.randint(goal_key, (), 0, c.num_branches)
        goal = jnp.where(jnp.asarray(params.variation) < 0, drawn, params.variation).astype(jnp.int32)
        slot = jax.random.randint(slot_key, (), 0, c.intervals_per_goal)
        low, high = jnp.asarray(self.intervals)[goal, slot]
        context = jax.random.uniform(context_key, (), jnp.float32, low, high)
        reach, half = min(2 * c.start_noise, c.corridor_length), min(c.start_noise, c.half_width)
        start = jax.random.uniform(start_key, (2,), jnp.float32, jnp.array([0.0, -half]), jnp.array([reach, half]))
        state = BrushMazeState(jnp.zeros((), jnp.int32), start, jnp.zeros(2), goal, context)
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: jax.Array, state: BrushMazeState, action: jax.Array, params: BrushMazeParams
    ) -> tuple[jax.Array, BrushMazeState, jax.Array, jax.Array, dict[Any, Any]]:
        """Move by the clipped action, sliding along walls."""
        position = self.move(state.position, jnp.clip(action, -1.0, 1.0) * self.config.max_speed)
        state = BrushMazeState(state.time + 1, position, position - state.position, state.goal, state.context)
        reward = -self.config.reward_scale * self.distance(position, state.goal)
        at_goal = jnp.linalg.norm(position - jnp.asarray(self.goals)[state.goal]) <= self.config.goal_radius
        info = {"success": at_goal & self.is_truncated(state, params)}
        return self.observe(key, state, action, params), state, reward, jnp.zeros((), bool), info

    def move(self, position: jax.Array, displacement: jax.Array) -> jax.Array:
        """Where a displacement `[2]` leads from a free position `[2]`: along x, then along y, up to the walls."""
        for axis in (0, 1):
            low, high = self._free_interval(position, axis)
            position = position.at[axis].set(jnp.clip(position[axis] + displacement[axis], low, high))
        return position

    def _free_interval(self, position: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
        """Ends of the longest free segment through `position` along `axis`: the chain of rectangles that touch."""
        spans = jnp.asarray(self.rectangles).reshape(-1, 2, 2)  # rectangle, axis, (low, high)
        lows, highs = spans[:, axis, 0], spans[:, axis, 1]
        crossed = (spans[:, 1 - axis, 0] <= position[1 - axis]) & (position[1 - axis] <= spans[:, 1 - axis, 1])
        low = high = position[axis]
        for _ in range(3):  # the longest chain is corridor, junction, branch
            touching = crossed & (lows <= high) & (highs >= low)
            low = jnp.minimum(low, jnp.min(jnp.where(touching, lows, jnp.inf)))
            high = jnp.maximum(high, jnp.max(jnp.where(touching, highs, -jnp.inf)))
        return low, high

    def distance(self, position: jax.Array, goal: jax.Array) -> jax.Array:
        """Distance from `position` `[2]` to goal number `goal`, in the configured form.

        `manhattan`: |dx| + |dy|. It equals the exact geodesic (of moves along the axes) except inside a branch that is
        not the goal's, where the way out and back in is missing: twice the depth in that branch (up to the goal's).
        `geodesic`: with that way added.
        """
        offset = jnp.abs(position - jnp.asarray(self.goals)[goal])
        distance = offset[0] + offset[1]
        if self.config.reward == "manhattan":
            return distance
        bar_end = self.rectangles[1, 1]
        depth = jnp.clip(position[0] - bar_end, 0.0, max(self.goals[0, 0] - bar_end, 0.0))
        # Half the spacing lies inside the walls, so rounding at a wall cannot take the goal's branch for another.
        in_goal_branch = offset[1] < self.config.branch_spacing / 2
        return distance + jnp.where(in_goal_branch, 0.0, 2 * depth)

    def observe(self, key: Any, state: BrushMazeState, action: Any, params: Any) -> jax.Array:
        """Position, velocity, context, scaled, as `[5]`."""
        del key, action, params
        c = self.config
        return jnp.concatenate([state.position * c.position_scale, state.velocity / c.max_speed, state.context[None]])

    def positions(self, observation: jax.Array) -> jax.Array:
        """Positions `[..., 2]` in maze units back from observations `[..., 5]`."""
        return observation[..., :2] / self.config.position_scale

    def is_terminated(self, state: BrushMazeState, params: BrushMazeParams) -> jax.Array:
        """Never: the maze only truncates."""
        del state, params
        return jnp.zeros((), bool)

    @property
    def name(self) -> str:
        """Environment name."""
        return "BrushMaze"

    @property
    def num_actions(self) -> int:
        """Dimension of the action."""
        return 2

    def action_space(self, params: BrushMazeParams | None = None) -> spaces.Box:
        """Velocity in units of the top speed."""
        return spaces.Box(-1.0, 1.0, (2,))

    def observation_space(self, params: BrushMazeParams | None = None) -> spaces.Box:
        """Position, velocity, context."""
        return spaces.Box(-jnp.inf, jnp.inf, (5,))
