"""The simulated task: determinism, what robot and chairs do, the reward's situation, contacts, the points in view."""

import numpy as np
import pytest

from gsljax.envs.push_chair.chairs import CHAIRS
from gsljax.envs.push_chair.cloud import CAMERA_HEIGHT, Panorama
from gsljax.envs.push_chair.observation import CHAIR, ROBOT
from gsljax.envs.push_chair.reward import dense_reward
from gsljax.errors import UserError
from tests.maniskill import lane_of, needs_maniskill

needs_maniskill()
pytestmark = pytest.mark.filterwarnings("ignore")  # ManiSkill's, PyTorch's and trimesh's

STILL = np.zeros(22, np.float32)


def play(lane, seed, actions):
    steps = [lane.reset(seed)]
    steps += [x for action in actions for x in lane.step(action)[:2]]
    return steps


def random_actions(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 22)).astype(np.float32)


def without_robot(lane):
    """Put the robot far away, in the pose that it starts with."""
    joints = lane.task.robot_reading().position.copy()
    joints[:2] = -6.0
    lane.task.agent.place(joints)


@pytest.mark.parametrize("mode", ["state", "cloud"])
def test_a_lanes_seeds_determine_its_episodes_bit_for_bit(mode):
    from gsljax.envs.push_chair.lane import PushChairLane

    first, second = (PushChairLane(1, mode, 100, 200) for _ in range(2))
    for seed in (8, 3):
        one, other = (play(lane, seed, random_actions(40, seed)) for lane in (first, second))
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    start = first.reset(8)
    np.testing.assert_array_equal(start, second.reset(8))
    np.testing.assert_array_equal(start, PushChairLane(1, mode, 100, 200).reset(8))  # whatever was played before
    assert not np.array_equal(start, first.reset(9))


@pytest.mark.parametrize("variation", range(len(CHAIRS)), ids=list(CHAIRS))
def test_every_chair_stands_and_rolls_when_it_is_pushed(variation):
    lane = lane_of(variation)
    lane.reset(0)
    without_robot(lane)
    for _ in range(30):
        lane.step(STILL)
    at_rest = lane.task.situation()
    assert at_rest.tilt < 0.02 and at_rest.speed < 0.01
    support, links = lane.task._support, lane.task._joints.links
    mass, place = sum(link.mass for link in links), support.entity_pose.p.copy()
    assert 4.0 < mass < 12.0
    above = np.array([0, 0, 0.3])
    for _ in range(150):  # 1.5 s with 0.15 of its weight, at 0.3 m
        support.add_force_at_point([0.15 * 9.81 * mass, 0, 0], support.entity_pose.p + above)
        lane.task.scene.px.step()
    pushed = lane.task.situation()
    assert np.linalg.norm(support.entity_pose.p - place) > 0.2 and pushed.speed > 0.2
    for _ in range(40):
        lane.step(STILL)
    assert lane.task.situation().tilt < 0.2


@pytest.mark.parametrize("variation", [0, 5])
def test_random_episodes_are_finite_and_end_at_the_horizon_alone(variation):
    lane = lane_of(variation)
    for seed in range(2):
        lane.reset(seed)
        for number, action in enumerate(random_actions(200, seed), start=1):
            step = lane.step(action)
            assert np.all(np.isfinite(step.observation)) and np.isfinite(step.reward)
            assert step.truncated == (number == 200) and not step.terminated
            assert -31.0 < step.reward < 21.0


def test_the_reward_is_that_of_the_situation():
    lane = lane_of(2)
    lane.reset(5)
    for action in random_actions(20):
        reward = lane.step(action).reward
        assert reward == pytest.approx(dense_reward(lane.task.situation(), action), abs=1e-4)


def test_reach_is_the_distance_to_the_chairs_shapes():
    """The nearest of 512 points on each link is at most a few centimetres further than the nearest of all."""
    lane = lane_of(2)
    for seed in range(4):
        lane.reset(seed)
        for action in random_actions(10 * seed, seed):
            lane.step(action)
        exact = np.mean([_distance_to_chair(lane.task, tip) for tip in lane.task.agent.fingertips()])
        assert exact - 1e-3 <= lane.task.situation().reach < exact + 0.04


def _distance_to_chair(task, point):
    found = []
    for link in task._chair.links:
        body = link._objs[0]
        for shape in body.collision_shapes:
            pose = body.entity_pose.to_transformation_matrix() @ shape.local_pose.to_transformation_matrix()
            local = (point - pose[:3, 3]) @ pose[:3, :3]
            if hasattr(shape, "half_size"):
                found.append(np.linalg.norm(np.maximum(np.abs(local) - shape.half_size, 0)))
            else:
                found.append(np.linalg.norm(local) - shape.radius)
    return max(0.0, min(found))


def test_the_robot_drives_where_it_looks_and_its_frame_is_its_bases():
    lane = lane_of(0)
    lane.reset(1)
    task = lane.task
    start = task.robot_reading().frame
    forwards = STILL.copy()
    forwards[0] = 1.0
    task.agent.place(np.array([5.0, 5.0, 0.7, *task.robot_reading().position[3:]]))
    start = task.robot_reading().frame
    for _ in range(20):
        lane.step(forwards)
    reading = task.robot_reading()
    moved = start.points(np.array([*reading.frame.position, 0.0]))
    assert 0.35 < moved[0] < 0.55 and abs(moved[1]) < 0.02  # at most 0.5 m/s for 1 s
    assert start.vectors(np.array([*reading.velocity[:2], 0.0]))[0] == pytest.approx(0.5, abs=0.05)
    base = task.agent.robot.links_map["mobile_base"]._objs[0].entity_pose.to_transformation_matrix()
    np.testing.assert_allclose(base[:3, 3], [*reading.frame.position, 0.0], atol=1e-4)
    np.testing.assert_allclose(base[:3, :3], reading.frame.axes, atol=1e-4)


def test_contact_indicators_tell_which_joints_move_what_touches_the_chair():
    lane = lane_of(4)
    lane.reset(0)
    without_robot(lane)
    assert not lane.step(STILL).observation[68:87].any()
    lane.reset(0)
    forwards, seen = STILL.copy(), np.zeros(19)
    forwards[0], forwards[3] = 1.0, -1.0
    for _ in range(60):
        indicators = lane.step(forwards).observation[68:87]
        np.testing.assert_array_equal(indicators, _touched(lane.task))
        seen += indicators
    assert seen.any()
    assert not lane.reset(1)[68:87].any()  # the last episode's contacts are not this one's


def _touched(task):
    """By the links' names: torso, right arm 7, right fingers 2, left arm 7, left fingers 2."""
    touched = np.zeros(19, bool)
    robot = {link._objs[0].entity.per_scene_id for link in task.agent.robot.links}
    for contact in task.scene.px.get_contacts():
        names = [body.entity.name for body in contact.bodies if body.entity.per_scene_id in robot]
        if len(names) == 1 and any(np.any(point.impulse) for point in contact.points):
            name, first = names[0], 1 if "right_panda_" in names[0].removeprefix("scene-0_") else 10
            for ending, place in {
                "leftfinger": 7,
                "rightfinger": 8,
                "hand": 6,
                **{f"link{n}": n - 1 for n in range(1, 8)},
            }.items():
                if name.endswith(ending):
                    touched[first + place] = True
            touched[0] |= name.endswith(("adjustable_body", "body_base_link", "body_link"))
    return touched


def test_the_points_in_view_are_those_that_exact_rays_hit():
    """Of the points taken for visible, most are; of what rays through all cells hit, nearly all has a point near it."""
    visible, unculled, found = {ROBOT: [], CHAIR: []}, [], {ROBOT: [], CHAIR: []}
    for variation in (0, 3):
        lane = lane_of(variation, "cloud")
        task = lane.task
        owner = {link._objs[0].entity.per_scene_id: ROBOT for link in task.agent.robot.links}
        owner |= {link._objs[0].entity.per_scene_id: CHAIR for link in task._chair.links}
        for seed in range(2):
            lane.reset(seed)
            for action in random_actions(30, seed):
                lane.step(action)
            robot = task.robot_reading()
            camera = np.array([*robot.frame.position, CAMERA_HEIGHT])
            points, segment = task.visible_points(robot)

            def cast(directions, camera=camera, axes=robot.frame.axes, query=task.scene.px.raycast):
                return [query(camera.astype(np.float32), ray, 10.0) for ray in (directions @ axes.T).astype(np.float32)]

            def is_seen(points, cast=cast):
                offset = points - np.array([0.0, 0.0, CAMERA_HEIGHT])
                length = np.linalg.norm(offset, axis=1)
                hits = cast(offset / length[:, None])
                return np.array(
                    [hit is None or hit.distance > far - 0.03 for hit, far in zip(hits, length, strict=True)]
                )

            seen = is_seen(points)
            for part in (ROBOT, CHAIR):
                visible[part].extend(seen[segment == part])
            everything = task._cloud.placed(_in_frame(task, robot))[0]
            unculled.extend(is_seen(everything[::20]))
            rays = Panorama().directions()[::3]
            for ray, hit in zip(rays, cast(rays), strict=True):
                part = None if hit is None else owner.get(hit.component.entity.per_scene_id)
                if hit is not None and part is not None:
                    place = np.array([0.0, 0.0, CAMERA_HEIGHT]) + ray * hit.distance
                    found[part].append(np.linalg.norm(points[segment == part] - place, axis=1).min() < 0.05)
    assert np.mean(visible[ROBOT]) > 0.75 and np.mean(visible[CHAIR]) > 0.85
    assert np.mean(found[ROBOT]) > 0.95 and np.mean(found[CHAIR]) > 0.95
    assert np.mean(unculled) < 0.5  # without a test of what hides what, most would not be
    assert min(len(one) for one in (*visible.values(), *found.values())) > 50


def _in_frame(task, robot):
    from gsljax.envs.push_chair.surfaces import poses_of

    to_robot = np.eye(4)
    to_robot[:3, :3] = robot.frame.axes.T
    to_robot[:3, 3] = robot.frame.points(np.zeros(3))
    return to_robot @ poses_of(task._seen)


def test_gymnasium_makes_it():
    import gymnasium

    name = "gsljax.envs.push_chair.task:GSLPushChair-v1"
    env = gymnasium.make(name, chair=6, obs_mode="state_dict", has_cloud=True, max_episode_steps=3)
    assert env.action_space.shape == (22,)
    observation, _ = env.reset(seed=0)
    shapes = {key: tuple(value.shape) for part in observation.values() for key, value in part.items()}
    assert shapes == {"state": (1, 87), "xyz": (1, 1200, 3), "segmentation": (1, 1200, 2)}
    outcomes = [env.step(STILL)[2:4] for _ in range(3)]
    assert [bool(truncated) for _, truncated in outcomes] == [False, False, True]
    assert not any(bool(terminated) for terminated, _ in outcomes)
    drawn = [env.reset(seed=seed)[0]["agent"]["state"].numpy() for seed in (None, None, 0, None)]
    assert not np.array_equal(drawn[0], drawn[1])  # without a seed another episode, which the last seed determines
    np.testing.assert_array_equal(drawn[2], observation["agent"]["state"].numpy())
    np.testing.assert_array_equal(drawn[3], drawn[0])
    env.close()
    with pytest.raises(UserError, match=r"^PushChair's physics_frequency is 30, but must be a multiple of 20\.$"):
        gymnasium.make(name, physics_frequency=30)
