"""PointNet and Transformer over the segments of a point cloud: the paper's network for PushChair (GSL §5.4, A.4).

After `PointNetWithInstanceInfoV0` of haosulab/ManiSkill-Learn, in the sizes the paper's group uses for actor, critics
and discriminator. Nothing here depends on the order of the points.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

GLOROT = nn.initializers.glorot_uniform()


class PointCloud(NamedTuple):
    """A coloured, segmented point cloud and the robot's state.

    Attributes:
      xyz: `[..., P, 3]` positions in metres, in the robot's frame.
      rgb: `[..., P, 3]` colours in [0, 1].
      segmentation: `[..., P, S]` bool or integer; whether a point belongs to a segment. A point in no segment is
        padding and counts nowhere.
      state: `[..., D]` the robot's state, 68 numbers in PushChair.
    """

    xyz: jax.Array
    rgb: jax.Array
    segmentation: jax.Array
    state: jax.Array


class TwoLayers(nn.Module):
    """Dense, relu, dense, both of `width` units."""

    width: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """`[..., D]` to `[..., width]`."""
        hidden = nn.relu(nn.Dense(self.width, kernel_init=GLOROT)(inputs))
        return nn.Dense(self.width, kernel_init=GLOROT)(hidden)


class PointNet(nn.Module):
    """Features of the points in a mask: a network per point, pooled, and a network of what was pooled.

    Per point: rgb, xyz − mean, mean xyz of the mask and the state, through layers of `width`, `width`. The first half
    of the channels is pooled by maximum, the second by mean. An empty mask pools to zeros.
    """

    width: int

    @nn.compact
    def __call__(self, cloud: PointCloud, mask: jax.Array) -> jax.Array:
        """Cloud and `mask` `[..., P]` to `[..., width]`."""
        member = mask[..., None]
        count = jnp.maximum(jnp.sum(member, axis=-2), 1)
        mean_xyz = jnp.sum(jnp.where(member, cloud.xyz, 0.0), axis=-2) / count
        points = jnp.concatenate([cloud.rgb, cloud.xyz - mean_xyz[..., None, :]], axis=-1)
        context = jnp.concatenate([mean_xyz, cloud.state], axis=-1)
        # One dense layer on [points, context]. The context is the same for all points: multiplied once, not P times.
        kernel = self.param("kernel", GLOROT, (points.shape[-1] + context.shape[-1], self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        shared = context @ kernel[points.shape[-1] :] + bias
        hidden = nn.relu(points @ kernel[: points.shape[-1]] + shared[..., None, :])
        features = nn.Dense(self.width, kernel_init=GLOROT)(hidden)

        for_maximum, for_mean = jnp.split(features, [self.width // 2], axis=-1)
        lowest = jnp.finfo(features.dtype).min
        maximum = jnp.max(jnp.where(member, for_maximum, lowest), axis=-2)
        maximum = jnp.where(jnp.any(member, axis=-2), maximum, 0.0)
        mean = jnp.sum(jnp.where(member, for_mean, 0.0), axis=-2) / count
        return TwoLayers(self.width)(jnp.concatenate([maximum, mean], axis=-1))


class SegmentTransformer(nn.Module):
    """Post-norm Transformer blocks over tokens, and attention pooling by a learned query.

    As in ManiSkill-Learn: projections have no biases, one layer norm serves both places of a block; no dropout.

    Attributes:
      width: of a token.
      blocks, heads, head_size, feedforward: the Transformer's sizes.
    """

    width: int
    blocks: int
    heads: int
    head_size: int
    feedforward: int

    @nn.compact
    def __call__(self, tokens: jax.Array, present: jax.Array) -> jax.Array:
        """Tokens `[..., K, width]`, of which those `present` `[..., K]` are attended to, to `[..., width]`."""

        def split_heads(name: str, inputs: jax.Array) -> jax.Array:
            size = (self.heads, self.head_size)
            return nn.DenseGeneral(size, use_bias=False, kernel_init=GLOROT, name=name)(inputs)

        def attend(name: str, query: jax.Array, inputs: jax.Array) -> jax.Array:
            keys, values = split_heads(f"{name}_key", inputs), split_heads(f"{name}_value", inputs)
            attended = nn.dot_product_attention(query, keys, values, mask=present[..., None, None, :])
            merge = nn.DenseGeneral(self.width, axis=(-2, -1), use_bias=False, kernel_init=GLOROT, name=f"{name}_out")
            return merge(attended)

        for block in range(self.blocks):
            name = f"block{block}"
            norm = nn.LayerNorm(epsilon=1e-5, name=f"{name}_norm")
            tokens = norm(tokens + attend(name, split_heads(f"{name}_query", tokens), tokens))
            hidden = nn.relu(nn.Dense(self.feedforward, kernel_init=GLOROT, name=f"{name}_dense0")(tokens))
            tokens = norm(tokens + nn.Dense(self.width, kernel_init=GLOROT, name=f"{name}_dense1")(hidden))
        query = self.param("query", nn.initializers.normal(self.head_size**-0.5), (1, self.heads, self.head_size))
        query = jnp.broadcast_to(query, (*tokens.shape[:-2], *query.shape))
        return attend("pooling", query, tokens)[..., 0, :]


class PointCloudEncoder(nn.Module):
    """Point cloud to features: a token each for the task, the state, every segment and all points, then a Transformer.

    One PointNet per segment and one for all points, each with its own parameters; the token of an empty segment is not
    attended to. With a head's linear layer on top this is the paper's 192-128-out, the backbone of its actor, its two
    critics and its discriminator.

    Attributes:
      width: of the PointNets and the tokens.
      blocks, heads, head_size, feedforward: see `SegmentTransformer`.
      hidden: units of the head's hidden layer, which are the features.
    """

    width: int = 192
    blocks: int = 2
    heads: int = 4
    head_size: int = 32
    feedforward: int = 768
    hidden: int = 128

    @nn.compact
    def __call__(self, observation: PointCloud | Mapping[str, Any], action: jax.Array | None = None) -> jax.Array:
        """Point cloud (or a dict of its fields), perhaps an action `[..., D]`, to features `[..., hidden]`.

        An action, as a critic and a discriminator have it, joins the state.
        """
        cloud = PointCloud(**observation) if isinstance(observation, Mapping) else observation
        if action is not None:
            cloud = cloud._replace(state=jnp.concatenate([cloud.state, action], axis=-1))
        segments = cloud.segmentation.astype(bool)
        masks = jnp.concatenate([segments, jnp.any(segments, axis=-1, keepdims=True)], axis=-1)

        point_nets = nn.vmap(  # over segments; the cloud is the same for all
            PointNet,
            in_axes=(None, -1),  # pyright: ignore[reportArgumentType]
            out_axes=-2,
            variable_axes={"params": 0},
            split_rngs={"params": True},
        )
        segment_tokens = point_nets(self.width, name="point_nets")(cloud, masks)
        state_token = TwoLayers(self.width, name="state")(cloud.state)[..., None, :]
        task_token = self.param("task", nn.initializers.normal(self.width**-0.5), (1, self.width))
        task_token = jnp.broadcast_to(task_token, state_token.shape)
        tokens = jnp.concatenate([task_token, state_token, segment_tokens], axis=-2)

        filled = jnp.any(masks, axis=-2)
        present = jnp.concatenate([jnp.ones((*filled.shape[:-1], 2), bool), filled], axis=-1)
        pooled = SegmentTransformer(
            self.width, self.blocks, self.heads, self.head_size, self.feedforward, name="transformer"
        )(tokens, present)
        return nn.relu(nn.Dense(self.hidden, kernel_init=GLOROT, name="hidden")(pooled))
