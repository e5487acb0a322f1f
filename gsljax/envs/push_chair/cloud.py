"""Point clouds without a renderer: surface points moved by the links' poses, and a depth buffer for each camera.

Points on faces that look away from the cameras are dropped, then those that lie behind another one in their cell of a
camera's depth buffer. NumPy alone: no Vulkan device, no query of the scene, valid right after a reset as well.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CAMERA_HEIGHT = 2.0
"""Metres of the original's three cameras above the robot's base, in which they turn with it."""
CAMERAS = np.array(
    [
        [0.9238795, 0.0, 0.3826834, 0.0],
        [0.46193977, 0.33141357, 0.19134172, -0.80010315],
        [-0.46193977, 0.33141357, -0.19134172, -0.80010315],
    ]
)
"""Their orientations (w, x, y, z): 120° apart and 45° downwards; x looks forwards, y to the left, z upwards."""
FIELD_OF_VIEW, ASPECT = np.pi / 3, 2.5
"""The vertical one in rad, and what the horizontal tangent is wider by."""
NEAREST = 0.1
GRID = (100, 40)
"""Cells of a depth buffer, across and up."""
DEPTH_TOLERANCE = 0.06
"""Metres by which a point may lie behind the nearest one of its cell: cells are a few centimetres wide."""


class Surface(NamedTuple):
    """Points on a link, in its frame: `points` and outward `normals` `[n, 3]`, and the link's `segment`."""

    points: np.ndarray
    normals: np.ndarray
    segment: int


def rotations(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions `[..., 4]` (w, x, y, z) as matrices `[..., 3, 3]`."""
    w, x, y, z = np.moveaxis(quaternions, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


class Panorama:
    """The three cameras, which share one place: what they see of a point in the robot's frame."""

    def __init__(self):
        self._from_camera = rotations(CAMERAS)
        self._up = np.tan(FIELD_OF_VIEW / 2)
        self._across = self._up * ASPECT

    def cells(self, offset: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each camera the rows of the points that it has in view, their cells and their depths.

        Args:
          offset: `[n, 3]` from the cameras, in the robot's frame.
        """
        width, height = GRID
        found = []
        for axes in self._from_camera.astype(offset.dtype):
            seen = offset @ axes
            rows = np.flatnonzero(seen[:, 0] > NEAREST)
            depth = seen[rows, 0]
            across, up = seen[rows, 1] / (depth * self._across), seen[rows, 2] / (depth * self._up)
            inside = (np.abs(across) < 1) & (np.abs(up) < 1)
            column = ((across[inside] + 1) / 2 * width).astype(np.int32)
            row = ((up[inside] + 1) / 2 * height).astype(np.int32)
            found.append((rows[inside], row * width + column, depth[inside]))
        return found

    def directions(self) -> np.ndarray:
        """`[3 · cells, 3]`: unit vectors through the middles of all cells, in the robot's frame."""
        width, height = GRID
        across, up = np.meshgrid((np.arange(width) + 0.5) / width * 2 - 1, (np.arange(height) + 0.5) / height * 2 - 1)
        rays = np.stack([np.ones_like(across), across * self._across, up * self._up], -1).reshape(-1, 3)
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        return np.concatenate([rays @ axes.T for axes in self._from_camera])


class SurfaceCloud:
    """What the cameras see of surfaces that move."""

    def __init__(self, surfaces: Sequence[Surface]):
        """Surfaces in the order in which their poses will come."""
        self._points = np.concatenate([surface.points for surface in surfaces]).astype(np.float32)
        self._normals = np.concatenate([surface.normals for surface in surfaces]).astype(np.float32)
        counts = [len(surface.points) for surface in surfaces]
        self._owner = np.repeat(np.arange(len(surfaces)), counts)
        self._ends = np.cumsum([0, *counts])
        self.segment = np.repeat([surface.segment for surface in surfaces], counts)
        self._panorama = Panorama()

    def placed(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All points and normals `[n, 3]` at poses `[surfaces, 4, 4]` of the links."""
        points, normals = np.empty_like(self._points), np.empty_like(self._normals)
        for pose, start, end in zip(poses.astype(np.float32), self._ends[:-1], self._ends[1:], strict=True):
            np.matmul(self._points[start:end], pose[:3, :3].T, out=points[start:end])
            points[start:end] += pose[:3, 3]
            np.matmul(self._normals[start:end], pose[:3, :3].T, out=normals[start:end])
        return points, normals

    def visible(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the cameras see: points `[m, 3]` in the robot's frame, and their segments `[m]`.

        Args:
          poses: `[surfaces, 4, 4]` of the links, in the robot's frame.
        """
        points, normals = self.placed(poses)
        offset = points - np.array([0.0, 0.0, CAMERA_HEIGHT], np.float32)
        front = np.flatnonzero(np.einsum("ij,ij->i", offset, normals) < 0)
        is_seen = np.zeros(len(points), bool)
        for rows, cells, depth in self._panorama.cells(offset[front]):
            nearest = np.full(GRID[0] * GRID[1], np.inf, np.float32)
            np.minimum.at(nearest, cells, depth)
            is_seen[front[rows[depth <= nearest[cells] + DEPTH_TOLERANCE]]] = True
        return points[is_seen], self.segment[is_seen]
