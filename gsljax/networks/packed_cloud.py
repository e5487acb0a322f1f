"""Packed point clouds (`gsljax.cloud_layout`) as the point-cloud network takes them."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from gsljax.cloud_layout import CloudLayout
from gsljax.networks.point_cloud import PointCloud, PointCloudEncoder


def unpack_cloud(layout: CloudLayout, packed: jax.Array) -> PointCloud:
    """Bytes `[..., size]` to a point cloud without colours (`rgb` has no channels), all float32 but the segments."""
    leading = packed.shape[:-1]
    first, second, _ = layout.parts
    points, segments, state = jnp.split(packed, [first, first + second], axis=-1)
    xyz = jax.lax.bitcast_convert_type(points.reshape(*leading, layout.points, 3, 2), jnp.float16)
    numbers = jax.lax.bitcast_convert_type(state.reshape(*leading, layout.state, 4), jnp.float32)
    bits = jnp.left_shift(jnp.uint8(1), jnp.arange(layout.segments, dtype=jnp.uint8))
    colourless = jnp.zeros((*leading, layout.points, 0), jnp.float32)
    return PointCloud(xyz.astype(jnp.float32), colourless, (segments[..., None] & bits) != 0, numbers)


class PackedCloudEncoder(nn.Module):
    """`PointCloudEncoder` for packed observations; an encoder as any other in actors, critics and discriminators.

    Attributes:
      layout: of the observations.
      encoder: what gets the point clouds.
    """

    layout: CloudLayout
    encoder: nn.Module = PointCloudEncoder()

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array | None = None) -> jax.Array:
        """Observation `[..., size]`, perhaps an action `[..., D]`, to features."""
        return self.encoder(unpack_cloud(self.layout, observation), action)
