"""The original task's robot: two Panda arms on a torso that drives and rises, 22 joints, each with an action."""

import hashlib
import importlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from gsljax.envs.push_chair.observation import RobotReading
from gsljax.envs.push_chair.without_vulkan import prepare
from gsljax.errors import UserError
from gsljax.files import reason

HAS_VULKAN = prepare()
_sapien: Any = importlib.import_module("sapien")
_controllers: Any = importlib.import_module("mani_skill.agents.controllers")
_base_agent: Any = importlib.import_module("mani_skill.agents.base_agent")
_registration: Any = importlib.import_module("mani_skill.agents.registration")

UID = "mobile_panda_dual_arm"
SIDES = ("right", "left")
BASE_JOINTS = ("root_x_axis_joint", "root_y_axis_joint", "root_z_rotation_joint", "linear_actuator_height")


def arm_joints(side: str) -> list[str]:
    """Of one arm, from the torso outwards."""
    return [f"{side}_panda_joint{number}" for number in range(1, 8)]


def finger_joints(side: str) -> list[str]:
    """Of one hand."""
    return [f"{side}_panda_finger_joint{number}" for number in (1, 2)]


JOINTS = (*BASE_JOINTS, *(joint for side in SIDES for joint in (*arm_joints(side), *finger_joints(side))))
"""In the order of the actions: base 4, right arm 7, right fingers 2, left arm 7, left fingers 2."""

FINGERTIPS = {
    "right_panda_rightfinger": 0.035,
    "right_panda_leftfinger": -0.035,
    "left_panda_rightfinger": 0.035,
    "left_panda_leftfinger": -0.035,
}
"""Links whose frames are the finger joints', and how far along y the tip is, in metres."""
FINGERS = ("right_panda_leftfinger", "right_panda_rightfinger", "left_panda_leftfinger", "left_panda_rightfinger")
"""In the order of the original's velocities."""
_GRIPPER = {"material": "gripper", "patch_radius": 0.1, "min_patch_radius": 0.1}


def urdf_path() -> str:
    """The wheel's description of the robot as a file that can be loaded: it names visual meshes that the wheel lacks.

    They are there in another format; the corrected file is kept in the user's cache.
    """
    folder = Path(importlib.import_module("mani_skill").PACKAGE_ASSET_DIR) / "robots" / "panda"
    text = (folder / "mobile_panda_dual_arm.urdf").read_text(encoding="utf-8")
    text = text.replace(".dae", ".glb").replace('filename="', f'filename="{folder}/')
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gsljax"
    path = cache / f"{UID}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.urdf"
    if not path.exists():  # every worker may be the first, so each writes a file of its own and puts it there whole
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as own:
                whole = Path(own) / path.name
                whole.write_text(text, encoding="utf-8")
                whole.replace(path)
        except OSError as error:
            raise UserError(f"The robot's description {path} cannot be written ({reason(error)}).") from error
    return str(path)


@_registration.register_agent()
class MobilePandaDualArm(_base_agent.BaseAgent):
    """Velocity control of base and arms, position control of fingers, all in [-1, 1]."""

    uid = UID
    urdf_path = urdf_path()
    urdf_config = {  # noqa: RUF012, as in ManiSkill's own
        "_materials": {"gripper": {"static_friction": 2.0, "dynamic_friction": 2.0, "restitution": 0.0}},
        "link": dict.fromkeys(FINGERS, _GRIPPER),
    }
    disable_self_collisions = False

    @property
    def _controller_configs(self) -> dict[str, Any]:
        base = _controllers.PDBaseVelControllerConfig(
            list(BASE_JOINTS),
            lower=[-0.5, -0.5, -3.14, -0.5],
            upper=[0.5, 0.5, 3.14, 0.5],
            damping=1000,
            force_limit=500,
        )
        configs = {"base": base}
        for side in SIDES:
            configs[f"{side}_arm"] = _controllers.PDJointVelControllerConfig(
                arm_joints(side), lower=-3.14, upper=3.14, damping=100, force_limit=100
            )
            configs[f"{side}_gripper"] = _controllers.PDJointPosControllerConfig(
                finger_joints(side), lower=-0.01, upper=0.04, stiffness=1e3, damping=1e2, force_limit=100
            )
        return {"base_pd_joint_vel_arm_pd_joint_vel": configs}

    @property
    def _sensor_configs(self) -> list[Any]:
        return []

    def _after_loading_articulation(self) -> None:
        # As in the original: the torso's box reaches through the floor and must not collide with it (group 30).
        self.robot.links_map["adjustable_body"].set_collision_group_bit(group=2, bit_idx=30, bit=1)

    def _after_init(self) -> None:
        links, active = self.robot.links_map, self.robot.active_joints
        names = [next(joint for joint in JOINTS if one.name.endswith(joint)) for one in active]
        self._order = np.array([names.index(joint) for joint in JOINTS])
        self._articulation = self.robot._objs[0]
        self._tips = [(links[name]._objs[0], np.array([0.0, y, 0.0, 1.0])) for name, y in FINGERTIPS.items()]
        self._fingers = [links[name]._objs[0] for name in FINGERS]
        moved = {one.child_link.name: JOINTS.index(joint) for one, joint in zip(active, names, strict=True)}
        self._joint_of_entity = {
            link._objs[0].entity.per_scene_id: _joint_that_moves(link, moved) for link in self.robot.links
        }

    def place(self, joints: np.ndarray) -> None:
        """Put it at rest at joint positions `[22]`, in the order of `JOINTS`."""
        position = np.zeros(len(JOINTS), np.float32)
        position[self._order] = joints
        self._articulation.set_qpos(position)
        self._articulation.set_qvel(np.zeros_like(position))
        self._articulation.set_root_pose(_sapien.Pose())

    def fingertips(self) -> np.ndarray:
        """`[4, 3]`, in the world's frame."""
        return np.stack([(body.entity_pose.to_transformation_matrix() @ tip)[:3] for body, tip in self._tips])

    def reading(self, contacts: np.ndarray) -> RobotReading:
        """What the observation needs, given the contact indicators."""
        return RobotReading(
            self._articulation.qpos[self._order],
            self._articulation.qvel[self._order],
            self.fingertips(),
            np.stack([body.linear_velocity for body in self._fingers]),
            contacts,
        )

    def touching(self, contacts: list[Any]) -> np.ndarray:
        """`[22]` bool: which joints move something that touches something else than the robot, by PhysX's contacts."""
        touching = np.zeros(len(JOINTS), bool)
        for contact in contacts:
            joints = [self._joint_of_entity.get(body.entity.per_scene_id) for body in contact.bodies]
            ours = [joint for joint in joints if joint is not None]
            if len(ours) == 1 and any(np.any(point.impulse) for point in contact.points):
                touching[ours[0]] = True
        return touching


def _joint_that_moves(link: Any, moved: dict[str, int]) -> int | None:
    """The number of the last joint between the root and a link; links behind fixed joints move with their parent's."""
    while link is not None:
        if link.name in moved:
            return moved[link.name]
        link = None if link.is_root.all() else link.joint.parent_link
    return None
