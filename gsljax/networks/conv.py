"""The 3×3 convolution and the max-pool of every image network, written so that training loops and populations are fast.

On a CPU, XLA (jax 0.10) hands a convolution to a fast library only where it finds the plain form. Inside a `lax.scan`,
where every training loop has them, it no longer finds it in the gradients that `jax.grad` makes: one IMPALA network
learns from 5 images per second there, outside from 148. `conv` therefore has its gradients written out, as a plain
convolution and nine matrix products: 196. `vmap` over weights turns any convolution into a grouped one, which is slow
again (72 for 4 members); in two other forms it becomes batched matrix products (123 and 102); 4 members one after
another, as `gsljax.population.fastest_strategy` has it on a CPU, learn from 234. (`benchmarks/population_conv.py` on
two cores, `benchmarks/results/population_conv-2-cores.json`.) All members' channels side by side, `packed`, are 1.6
to 3 times as fast as the grouped convolution (204 against 65 for 4 members, 110 against 69 for 16; one after another
422 and 491; `population_conv-2-cores-packed.json`, another machine). Part of PyTorch's lead is the cores' cache, see
`gsljax.algorithms.gradients`.

On a GPU the gradients written out are the slower ones: in bfloat16 one network learns from 134,000 images per second,
with cuDNN's gradients from 192,000 (batches of 2,048; `benchmarks/results/gpu/population_conv-h100.json`). A grouped
convolution is slow there as well: 75 members acting for 4 images each take 58 ms, one after another 11.9, as nine
batched matrix products 2.0 (with sums in bfloat16, which they no longer are). Learning from 256 images each they are
fastest one after another, 128,000 images per second (an H100, measured once with a script that is not committed). Hence
what `"auto"` is there, and that beside pools members learn one after another and act all at once.

Images are `[N, H, W, C]`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gsljax.device import is_accelerator

Compute = Literal["auto", "conv", "library", "packed", "patches", "taps"]
"""How a convolution is computed: `"conv"` on a CPU and `"library"` elsewhere; XLA's own with the gradients written out;
the same with the library's gradients; one with all members' channels; patches times one matrix; or nine shifted matrix
products."""

DEFAULT_COMPUTE: Compute = "auto"

_Convolution = Callable[[jax.Array, jax.Array], jax.Array]

_WINDOW = [(i, j) for i in range(3) for j in range(3)]


def convolve_3x3(images: jax.Array, kernel: jax.Array, compute: Compute = DEFAULT_COMPUTE) -> jax.Array:
    """Sum over a 3×3 window with zero padding: out[y, x] = Σ_ij images[y + i − 1, x + j − 1] · kernel[i, j].

    Args:
      images: `[N, H, W, C]`.
      kernel: `[3, 3, C, F]`, of the images' dtype.
      compute: `"conv"` is `lax.conv_general_dilated` with the gradients of this module; `"library"` is the same with
        JAX's, under `vmap` over kernels `"taps"` in the forward pass; `"auto"` is the first on a CPU and the second
        elsewhere; `"packed"` is the same for one member, but under `vmap` one convolution of `P·C` channels with a
        block-diagonal kernel, P times the arithmetic in place of P groups, in which a member's NaN or infinity reaches
        the others; `"patches"` gathers the windows `[N, H, W, 9C]` and multiplies once; `"taps"` adds nine products of
        shifted images, without the nine-fold copy. All agree up to rounding.

    Returns:
      `[N, H, W, F]`.

    Raises:
      ValueError: if `compute` is none of these.
    """
    if compute == "auto":
        compute = "library" if is_accelerator() else "conv"
    if compute == "conv":
        return _convolve(_plain, images, kernel)
    if compute == "library":
        return _convolve_by_library(images, kernel)
    if compute == "packed":
        return _convolve(_packed, images, kernel)
    if compute == "patches":
        return jnp.concatenate(_shifted(images), axis=-1) @ kernel.reshape(9 * images.shape[-1], -1)
    if compute == "taps":
        return _taps(images, kernel)
    raise ValueError(f"compute is {compute!r}; it must be one of {', '.join(get_args(Compute))}")


def _shifted(images: jax.Array) -> list[jax.Array]:
    """The images moved by each place of the window, zero beyond their edges."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + height, j : j + width] for i, j in _WINDOW]


def _taps(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nine products, added up in float32 as a convolution's are: rounded once, whatever the images' dtype."""
    product = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
    products = (product(image, kernel[i, j]) for image, (i, j) in zip(_shifted(images), _WINDOW, strict=True))
    return functools.reduce(jnp.add, products).astype(images.dtype)


def _plain(images: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_batching.custom_vmap
def _packed(images: jax.Array, kernel: jax.Array) -> jax.Array:
    return _plain(images, kernel)


@_packed.def_vmap
def _pack(num_members: int, in_batched: Sequence[bool], images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, bool]:
    """`vmap`'s rule: images `[P, N, H, W, C]` and kernels `[P, 3, 3, C, F]`, or one of both without the P."""
    images, kernel = (
        x if batched else jnp.broadcast_to(x, (num_members, *x.shape))
        for x, batched in zip((images, kernel), in_batched, strict=True)
    )
    *_, inputs, features = kernel.shape
    blocks = jnp.einsum("pijcf,pq->ijpcqf", kernel, jnp.eye(num_members, dtype=kernel.dtype))
    side_by_side = jnp.moveaxis(images, 0, 3).reshape(*images.shape[1:4], num_members * inputs)
    output = _packed(side_by_side, blocks.reshape(3, 3, num_members * inputs, num_members * features))
    return jnp.moveaxis(output.reshape(*images.shape[1:4], num_members, features), 3, 0), True


# Under `vmap` this is other arithmetic, which has no reverse-mode gradient of its own: hence the one around it.
@jax.custom_batching.custom_vmap
def _batchable(images: jax.Array, kernel: jax.Array) -> jax.Array:
    return _plain(images, kernel)


@_batchable.def_vmap
def _in_a_batch(
    num_members: int, in_batched: Sequence[bool], images: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, bool]:
    """`vmap`'s rule: members' images are more images, if all have one kernel; else batched matrix products."""
    if not in_batched[1]:
        output = _batchable(images.reshape(-1, *images.shape[2:]), kernel)
        return output.reshape(*images.shape[:2], *output.shape[1:]), True
    return jax.vmap(_taps, (0 if in_batched[0] else None, 0), axis_size=num_members)(images, kernel), True


@jax.custom_vjp
def _convolve_by_library(images: jax.Array, kernel: jax.Array) -> jax.Array:
    return _batchable(images, kernel)


def _library_forward(images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve_by_library(images, kernel), (images, kernel)


def _library_backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(_plain, *saved)[1](gradient)


_convolve_by_library.defvjp(_library_forward, _library_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(convolution: _Convolution, images: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolution(images, kernel)


def _convolve_forward(
    convolution: _Convolution, images: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    # Itself, not `convolution`, so that a gradient has a gradient in its turn.
    return _convolve(convolution, images, kernel), (images, kernel)


def _convolve_backward(
    convolution: _Convolution, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = saved
    of_images = cast(jax.Array, _convolve(convolution, gradient, jnp.swapaxes(kernel[::-1, ::-1], 2, 3)))
    flat = gradient.reshape(-1, gradient.shape[-1])
    taps = [image.reshape(-1, image.shape[-1]).T @ flat for image in _shifted(images)]
    return of_images, jnp.stack(taps).reshape(kernel.shape)


_convolve.defvjp(_convolve_forward, _convolve_backward)


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
