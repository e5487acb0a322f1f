"""The 3×3 convolution and the max-pool of every image network, written so that members can be vmapped.

`vmap` over a convolution's weights gives a grouped convolution, which is slow on CPU and GPU alike. The same sum
written as matrix products becomes batched matrix products instead. Images are `[N, H, W, C]`.
"""

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Compute = Literal["conv", "patches", "taps"]
"""How a convolution is computed: XLA's own, patches times one matrix, or nine shifted matrix products."""

DEFAULT_COMPUTE: Compute = "conv"  # until benchmarks/population_conv.py has measured which is fastest, and where


def convolve_3x3(images: jax.Array, kernel: jax.Array, compute: Compute = DEFAULT_COMPUTE) -> jax.Array:
    """Sum over a 3×3 window with zero padding: out[y, x] = Σ_ij images[y + i − 1, x + j − 1] · kernel[i, j].

    Args:
      images: `[N, H, W, C]`.
      kernel: `[3, 3, C, F]`, of the images' dtype.
      compute: `"conv"` is `lax.conv_general_dilated`; `"patches"` gathers the windows `[N, H, W, 9C]` and multiplies
        once; `"taps"` adds nine products of shifted images, without the nine-fold copy. All agree up to rounding.

    Returns:
      `[N, H, W, F]`.

    Raises:
      ValueError: if `compute` is none of these.
    """
    if compute == "conv":
        return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    height, width, channels = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    window = [(i, j) for i in range(3) for j in range(3)]
    shifted = [padded[:, i : i + height, j : j + width] for i, j in window]
    if compute == "patches":
        return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(9 * channels, -1)
    if compute == "taps":
        products = (image @ kernel[i, j] for image, (i, j) in zip(shifted, window, strict=True))
        return functools.reduce(jnp.add, products)
    raise ValueError(f"compute is {compute!r}; it must be 'conv', 'patches' or 'taps'")


class Conv3x3(nn.Module):
    """A 3×3 convolution of stride 1 with zero padding and a bias; its parameters are those of Flax's `nn.Conv`.

    Attributes:
      features: F.
      kernel_init: initialiser of the kernel `[3, 3, C, F]`; biases start at zero.
      compute: see `convolve_3x3`; changes speed only.
      dtype: what is computed in, `float32` or `bfloat16`; parameters are float32 either way.
    """

    features: int
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    compute: Compute = DEFAULT_COMPUTE
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """`[N, H, W, C]` to `[N, H, W, F]`."""
        kernel = self.param("kernel", self.kernel_init, (3, 3, images.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        images, kernel, bias = (jnp.asarray(x, self.dtype) for x in (images, kernel, bias))
        return convolve_3x3(images, kernel, self.compute) + bias


def max_pool_3x3(images: jax.Array) -> jax.Array:
    """Largest value of each 3×3 window, stride 2, TensorFlow's SAME padding (at the end first): `[N, ⌈H/2⌉, ⌈W/2⌉, C]`.

    The gradient of a window goes to its largest entry, and is shared out between equal ones.
    """
    # Rows, then columns. XLA's reduce-window has a select-and-scatter for a gradient: on one busy CPU core, forward and
    # gradient of [32, 64, 64, 16] took 144 ms with it, 19 ms like this; vmapped over 8 such batches 1,353 and 365 ms.
    for axis in (1, 2):
        size = images.shape[axis]
        pooled_size = (size + 1) // 2
        padding = [(0, 0, 0)] * images.ndim
        padding[axis] = (size % 2, 1, 0)
        padded = lax.pad(images, jnp.array(-jnp.inf, images.dtype), padding)
        first, second, third = (
            lax.slice_in_dim(padded, start, start + 2 * pooled_size - 1, stride=2, axis=axis) for start in range(3)
        )
        images = jnp.maximum(jnp.maximum(first, second), third)
    return images
