"""Eight procedural office chairs, the variations: a seat on a swivel, a hub with legs, and casters that roll."""

import importlib
from typing import Any, NamedTuple

import numpy as np

WHEEL_FRICTION, BODY_FRICTION = 1.0, 0.1
TO_UPWARDS = (0.70710678, 0.0, -0.70710678, 0.0)
"""Turns a joint's axis, x, upwards."""
TO_LEFT = (0.70710678, 0.0, 0.0, 0.70710678)
"""Turns it to the left."""
SEAT_SWIVEL = "seat_swivel"
SUPPORT, SEAT = "support", "seat"
"""Links: the support, whose origin is on the floor below the middle, and the seat, which faces its x axis."""


class Chair(NamedTuple):
    """A chair's shape, in metres (and kg/m³ for the seat's density)."""

    legs: int = 5
    leg_length: float = 0.27
    wheel_radius: float = 0.03
    seat_width: float = 0.46
    seat_depth: float = 0.44
    seat_thickness: float = 0.06
    seat_height: float = 0.44
    back_height: float = 0.45
    back_width: float = 0.42
    has_arms: bool = False
    has_swivel: bool = True
    density: float = 200.0

    @property
    def hub_height(self) -> float:
        """Of the legs above the floor."""
        return 2 * self.wheel_radius + 0.04


CHAIRS: dict[str, Chair] = {
    "task chair": Chair(),
    "task chair with arms": Chair(has_arms=True),
    "executive chair": Chair(back_height=0.7, back_width=0.48, seat_width=0.52, has_arms=True, density=250.0),
    "stool": Chair(back_height=0.0, seat_width=0.36, seat_depth=0.36, leg_length=0.22, seat_height=0.48),
    "four casters": Chair(legs=4, leg_length=0.3, back_height=0.3),
    "six large casters": Chair(legs=6, leg_length=0.25, seat_height=0.38, back_height=0.55, wheel_radius=0.04),
    "fixed seat with arms": Chair(has_swivel=False, legs=4, leg_length=0.32, back_height=0.4, has_arms=True),
    "drafting chair": Chair(seat_height=0.6, back_height=0.35, leg_length=0.3, seat_width=0.4, density=150.0),
}
"""By name; variation v is the v-th."""


def build_chair(scene: Any, chair: Chair, is_drawn: bool) -> Any:
    """Add a chair to a ManiSkill scene, out of the way; `is_drawn` gives it visual shapes, which need Vulkan."""
    sapien = importlib.import_module("sapien")
    material = importlib.import_module("sapien.physx").PhysxMaterial
    builder = scene.create_articulation_builder()
    builder.initial_pose = sapien.Pose([5.0, 5.0, 0.01])
    parts = _Parts(sapien, material(BODY_FRICTION, BODY_FRICTION, 0.0), chair.density, is_drawn)
    support = builder.create_link_builder()
    support.set_name(SUPPORT)
    support.set_joint_properties("undefined", [], sapien.Pose(), sapien.Pose())
    column = chair.seat_height - chair.seat_thickness - chair.hub_height
    parts.box(support, (0, 0, chair.hub_height + column / 2), (0.025, 0.025, column / 2), density=1000.0)
    for leg in range(chair.legs):
        angle = 2 * np.pi * leg / chair.legs
        _add_leg(builder, support, parts, chair, angle)
        _add_caster(builder, support, sapien, chair, leg, angle, is_drawn)
    _add_seat(builder, support, sapien, parts, chair)
    return builder.build(name="chair", fix_root_link=False)


class _Parts:
    """Adds boxes to links."""

    def __init__(self, sapien: Any, material: Any, density: float, is_drawn: bool):
        self._sapien, self._material, self._density, self._is_drawn = sapien, material, density, is_drawn

    def box(self, link: Any, middle, half, turned: float = 0.0, density: float | None = None) -> None:
        """A box with these half sizes, turned about the vertical."""
        pose = self._sapien.Pose(list(middle), [np.cos(turned / 2), 0, 0, np.sin(turned / 2)])
        link.add_box_collision(pose, list(half), material=self._material, density=density or self._density)
        if self._is_drawn:
            link.add_box_visual(pose, list(half), material=(0.25, 0.3, 0.5))


def _add_leg(builder: Any, support: Any, parts: _Parts, chair: Chair, angle: float) -> None:
    half = chair.leg_length / 2
    middle = np.cos(angle) * half, np.sin(angle) * half, chair.hub_height
    parts.box(support, middle, (half, 0.02, 0.015), turned=angle, density=800.0)


def _add_caster(
    builder: Any, support: Any, sapien: Any, chair: Chair, number: int, angle: float, is_drawn: bool
) -> None:
    """A fork on a vertical joint at a leg's end, and 2 cm behind that joint a wheel, a sphere, on a horizontal one."""
    free = "continuous", [[-np.inf, np.inf]]
    end, height = chair.leg_length, chair.hub_height - 0.03
    fork = builder.create_link_builder(support)
    fork.set_name(f"caster_{number}")
    fork.set_joint_name(f"caster_swivel_{number}")
    place = sapien.Pose([np.cos(angle) * end, np.sin(angle) * end, height], TO_UPWARDS)
    fork.set_joint_properties(*free, place, sapien.Pose([0, 0, 0], TO_UPWARDS))
    fork.set_mass_and_inertia(0.15, sapien.Pose(), [2e-4] * 3)
    wheel = builder.create_link_builder(fork)
    wheel.set_name(f"wheel_{number}")
    wheel.set_joint_name(f"wheel_roll_{number}")
    place = sapien.Pose([0.02, 0, chair.wheel_radius - height], TO_LEFT)
    wheel.set_joint_properties(*free, place, sapien.Pose([0, 0, 0], TO_LEFT))
    material = importlib.import_module("sapien.physx").PhysxMaterial(WHEEL_FRICTION, WHEEL_FRICTION, 0.0)
    wheel.add_sphere_collision(sapien.Pose(), chair.wheel_radius, material=material, density=1000.0)
    if is_drawn:
        wheel.add_sphere_visual(sapien.Pose(), chair.wheel_radius, material=(0.05, 0.05, 0.05))


def _add_seat(builder: Any, support: Any, sapien: Any, parts: _Parts, chair: Chair) -> None:
    seat = builder.create_link_builder(support)
    seat.set_name(SEAT)
    seat.set_joint_name(SEAT_SWIVEL)
    kind = ("continuous", [[-np.inf, np.inf]]) if chair.has_swivel else ("fixed", [])
    seat.set_joint_properties(
        *kind, sapien.Pose([0, 0, chair.seat_height], TO_UPWARDS), sapien.Pose([0, 0, 0], TO_UPWARDS)
    )
    deep, wide, thick = chair.seat_depth / 2, chair.seat_width / 2, chair.seat_thickness / 2
    parts.box(seat, (0, 0, -thick), (deep, wide, thick))
    if chair.back_height > 0:
        parts.box(
            seat, (0.02 - deep, 0, 0.06 + chair.back_height / 2), (0.025, chair.back_width / 2, chair.back_height / 2)
        )
        parts.box(seat, (0.02 - deep, 0, 0.03), (0.02, 0.04, 0.03))
    if chair.has_arms:
        for side in (-1, 1):
            parts.box(seat, (0, side * (wide - 0.02), 0.22), (0.14, 0.025, 0.015))
            parts.box(seat, (0, side * (wide - 0.02), 0.1), (0.02, 0.015, 0.105))
