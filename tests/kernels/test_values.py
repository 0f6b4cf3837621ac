"""Values and gradients of the portable kernel against references, in float64 and float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax import architectures, files, make_kernel_fn
from tests.closeness import assert_close, relative_error
from tests.golden import make_kernels
from tests.kernels import numpy_recursion
from tests.kernels.cases import CASES

every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)


@pytest.fixture(scope="module")
def golden():
    return files.read_npz(make_kernels.PATH)


def _check_against(answers, case):
    kernel_fn = make_kernel_fn(case.architecture, kind=case.kind)
    x1, x2 = case.images()
    of_pair, of_self = case.cotangents()
    k, pull = jax.vjp(kernel_fn, jnp.asarray(x1), jnp.asarray(x2))
    assert k.dtype == jnp.float64
    assert_close(k, answers["k"], 1e-10)
    for actual, name in zip(pull(jnp.asarray(of_pair)), ("d_x1", "d_x2"), strict=True):
        assert_close(actual, answers[name], 1e-8)
    k_self, pull_self = jax.vjp(kernel_fn, jnp.asarray(x1))
    assert_close(k_self, answers["k_self"], 1e-7)
    assert_close(pull_self(jnp.asarray(of_self))[0], answers["d_self"], 1e-5)


@every_case
def test_golden_neural_tangents(x64, golden, case):
    prefix = f"{case.id}/"
    answers = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    _check_against(answers, case)


@pytest.mark.slow
@every_case
def test_live_neural_tangents(x64, case):
    try:
        answers = make_kernels.compute(case)
    except ImportError as error:
        pytest.skip(str(error))
    _check_against(answers, case)


@every_case
def test_self_kernel_and_duplicates_exact(x64, case):
    """neural-tangents rounds identical images; a NumPy recursion with c = 1 does not."""
    x1, x2 = case.images()
    x2[1] = x1[0]  # shared between the two sides
    kernel_fn = make_kernel_fn(case.architecture, kind=case.kind)
    expected = numpy_recursion.kernel(x1, x2, case.architecture, case.kind)
    assert_close(kernel_fn(x1, x2), expected, 1e-10)
    expected = numpy_recursion.kernel(x1, x1, case.architecture, case.kind)
    k_self = kernel_fn(x1)
    assert_close(k_self, expected, 1e-10)
    np.testing.assert_array_equal(k_self, np.asarray(k_self).T)


@every_case
def test_float32_against_float64(x64, case):
    kernel_fn = make_kernel_fn(case.architecture, kind=case.kind)
    x1, x2 = (x.astype(np.float32) for x in case.images())
    x2[1] = x1[0]
    single = kernel_fn(x1, x2)
    assert single.dtype == jnp.float32
    double = kernel_fn(x1.astype(np.float64), x2.astype(np.float64))
    assert_close(single, double, 1e-5)
    d1, d2 = np.diag(kernel_fn(x1)), np.diag(kernel_fn(x1.astype(np.float64)))
    assert np.all(np.abs(d1 / d2 - 1) < 3e-6)  # no bias on the diagonal


@every_case
def test_float32_of_nearly_duplicated_images(x64, case):
    kernel_fn = make_kernel_fn(case.architecture, kind=case.kind)
    x1, _ = (x.astype(np.float32) for x in case.images())
    near = (x1 * np.float32(1 + 1e-6)).astype(np.float32)
    near[1] = x1[1] + np.float32(1e-4)
    double = kernel_fn(x1.astype(np.float64), near.astype(np.float64))
    assert_close(kernel_fn(x1, near), double, 1e-3)


@every_case
def test_float32_gradients(x64, case):
    """Also on the self-kernel, whose diagonal has correlation one."""
    kernel_fn = make_kernel_fn(case.architecture, kind=case.kind)
    x1 = case.images()[0].astype(np.float32)
    cotangent = case.cotangents()[1]

    def pulled(dtype):
        _, pull = jax.vjp(kernel_fn, jnp.asarray(x1, dtype))
        return pull(jnp.asarray(cotangent, dtype))[0]

    assert_close(pulled(jnp.float32), pulled(jnp.float64), 1e-4)


def test_flat_patches_have_correlation_one(x64):
    """Two images with the same black border: equal patches at every displacement."""
    rng = np.random.default_rng(0)
    x = np.full((4, 12, 12, 1), -0.42)
    x[:, 4:8, 4:8] = rng.normal(size=(4, 4, 4, 1))
    x = x.astype(np.float32)
    kernel_fn = make_kernel_fn("convnet2")
    double = kernel_fn(x[:2].astype(np.float64), x[2:].astype(np.float64))
    assert_close(kernel_fn(x[:2], x[2:]), double, 1e-5)


def test_finite_differences(x64):
    kernel_fn = make_kernel_fn("convnet2")
    rng = np.random.default_rng(0)
    x, direction = rng.normal(size=(2, 3, 5, 6, 2))
    cotangent = rng.normal(size=(3, 3))

    def total(t):
        return jnp.sum(cotangent * kernel_fn(x + t * direction))

    step = 1e-5
    numeric = (total(step) - total(-step)) / (2 * step)
    assert abs(jax.grad(total)(0.0) / numeric - 1) < 1e-8


def test_black_images_are_finite():
    """No variance at all: b_std 0 and black patches."""
    architecture = architectures.from_name("convnet1", b_std=0.0)
    kernel_fn = make_kernel_fn(architecture)
    x = np.zeros((2, 6, 6, 1), np.float32)
    x[1, 2, 2] = 1.0
    k, pull = jax.vjp(kernel_fn, jnp.asarray(x))
    assert np.all(np.isfinite(k))
    assert np.all(np.isfinite(pull(jnp.ones_like(k))[0]))
    assert float(k[0, 0]) == 0.0


def test_real_images(x64):
    """Digits have many equal patches; float32 stays within 1e-5 of float64."""
    import kipax

    data = kipax.load_dataset("digits")
    x = ((data.x_train[:12] - 4.9) / 6.0).astype(np.float32)
    kernel_fn = make_kernel_fn("convnet")
    double = kernel_fn(x[:6].astype(np.float64), x[6:].astype(np.float64))
    assert relative_error(kernel_fn(x[:6], x[6:]), double) < 1e-5
