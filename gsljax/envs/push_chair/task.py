"""PushChair as an environment of ManiSkill 3 and Gymnasium, `GSLPushChair-v1`, on the CPU's physics.

`gymnasium.make("gsljax.envs.push_chair.task:GSLPushChair-v1", chair=3, obs_mode="state_dict")` gives it to others;
`gsljax.envs.push_chair.lane` plays it in gsljax. Importing this module needs ManiSkill and PyTorch.
"""

import importlib
from typing import Any

import numpy as np

from gsljax.envs.push_chair import chairs
from gsljax.envs.push_chair.cloud import SurfaceCloud
from gsljax.envs.push_chair.observation import (
    CHAIR,
    NUM_CONTACTS,
    ROBOT,
    ChairReading,
    RobotReading,
    chair_state,
    chosen_points,
    robot_state,
)
from gsljax.envs.push_chair.reward import Situation, dense_reward, is_success
from gsljax.envs.push_chair.robot import HAS_VULKAN, UID
from gsljax.envs.push_chair.start import HORIZON, JointResistance, draw_start
from gsljax.envs.push_chair.surfaces import poses_of, sample_each_link, sample_links
from gsljax.errors import UserError

_sapien: Any = importlib.import_module("sapien")
_torch: Any = importlib.import_module("torch")
_env: Any = importlib.import_module("mani_skill.envs.sapien_env")
_types: Any = importlib.import_module("mani_skill.utils.structs.types")
_ground: Any = importlib.import_module("mani_skill.utils.building.ground")
_registration: Any = importlib.import_module("mani_skill.utils.registration")

ID = "GSLPushChair-v1"
CONTROL_FREQUENCY = 20
CHAIR_POINTS, ROBOT_POINTS, REWARD_POINTS = 5000, 6000, 512
"""Surface points of the whole chair and of the whole robot for the cloud, and of every link of the chair for reach."""


@_registration.register_env(ID, max_episode_steps=HORIZON)
class PushChair(_env.BaseEnv):
    """One chair and the robot; observations in the mode `state_dict` (or `state`) are those of gsljax.

    Args of the constructor beside ManiSkill's: `chair`, which of `gsljax.envs.push_chair.chairs.CHAIRS`; `has_cloud`,
    whether observations have points; `physics_frequency`, in Hz, a multiple of 20 (the original's is 500). A `reset`
    without a seed draws another episode, which the last seed determines.

    Raises:
      UserError: if there is no such chair, or the frequency is no such multiple.
    """

    SUPPORTED_ROBOTS = [UID]  # noqa: RUF012, ManiSkill's
    SUPPORTED_REWARD_MODES = ["dense", "normalized_dense", "sparse", "none"]  # noqa: RUF012

    def __init__(
        self, *arguments: Any, chair: int = 0, has_cloud: bool = False, physics_frequency: int = 100, **settings: Any
    ):
        if not 0 <= chair < len(chairs.CHAIRS):
            raise UserError(f"PushChair's chair is {chair}, but must be 0 .. {len(chairs.CHAIRS) - 1}.")
        if physics_frequency < CONTROL_FREQUENCY or physics_frequency % CONTROL_FREQUENCY:
            raise UserError(f"PushChair's physics_frequency is {physics_frequency}, but must be a multiple of 20.")
        self._chair_spec = list(chairs.CHAIRS.values())[chair]
        self._has_cloud, self._physics_frequency = has_cloud, physics_frequency
        defaults = {"num_envs": 1, "sim_backend": "physx_cpu", "robot_uids": UID, "enhanced_determinism": True}
        if not HAS_VULKAN:
            defaults["render_backend"] = "none"
        super().__init__(*arguments, **(defaults | settings))

    @property
    def _default_sim_config(self) -> Any:
        scene = _types.SceneConfig(solver_position_iterations=15, solver_velocity_iterations=1)
        return _types.SimConfig(sim_freq=self._physics_frequency, control_freq=CONTROL_FREQUENCY, scene_config=scene)

    @property
    def _default_sensor_configs(self) -> list[Any]:
        return []

    @property
    def _default_human_render_camera_configs(self) -> Any:
        look_at = importlib.import_module("mani_skill.utils.sapien_utils").look_at
        camera = importlib.import_module("mani_skill.sensors.camera").CameraConfig
        return camera("render_camera", look_at([2.5, 2.0, 2.2], [0.6, 0, 0.5]), 512, 512, 1, 0.01, 100)

    def _load_agent(self, options: Any, *arguments: Any, **settings: Any) -> None:
        super()._load_agent(options, _sapien.Pose())

    def _load_scene(self, options: Any) -> None:
        floor = _ground.build_ground(self.scene)
        floor.set_collision_group_bit(group=2, bit_idx=30, bit=1)
        self._chair = chairs.build_chair(self.scene, self._chair_spec, self.scene.can_render())
        for name in (chairs.SUPPORT, chairs.SEAT):  # which do not collide with each other
            self._chair.links_map[name].set_collision_group_bit(group=2, bit_idx=31, bit=1)
        self._support = self._chair.links_map[chairs.SUPPORT]._objs[0]
        self._joints = self._chair._objs[0]
        names = [joint.name for joint in self._joints.active_joints]
        self._swivel = next((i for i, name in enumerate(names) if name.endswith(chairs.SEAT_SWIVEL)), None)

    def _after_reconfigure(self, options: Any) -> None:
        self._reached, self._reached_points = sample_each_link(self._chair.links, REWARD_POINTS)
        if self._has_cloud:
            seen_chair, of_chair = sample_links(self._chair.links, CHAIR_POINTS, CHAIR, seed=0)
            seen_robot, of_robot = sample_links(self.agent.robot.links, ROBOT_POINTS, ROBOT, seed=1)
            self._seen, self._cloud = seen_chair + seen_robot, SurfaceCloud(of_chair + of_robot)

    def _initialize_episode(self, env_idx: Any, options: Any) -> None:
        self._random = np.random.default_rng(int(self._episode_seed[0]))
        joints = self._joints.active_joints
        start = draw_start(self._random, len(joints) - (self._swivel is not None))
        half, at_rest = start.chair_yaw / 2, np.zeros(len(joints), np.float32)
        self._joints.set_qpos(at_rest)
        self._joints.set_qvel(at_rest)
        self._joints.set_root_pose(_sapien.Pose([*start.chair_position, 0.002], [np.cos(half), 0, 0, np.sin(half)]))
        self._joints.set_root_linear_velocity(np.zeros(3))
        self._joints.set_root_angular_velocity(np.zeros(3))
        casters = iter(start.casters)
        for number, joint in enumerate(joints):
            resistance: JointResistance = start.seat if number == self._swivel else next(casters)
            joint.set_friction(resistance.friction)
            joint.set_drive_property(0.0, resistance.damping)
        self.agent.place(start.robot)
        self._touching = np.zeros(NUM_CONTACTS, bool)  # PhysX would still tell the last episode's contacts

    def _after_control_step(self) -> None:
        self._touching = self.agent.touching(self.scene.px.get_contacts())[-NUM_CONTACTS:]

    def situation(self) -> Situation:
        """What the reward looks at."""
        poses = poses_of(self._reached).astype(np.float32)
        points = np.concatenate(
            [own @ pose[:3, :3].T + pose[:3, 3] for own, pose in zip(self._reached_points, poses, strict=True)]
        )
        tips = self.agent.fingertips().astype(np.float32)
        squared = (tips**2).sum(1)[:, None] + (points**2).sum(1) - 2 * tips @ points.T
        reach = float(np.sqrt(np.maximum(squared.min(1), 0)).mean())
        support = self._support.entity_pose.to_transformation_matrix()
        tilt = float(np.arccos(np.clip(support[2, 2], -1, 1)))
        turning = float(np.linalg.norm(self._support.angular_velocity))
        return Situation(reach, support[:2, 3], self._support.linear_velocity, turning, tilt)

    def robot_reading(self) -> RobotReading:
        """What the observation needs of the robot."""
        return self.agent.reading(self._touching)

    def chair_reading(self) -> ChairReading:
        """What the observation needs of the chair."""
        support, body = self._support.entity_pose.to_transformation_matrix(), self._support
        swivel = (0.0, 0.0)
        if self._swivel is not None:
            swivel = float(self._joints.qpos[self._swivel]), float(self._joints.qvel[self._swivel])
        return ChairReading(support[:3, 3], support[:3, :3], body.linear_velocity, body.angular_velocity, *swivel)

    def visible_points(self, robot: RobotReading) -> tuple[np.ndarray, np.ndarray]:
        """All points that the cameras see, `[m, 3]` in the robot's frame, and their segments."""
        frame, to_robot = robot.frame, np.eye(4)
        to_robot[:3, :3] = frame.axes.T
        to_robot[:3, 3] = frame.points(np.zeros(3))
        return self._cloud.visible(to_robot @ poses_of(self._seen))

    def point_cloud(self, robot: RobotReading) -> tuple[np.ndarray, np.ndarray]:
        """The cloud of an observation, see `gsljax.envs.push_chair.observation.chosen_points`."""
        return chosen_points(*self.visible_points(robot), self._random)

    def evaluate(self) -> dict[str, Any]:
        """ManiSkill's `info`: success, and how far there is to go."""
        self._situation = self.situation()
        success, distance = is_success(self._situation), self._situation.distance
        return {"success": _torch.tensor([success]), "distance": _torch.tensor([distance])}

    def compute_dense_reward(self, obs: Any, action: Any, info: Any) -> Any:
        """The original's."""
        return _torch.tensor([dense_reward(self._situation, np.asarray(action[0]))], dtype=_torch.float32)

    def compute_normalized_dense_reward(self, obs: Any, action: Any, info: Any) -> Any:
        """A tenth of it."""
        return self.compute_dense_reward(obs, action, info) / 10

    def _get_obs_agent(self) -> dict[str, Any]:
        return {"state": _torch.from_numpy(robot_state(self.robot_reading()))[None]}

    def _get_obs_extra(self, info: Any) -> dict[str, Any]:
        robot = self.robot_reading()
        if not self._has_cloud:
            return {"chair": _torch.from_numpy(chair_state(self.chair_reading(), robot.frame))[None]}
        xyz, segmentation = self.point_cloud(robot)
        return {"xyz": _torch.from_numpy(xyz)[None], "segmentation": _torch.from_numpy(segmentation)[None]}

    def step(self, action: Any) -> tuple[Any, ...]:
        """ManiSkill's step, but a success does not end the episode."""
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, _torch.zeros_like(terminated), truncated, info
