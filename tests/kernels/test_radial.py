"""RBF and Laplace kernels against NumPy, finite differences and their own properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kipax import make_kernel_fn
from kipax.errors import UsageError
from kipax.kernels import KernelSpec, RadialKernel, descriptions
from kipax.kernels import radial as radial_module

NAMES = ["rbf", "laplace", "rbf:0.3", "laplace:2.5"]
SHAPE = (2, 4, 3)


def _images(n, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=(n, *shape))


def _by_formula(x1, x2, name):
    family, _, gamma = name.partition(":")
    difference = x1.reshape(len(x1), 1, -1) - x2.reshape(1, len(x2), -1)
    distance = np.sqrt(np.sum(difference**2, axis=2) / difference.shape[2])
    return np.exp(-float(gamma or 1) * (distance**2 if family == "rbf" else distance))


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients(x64, name):
    x1, x2 = _images(3), _images(4, seed=1)
    kernel_fn = make_kernel_fn(name)
    np.testing.assert_allclose(kernel_fn(x1, x2), _by_formula(x1, x2, name), rtol=1e-14)
    np.testing.assert_allclose(kernel_fn(x1), _by_formula(x1, x1, name), rtol=1e-14)
    cotangent = _images(3, seed=2, shape=(4,))
    direction, step = _images(4, seed=3), 1e-6
    pulled = jax.vjp(lambda c: kernel_fn(x1, c), jnp.asarray(x2))[1](jnp.asarray(cotangent))[0]
    ahead, behind = (_by_formula(x1, x2 + s * direction, name) for s in (step, -step))
    slope = np.sum(cotangent * (ahead - behind)) / (2 * step)
    np.testing.assert_allclose(np.sum(pulled * direction), slope, rtol=1e-7)


def test_forward_mode_and_second_derivatives(x64):
    x = jnp.asarray(_images(2))
    tangent = jax.jvp(make_kernel_fn("rbf"), (x,), (x,))[1]
    assert tangent[0, 1] < 0  # images drawn apart
    curvature = jax.grad(lambda s: jax.grad(lambda r: make_kernel_fn("rbf")(r * x)[0, 1])(s))(1.0)
    assert jnp.isfinite(curvature)


@pytest.mark.parametrize("name", NAMES)
def test_identical_images(name):
    x = _images(3).astype(np.float32)
    kernel_fn = make_kernel_fn(name)
    assert np.all(np.diag(kernel_fn(x)) == 1)
    assert np.all(np.diag(kernel_fn(x, x.copy())) == 1)
    d1, d2 = jax.grad(lambda a, b: kernel_fn(a, b)[0, 0], argnums=(0, 1))(x, x)
    assert not np.any(d1)
    assert not np.any(d2)
    twice = np.concatenate([x, x])
    assert np.all(np.isfinite(jax.grad(lambda a: jnp.sum(kernel_fn(a) ** 2))(twice)))


def test_laplace_next_to_coincidence():
    """A float32 product of images would lose this distance in rounding."""
    x = _images(1).astype(np.float32)
    near = x.copy()
    near[0, 0, 0, 0] += np.float32(1e-4)
    kernel_fn = make_kernel_fn("laplace")
    distance = float(near[0, 0, 0, 0]) - float(x[0, 0, 0, 0])
    expected = 1 - distance / np.sqrt(24)
    np.testing.assert_allclose(kernel_fn(x, near)[0, 0], expected, atol=1e-7)
    gradient = jax.grad(lambda a: kernel_fn(x, a)[0, 0])(near)
    np.testing.assert_allclose(gradient[0, 0, 0, 0], -1 / np.sqrt(24), rtol=1e-3)
    assert np.sum(np.abs(gradient)) == np.abs(gradient[0, 0, 0, 0])


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 8),
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 99),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_symmetric_and_positive_semidefinite(n, name, seed, scale):
    x = scale * _images(8, seed=seed).astype(np.float32)[:n]
    k = np.asarray(make_kernel_fn(name)(x), np.float64)
    np.testing.assert_array_equal(k, k.T)
    assert np.all((k >= 0) & (k <= 1))
    assert np.linalg.eigvalsh(k).min() > -1e-6 * n


def test_tiles_change_nothing(monkeypatch):
    x1, x2 = _images(7).astype(np.float32), _images(5, seed=1).astype(np.float32)
    monkeypatch.setattr(radial_module, "_TILE_VALUES", 300)  # two rows at once, and one left over
    few = radial_module._matrix(x1, x2, family="laplace", gamma=1.0)
    np.testing.assert_allclose(few, make_kernel_fn("laplace")(x1, x2), rtol=1e-6)


def test_no_images():
    x = _images(2).astype(np.float32)
    assert make_kernel_fn("rbf")(x[:0], x).shape == (0, 2)
    assert make_kernel_fn("rbf")(x, x[:0]).shape == (2, 0)


@pytest.mark.parametrize("name", ["rbf", "laplace:0.25", "rbf:1e-06"])
def test_names_and_descriptions_round_trip(name):
    kernel = descriptions.from_name(name)
    assert kernel.name == name
    assert descriptions.from_dict(kernel.to_dict()) == kernel
    assert make_kernel_fn(kernel) is make_kernel_fn(name)
    assert descriptions.from_name("rbf:1.0") == RadialKernel("rbf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_kernel_fn("rbf:wide"), "the gamma of rbf is a number, as in rbf:0.5"),
        (lambda: make_kernel_fn("laplace:"), "the gamma of laplace is a number"),
        (lambda: make_kernel_fn("rbf:0"), "must be positive and finite; got 0.0"),
        (lambda: make_kernel_fn("rbf:nan"), "must be positive and finite"),
        (lambda: make_kernel_fn("rfb"), "did you mean rbf.*Choices: fc<d>"),
        (lambda: make_kernel_fn("rbf", kind="nngp"), "rbf is a kernel itself; got kernel 'nngp'"),
        (lambda: make_kernel_fn("rbf", backend="fused"), "computes kernels of networks, and rbf"),
        (lambda: make_kernel_fn("fc1", kind="rbf"), "unknown kernel 'rbf'"),
        (lambda: RadialKernel("matern"), "unknown radial kernel"),
        (lambda: KernelSpec(RadialKernel("rbf"), "ntk"), "leave it out"),
        (lambda: descriptions.from_dict({"name": "rbf", "gamma": 3}), "no kernel is described"),
        (lambda: make_kernel_fn("rbf")(np.zeros((2, 4, 4))), "images have the shape"),
        (
            lambda: make_kernel_fn("rbf")(np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 5, 1))),
            "one height, width",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(UsageError, match=message):
        call()
