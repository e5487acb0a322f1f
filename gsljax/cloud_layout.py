"""Point clouds as bytes: an observation that pools, replays and demonstrations hold like any other array.

Points are float16, exact to half a millimetre up to a metre from the robot and to a millimetre up to two; segments are
bits of a byte for each point; the state beside them stays float32. `gsljax.networks.packed_cloud` unpacks it.
"""

from typing import NamedTuple

import numpy as np


class CloudLayout(NamedTuple):
    """What a packed observation holds.

    Attributes:
      points: P, those of a smaller cloud being padding.
      segments: S, at most 8; a point in none of them is padding.
      state: D, numbers of the robot's state.
    """

    points: int
    segments: int
    state: int

    @property
    def parts(self) -> tuple[int, int, int]:
        """Bytes of the points, of their segments, and of the state."""
        return 6 * self.points, self.points, 4 * self.state

    @property
    def size(self) -> int:
        """Bytes of an observation."""
        return sum(self.parts)


def pack(layout: CloudLayout, xyz: np.ndarray, segmentation: np.ndarray, state: np.ndarray) -> np.ndarray:
    """A point cloud as `[size]` uint8.

    Args:
      layout: what it is to hold.
      xyz: `[P, 3]` in metres.
      segmentation: `[P, S]` bool.
      state: `[D]`.
    """
    bits = np.packbits(segmentation, axis=1, bitorder="little")[:, 0]
    parts = xyz.astype("<f2").view(np.uint8).ravel(), bits, state.astype("<f4").view(np.uint8)
    packed = np.concatenate(parts)
    assert packed.shape == (layout.size,)
    return packed


def unpack(layout: CloudLayout, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `pack` was given, of `[..., size]`, on the host: xyz `[..., P, 3]`, segmentation and state."""
    leading = packed.shape[:-1]
    points, segments, state = np.split(packed, np.cumsum(layout.parts)[:-1], axis=-1)
    xyz = np.ascontiguousarray(points).view("<f2").reshape(*leading, layout.points, 3)
    bits = np.unpackbits(segments[..., None], axis=-1, count=layout.segments, bitorder="little")
    return xyz.astype(np.float32), bits.astype(bool), np.ascontiguousarray(state).view("<f4").astype(np.float32)
