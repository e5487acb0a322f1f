"""ManiSkill on a machine without a Vulkan device: the physics need none, but loading a robot asks for materials."""

import functools
import importlib
from typing import Any

from gsljax.envs.vector_pools import require

_USERS = (
    "sapien.render",
    "sapien.pysapien.render",
    "sapien.wrapper.urdf_loader",
    "mani_skill.utils.building._mjcf_loader",
)
"""The modules that hold the material's class by name."""


class NoMaterial:
    """Stands for a material or a texture where nothing can be drawn: takes everything, keeps what it is given."""

    def __init__(self, *arguments: Any, **settings: Any):
        self.__dict__.update(settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("set_"):
            return lambda *arguments, **settings: None
        raise AttributeError(name)


@functools.cache
def prepare() -> bool:
    """Make ManiSkill usable without Vulkan, by putting stand-ins in SAPIEN's place; nothing is changed where it works.

    Returns:
      Whether there is a Vulkan device.

    Raises:
      UserError: if ManiSkill or PyTorch are not installed, saying what to install.
    """
    for package in ("torch", "mani_skill"):
        require(package, "PushChair", "maniskill")
    render = importlib.import_module("sapien.render")
    try:
        render.RenderMaterial()
    except RuntimeError:
        importlib.import_module("mani_skill.envs.sapien_env")  # imports all that would take the class from SAPIEN
        for name in _USERS:
            module: Any = importlib.import_module(name)
            module.RenderMaterial = module.RenderTexture2D = NoMaterial
        return False
    return True
