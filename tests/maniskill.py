"""What the tests of PushChair share: they are skipped where ManiSkill or PyTorch is missing."""

import functools
import importlib.util

import pytest

PACKAGES = ("torch", "mani_skill")


def needs_maniskill():
    """Skip the calling module without the packages; they are not imported here, as that warns of much."""
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (pip install 'gsljax[maniskill]')", allow_module_level=True)


@functools.cache
def lane_of(variation, mode="state", horizon=200):
    """A chair in this process, which tests share: building one takes long.

    A reset determines all that follows but for the last digits of contacts that PhysX keeps from the episode before.
    """
    from gsljax.envs.push_chair.lane import PushChairLane

    return PushChairLane(variation, mode, physics_frequency=100, horizon=horizon)
