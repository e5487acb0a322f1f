"""Every chair can be brought to the target, by the scripted policy."""

import pytest

from gsljax.envs.push_chair import CHAIRS, HORIZON
from gsljax.envs.push_chair.scripted import pushing_action
from tests.maniskill import lane_of, needs_maniskill

needs_maniskill()
pytestmark = pytest.mark.filterwarnings("ignore")  # ManiSkill's, PyTorch's and trimesh's

SEEDS = (1, 2, 4, 5)


@pytest.mark.parametrize("variation", range(len(CHAIRS)), ids=list(CHAIRS))
def test_every_chair_can_be_pushed_to_the_target(variation):
    lane = lane_of(variation)

    def is_brought_there(seed):
        lane.reset(seed)
        assert lane.task.situation().distance > 0.75
        return any(lane.step(pushing_action(lane.task)).success for _ in range(HORIZON))

    assert any(is_brought_there(seed) for seed in SEEDS)
