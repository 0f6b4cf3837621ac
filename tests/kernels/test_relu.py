"""The ReLU dual: values, derivatives, and what happens at correlation one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax.kernels.relu import relu_dual, safe_sqrt


def _exact(n, m):
    c = np.clip(n / m, -1, 1)
    angle = np.pi - np.arccos(c)
    return m * (np.sqrt(1 - c * c) + angle * c) / (2 * np.pi), angle / (2 * np.pi)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 3e-7), (jnp.float64, 1e-15)])
def test_values(x64, dtype, tolerance):
    n = np.linspace(-2.999, 2.999, 1001)
    m = np.full_like(n, 3.0)
    k, slope = relu_dual(jnp.asarray(n, dtype), jnp.asarray(m, dtype), jnp.asarray(-1.0, dtype))
    expected = _exact(n.astype(dtype).astype(np.float64), m)
    np.testing.assert_allclose(k, expected[0], atol=3 * tolerance)
    np.testing.assert_allclose(slope, expected[1], atol=tolerance)


def test_derivatives_against_finite_differences(x64):
    n, m, floor = jnp.linspace(-2.9, 2.9, 41), jnp.full(41, 3.0), jnp.asarray(-1.0)
    _, tangents = jax.jvp(lambda a, b: relu_dual(a, b, floor), (n, m), (n * 0 + 0.3, m * 0 + 0.7))
    step = 1e-6
    above = relu_dual(n + 0.3 * step, m + 0.7 * step, floor)
    below = relu_dual(n - 0.3 * step, m - 0.7 * step, floor)
    for tangent, a, b in zip(tangents, above, below, strict=True):
        np.testing.assert_allclose(tangent, (a - b) / (2 * step), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("off", [0.0, 1e-7, -1e-7, -4e-7])
def test_rounded_correlation_counts_as_one(off):
    n, m = jnp.float32(2.0 * (1 + off)), jnp.float32(2.0)
    slope, d_slope = jax.value_and_grad(lambda a: relu_dual(a, m, jnp.float32(-1.0))[1])(n)
    assert float(slope) == 0.5
    assert float(d_slope) == 0.0


def test_floor_makes_it_one_whatever_the_rounding():
    _, slope = relu_dual(jnp.float32(1.99), jnp.float32(2.0), jnp.float32(1.0))
    assert float(slope) == 0.5


def test_no_variance():
    value = relu_dual(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(-1.0))
    assert [float(v) for v in value] == [0.0, 0.0]
    gradient = jax.grad(lambda n, m: sum(relu_dual(n, m, jnp.float32(-1.0))), (0, 1))(0.0, 0.0)
    assert np.all(np.isfinite(gradient))
    assert float(jax.grad(safe_sqrt)(0.0)) == 0.0
