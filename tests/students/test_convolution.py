"""`convolve` against Flax's convolution: its values, its gradients, and where they are computed."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax.students import convolution
from kipax.students.convolution import convolve

CASES = {
    "3x3": ((4, 8, 8, 3), (3, 3, 3, 5), 1, 1, 1),
    "without padding": ((3, 7, 9, 2), (3, 3, 2, 4), 1, 0, 1),
    "stride 2, odd side": ((5, 7, 7, 4), (3, 3, 4, 6), 2, 1, 1),
    "stride 2, even side": ((5, 8, 8, 4), (3, 3, 4, 6), 2, 1, 1),
    "1x1, stride 2": ((4, 8, 8, 3), (1, 1, 3, 5), 2, 0, 1),
    "7x7, stride 2": ((2, 16, 16, 3), (7, 7, 3, 4), 2, 3, 1),
    "patches": ((2, 8, 8, 3), (4, 4, 3, 5), 4, 0, 1),
    "two groups": ((3, 6, 6, 4), (3, 3, 2, 6), 1, 1, 2),
    "a group a channel": ((3, 6, 6, 4), (3, 3, 1, 4), 1, 1, 4),
}


def _by_flax(x, kernel, stride=1, padding=1, groups=1):
    """Flax's convolution with the same kernel; XLA computes its gradients."""
    layer = nn.Conv(
        kernel.shape[-1],
        kernel.shape[:2],
        (stride, stride),
        [(padding, padding)] * 2,
        feature_group_count=groups,
        use_bias=False,
    )
    return layer.apply({"params": {"kernel": kernel}}, x)


def _drawn(x_shape, kernel_shape, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=s), dtype) for s in (x_shape, kernel_shape))


def _loss(function, *settings):
    return lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel, *settings)))


def _gradients(function, *settings):
    return jax.jit(jax.grad(_loss(function, *settings), (0, 1)))


def _assert_near(ours, theirs, tolerance=2e-5):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("together", [1, 100])
def test_gradients_are_those_of_flax(case, together, monkeypatch):
    """Whether the patches are taken of one image at a time or of all images at once."""
    x_shape, kernel_shape, *settings = CASES[case]
    monkeypatch.setattr(convolution, "_images_together", lambda images, _: np.gcd(images, together))
    arrays = _drawn(x_shape, kernel_shape)
    assert jnp.array_equal(convolve(*arrays, *settings), _by_flax(*arrays, *settings))
    _assert_near(*(_gradients(f, *settings)(*arrays) for f in (convolve, _by_flax)))


def test_gradient_in_the_kernel_is_that_of_finite_differences(x64):
    x, kernel = _drawn((2, 5, 5, 2), (3, 3, 2, 3), jnp.float64)
    direction = jnp.asarray(np.random.default_rng(1).normal(size=kernel.shape))
    loss, step = jax.jit(_loss(convolve, 2, 1)), 1e-6
    expected = (loss(x, kernel + step * direction) - loss(x, kernel - step * direction)) / 2
    found = jnp.sum(_gradients(convolve, 2, 1)(x, kernel)[1] * direction)
    np.testing.assert_allclose(found, expected / step, rtol=1e-7)


def test_second_derivatives_are_those_of_flax():
    x, kernel = _drawn((2, 5, 5, 2), (3, 3, 2, 3))

    def of_gradients(function):
        both = _gradients(function)
        return jax.jit(jax.grad(lambda x, k: sum(jnp.sum(g**2) for g in both(x, k)), (0, 1)))

    _assert_near(*(of_gradients(f)(x, kernel) for f in (convolve, _by_flax)))


def test_several_kernels_at_once_have_the_same_gradients():
    x, kernel = _drawn((4, 6, 6, 3), (5, 3, 3, 3, 4))
    several = (jax.jit(jax.vmap(_gradients(f), (None, 0))) for f in (convolve, _by_flax))
    _assert_near(*(gradients(x, kernel) for gradients in several))


def test_half_precision_is_summed_in_float32():
    x, kernel = _drawn((64, 8, 8, 2), (3, 3, 2, 3), jnp.bfloat16)
    g = jnp.ones((64, 8, 8, 3), jnp.bfloat16)
    (found,) = jax.vjp(lambda k: convolve(x, k), kernel)[1](g)
    wide = jax.vjp(lambda k: _by_flax(x.astype(jnp.float32), k), kernel.astype(jnp.float32))
    (expected,) = wide[1](g.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    _assert_near(found.astype(jnp.float32), expected, tolerance=0.01)


def test_no_images_have_no_gradient():
    x, kernel = _drawn((0, 6, 6, 3), (3, 3, 3, 4))
    assert not np.any(_gradients(convolve)(x, kernel)[1])


def test_images_together_divide_the_batch_and_fit_the_cache():
    assert convolution._images_together(128, 2**18) == 4
    assert convolution._images_together(10, 2**18) == 2
    assert convolution._images_together(127, 2**18) == 1  # a prime
    assert convolution._images_together(8, 2**30) == 1
    assert convolution._images_together(0, 2**18) == 1
    assert convolution._images_together(8, 0) == 8  # no patches


@pytest.mark.parametrize(("platform", "by_patches"), [("cpu", True), ("cuda", False)])
def test_only_cpus_compute_it_from_patches(platform, by_patches):
    x, kernel = _drawn((4, 8, 8, 3), (3, 3, 3, 5))
    traced = jax.jit(jax.grad(_loss(convolve), 1)).trace(x, kernel)
    assert ("while" in traced.lower(lowering_platforms=(platform,)).as_text()) == by_patches


def test_forward_mode_is_refused():
    x, kernel = _drawn((2, 5, 5, 2), (3, 3, 2, 3))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda k: convolve(x, k), (kernel,), (kernel,))
