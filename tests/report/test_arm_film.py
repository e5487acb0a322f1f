"""Meta-World's drawing: every thing where the observation says it is, in both views."""

import numpy as np

from gsljax.report import arm_film as module
from gsljax.report.arm_film import FIRST_OBJECT, GOAL, HAND, SECOND_OBJECT, arm_film, arm_frames, scene

HANDS = np.array([(0.0, 0.5, 0.3), (0.1, 0.6, 0.2), (0.2, 0.7, 0.1)])
FIRST, SECOND, TARGET = (-0.3, 0.8, 0.05), (0.4, 0.9, 0.3), (-0.2, 0.4, 0.4)


def observations(second=SECOND, opening=1.0):
    seen = np.zeros((3, 49), np.float32)
    seen[:, :3], seen[:, 3], seen[:, 4:7], seen[:, 11:14], seen[:, 36:39] = HANDS, opening, FIRST, second, TARGET
    return seen


def pixels(frame, colour):
    """Rows and columns in the drawings, not in the key below them."""
    return np.argwhere(np.all(frame[: -module._LEGEND] == colour, axis=-1))


def expected(position, view, frame):
    across, up = ((0, 1), (1, 2))[view]
    _, (above, side) = module._backdrop(scene(observations()))
    box = (above, side)[view].box
    column = box[0] / 2 + (position[across] - module._LOW[across]) * module._PIXELS
    row = len(frame) - module._LEGEND - (position[up] - module._LOW[up]) * module._PIXELS
    return row, column


def test_what_the_observation_says():
    seen = scene(observations(opening=1.5))
    np.testing.assert_allclose(seen.hand, HANDS, atol=1e-6)
    np.testing.assert_allclose(seen.goal, [TARGET] * 3, atol=1e-6)
    assert len(seen.objects) == 2 and set(seen.opening) == {1.0}
    assert len(scene(observations(second=0)).objects) == 1


def test_there_is_a_frame_of_one_size_for_each_step():
    frames = list(arm_frames(0, observations(), [0, 2]))
    assert len(frames) == 2 and frames[0].shape == frames[1].shape and frames[0].dtype == np.uint8
    assert frames[0].shape[0] < frames[0].shape[1] < 900


def test_objects_and_goal_are_where_they_are_in_both_views():
    (frame,) = arm_frames(0, observations(), [0])
    middle = [len(frame[0]) * 0.6] * 2
    for position, colour in ((FIRST, FIRST_OBJECT), (SECOND, SECOND_OBJECT), (TARGET, GOAL)):
        found = pixels(frame, colour)
        for view in (0, 1):
            here = found[(found[:, 1] < middle[0]) == (view == 0)]
            assert len(here), (position, view)
            np.testing.assert_allclose(here.mean(0), expected(position, view, frame), atol=2)


def test_the_hand_moves_and_closes():
    def spans(frame):
        found = pixels(frame, HAND)
        found = found[found[:, 1] < len(frame[0]) * 0.6]
        return (found.min(0) + found.max(0)) / 2, np.ptp(found[:, 0])

    opened, closed = (list(arm_frames(0, observations(opening=o), [0, 1, 2])) for o in (1.0, 0.0))
    for frame, hand in zip(opened, HANDS, strict=True):
        np.testing.assert_allclose(spans(frame)[0], expected(hand, 0, frame), atol=2)
    assert spans(opened[2])[1] > spans(closed[2])[1] + 20


def test_a_task_without_a_second_object_shows_none():
    for second, count in ((SECOND, 2), (0, 1)):
        (frame,) = arm_frames(0, observations(second=second), [0])
        found = [colour for colour in (FIRST_OBJECT, SECOND_OBJECT) if len(np.argwhere(np.all(frame == colour, -1)))]
        assert len(found) == count


def test_what_lies_outside_the_usual_range_is_still_in_the_picture():
    far = observations(second=(0.9, 1.3, 0.8))
    (usual,), (wider,) = arm_frames(0, observations(), [0]), arm_frames(0, far, [0])
    assert len(pixels(wider, SECOND_OBJECT)) > 100
    assert wider.shape[0] > usual.shape[0] and wider.shape[1] > usual.shape[1]


def test_a_film_is_called_after_its_task():
    assert arm_film(("reach-v3", "push-v3")).title(1) == "1: push-v3"
