"""All ways to compute a convolution and a max-pool against Flax's own, forward and gradient, alone and over members."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.networks.conv import Conv3x3, convolve_3x3, max_pool_3x3

pytestmark = pytest.mark.usefixtures("compilation_cache")

FORMULATIONS = ["conv", "packed", "patches", "taps"]
IMAGES = np.random.default_rng(0).normal(size=(3, 2, 5, 4, 3)).astype(np.float32)  # [members, N, H, W, C]


def assert_trees_close(ours, theirs, atol=1e-5):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol), ours, theirs)


def output_and_gradients(module, params, images):
    """The output, and the gradients of a function of it that treats no two entries alike."""

    def loss(params, images):
        output = module.apply(params, images)
        return jnp.sum(jnp.sin(output) * jnp.linspace(0.5, 1.5, output.size).reshape(output.shape)), output

    gradients, output = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, images)
    return output, gradients


@functools.cache
def flax_members():
    """Three members of Flax's convolution, and each one's output and gradients."""
    module = nn.Conv(6, (3, 3), bias_init=nn.initializers.normal())
    init = jax.jit(module.init)
    params = [init(key, IMAGES[0]) for key in jax.random.split(jax.random.key(0), 3)]
    of_one = jax.jit(functools.partial(output_and_gradients, module))
    return params, [of_one(*member) for member in zip(params, IMAGES, strict=True)]


@pytest.mark.parametrize("compute", FORMULATIONS)
def test_convolution_is_that_of_flax(compute):
    params, expected = flax_members()
    of_one = functools.partial(output_and_gradients, Conv3x3(6, compute=compute))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *params)
    of_members = jax.jit(jax.vmap(of_one))(stacked, IMAGES)
    for member in range(3):
        assert_trees_close(jax.tree.map(lambda x, m=member: x[m], of_members), expected[member])
    assert_trees_close(jax.jit(of_one)(params[0], IMAGES[0]), expected[0])


@pytest.mark.parametrize("compute", FORMULATIONS)
def test_bfloat16_computes_with_float32_parameters(compute):
    module = Conv3x3(6, compute=compute, dtype=jnp.bfloat16)
    params = jax.jit(module.init)(jax.random.key(0), IMAGES[0])
    output, gradients = jax.jit(functools.partial(output_and_gradients, module))(params, IMAGES[0])
    assert output.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves((params, gradients))} == {np.dtype("float32")}
    np.testing.assert_allclose(
        output.astype(np.float32), Conv3x3(6, compute=compute).apply(params, IMAGES[0]), rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("compute", FORMULATIONS)
def test_gradients_have_gradients(compute):
    """A gradient penalty differentiates the gradient in the images by the kernel."""
    images = jax.random.normal(jax.random.key(0), (2, 4, 5, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 2))

    def penalty(kernel, compute):
        of_images = jax.grad(lambda images: jnp.sum(jnp.sin(convolve_3x3(images, kernel, compute))))(images)
        return jnp.sum(jnp.square(of_images))

    found, expected = (jax.grad(penalty)(kernel, way) for way in (compute, "patches"))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("compute", ["packed", "library"])
@pytest.mark.parametrize("shared", ["images", "kernel"])
def test_members_may_share_their_images_or_their_kernel(shared, compute):
    images = jax.random.normal(jax.random.key(0), (3, 2, 4, 5, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 3, 2))
    if shared == "images":
        given, axes = (images[0], kernel), (None, 0)
    else:
        given, axes = (images, kernel[0]), (0, None)
    found, expected = (
        jax.vmap(functools.partial(convolve_3x3, compute=way), in_axes=axes)(*given) for way in (compute, "patches")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_packed_members_are_one_convolution():
    shapes = jnp.zeros((4, 2, 5, 5, 3)), jnp.zeros((4, 3, 3, 3, 6))
    program = str(jax.make_jaxpr(jax.vmap(functools.partial(convolve_3x3, compute="packed")))(*shapes))
    assert program.count("conv_general_dilated[") == 1 and "feature_group_count=1" in program
    assert "f32[3,3,12,24]" in program


def test_members_of_library_act_by_matrix_products_and_share_one_convolution_where_they_have_one_kernel():
    images, kernels = jnp.zeros((4, 2, 5, 5, 3)), jnp.zeros((4, 3, 3, 3, 6))
    convolve = functools.partial(convolve_3x3, compute="library")
    own = str(jax.make_jaxpr(jax.vmap(convolve))(images, kernels))
    common = str(jax.make_jaxpr(jax.vmap(convolve, (0, None)))(images, kernels[0]))
    assert own.count("conv_general_dilated[") == 0 and own.count("dot_general[") == 9
    assert common.count("conv_general_dilated[") == 1


def test_in_bfloat16_members_act_as_they_learn():
    """All at once by matrix products, one after another by a convolution: both rounded once, at the end."""
    images = jax.random.normal(jax.random.key(0), (4, 2, 8, 8, 32), jnp.bfloat16)
    kernels = jax.random.normal(jax.random.key(1), (4, 3, 3, 32, 16), jnp.bfloat16)
    convolve = functools.partial(convolve_3x3, compute="library")
    at_once, in_turn = (np.asarray(way(images, kernels), np.float32) for way in (jax.vmap(convolve), _one_by_one))
    exact = np.asarray(jax.vmap(convolve)(*(x.astype(jnp.float32) for x in (images, kernels))))
    errors = [np.sqrt(np.mean((found - exact) ** 2)) for found in (at_once, in_turn)]
    assert errors[0] < 1.1 * errors[1]


def _one_by_one(images, kernels):
    return jax.lax.map(lambda one: convolve_3x3(*one, compute="library"), (images, kernels))


@pytest.mark.parametrize(("backend", "compute"), [("cpu", "conv"), ("gpu", "library")])
def test_auto_depends_on_the_device(backend, compute, monkeypatch):
    """Told apart by the gradient in the kernel: nine products where it is written out."""

    def gradient(compute):
        kernel = jnp.zeros((3, 3, 3, 6))
        of_sum = jax.grad(lambda kernel: jnp.sum(convolve_3x3(jnp.zeros((1, 5, 5, 3)), kernel, compute)))
        return str(jax.make_jaxpr(of_sum)(kernel)).count("dot_general[")

    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert gradient("auto") == gradient(compute) == {"cpu": 9, "gpu": 0}[backend]


def test_unknown_formulation_is_refused():
    with pytest.raises(ValueError, match="compute is 'fft'; it must be"):
        convolve_3x3(jnp.zeros((1, 3, 3, 1)), jnp.zeros((3, 3, 1, 1)), "fft")


def flax_max_pool(images):
    return nn.max_pool(images, (3, 3), (2, 2), "SAME")


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (2, 3), (1, 1)])
def test_max_pool_is_that_of_flax(size):
    images = np.random.default_rng(1).permutation(2 * 3 * size[0] * size[1] * 2)  # all different: one largest entry
    images = images.reshape(2, 3, *size, 2).astype(np.float32) - 40

    def output_and_gradient(pool):
        def loss(images):
            output = pool(images)
            return jnp.sum(output * jnp.linspace(0.5, 1.5, output.size).reshape(output.shape)), output

        return jax.jit(jax.vmap(jax.grad(loss, has_aux=True)))(images)

    assert_trees_close(output_and_gradient(max_pool_3x3), output_and_gradient(flax_max_pool))


def test_equal_entries_share_a_window_s_gradient():
    # 2×2 zeros give one window, of which the other five entries are padding: rows first, then columns, each in halves.
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool_3x3(x))))
    np.testing.assert_array_equal(gradient(jnp.zeros((1, 2, 2, 1)))[0, ..., 0], np.full((2, 2), 0.25))
    assert np.sum(gradient(jnp.zeros((1, 6, 6, 1)))) == 9  # as many as windows
