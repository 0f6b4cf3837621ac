"""Values and gradients of the portable kernel against references, in float64 and float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax import architectures, files, make_kernel_fn
from tests.closeness import assert_close, relative_error
from tests.golden import make_kernels
from tests.kernels import numpy_recursion
from tests.kernels.cases import CASES, skip_unless_it_runs

_LONGEST = ("convnet-", "convnet3-", "myrtle", "linear-11")


def _params(cases, longest=_LONGEST) -> list:
    """Cases for parametrize; NNGPs are slow, and so are those that compile longest."""
    slow = lambda c: c.kind == "nngp" or c.id.startswith(longest)  # noqa: E731
    return [pytest.param(c, marks=[pytest.mark.slow] * slow(c), id=c.id) for c in cases]


_FEW = ("fc3", "convvec3", "convnet2", "myrtle5", "deep-global", "linear")
# Every NTK: its recursion carries the NNGP along. Of the NNGPs, what ends otherwise, a few.
_COMPARED = [c for c in CASES if c.kind == "ntk" or c.architecture.name in (*_FEW, "myrtle10")]
# In double precision and portably these compile for a minute each; the fused kernel is fast.
_PORTABLE = (*_LONGEST, "deep-global", "deep-head", "pooled-relu", "convnet2", "convvec3")
_FEW_COMPARED = [
    c
    for c in CASES
    if c.architecture.name in _FEW and (c.kind == "ntk" or c.architecture.name == "convvec3")
]
# Portably in double precision, of the deep networks the NTK of one shape; C++ does all of them.
_SKIPPED = ("convnet-8x8", "convnet-16x16")
_DEEP = ("convnet2", "myrtle5", "myrtle10", "deep-global")
_IN_DOUBLE = [
    c
    for c in _COMPARED
    if not c.id.startswith(_SKIPPED) and (c.kind == "ntk" or c.architecture.name not in _DEEP)
]
few_cases = pytest.mark.parametrize("case", _params(_FEW_COMPARED, _PORTABLE))
both_backends = pytest.mark.parametrize("backend", ["portable", "fused"])
mostly_fused = pytest.mark.parametrize(
    "backend", [pytest.param("portable", marks=pytest.mark.slow), "fused"]
)


@pytest.fixture(scope="module")
def golden():
    return files.read_npz(make_kernels.PATH)


@functools.cache
def _compiled(case, backend):
    """``of_pair(x1, x2, cotangent)`` and ``of_self(x, cotangent)``: values and pullbacks."""
    kernel_fn = make_kernel_fn(case.architecture, kind=case.kind, backend=backend)

    def of_pair(x1, x2, cotangent):
        k, pull = jax.vjp(kernel_fn, x1, x2)
        return k, *pull(cotangent)

    def of_self(x, cotangent):
        k, pull = jax.vjp(kernel_fn, x)
        return k, *pull(cotangent)

    return jax.jit(of_pair), jax.jit(of_self)


def _evaluate(case, x1, x2, dtype=np.float64, backend="portable"):
    """A kernel's answers for a case's cotangents."""
    of_pair, of_self = _compiled(case, backend)
    ct_pair, ct_self = (c.astype(dtype) for c in case.cotangents())
    x1, x2 = x1.astype(dtype), x2.astype(dtype)
    names = ("k", "d_x1", "d_x2", "k_self", "d_self")
    values = (*of_pair(x1, x2, ct_pair), *of_self(x1, ct_self))
    assert all(v.dtype == dtype for v in values)
    return dict(zip(names, values, strict=True))


def _check_against(answers, case):
    actual = _evaluate(case, *case.images())
    tolerances = {"k": 1e-10, "d_x1": 1e-8, "d_x2": 1e-8, "k_self": 1e-7, "d_self": 1e-5}
    for name, tolerance in tolerances.items():
        assert_close(actual[name], answers[name], tolerance)


def _check_identical_images(case):
    """neural-tangents rounds identical images; a NumPy recursion with c = 1 does not."""
    x1, x2 = _with_shared_image(case)
    actual = _evaluate(case, x1, x2)
    expected = numpy_recursion.kernel(x1, x2, case.architecture, case.kind)
    assert_close(actual["k"], expected, 1e-10)
    expected = numpy_recursion.kernel(x1, x1, case.architecture, case.kind)
    assert_close(actual["k_self"], expected, 1e-10)
    np.testing.assert_array_equal(actual["k_self"], np.asarray(actual["k_self"]).T)


@pytest.mark.parametrize("case", _params(_IN_DOUBLE, _PORTABLE))
def test_float64(x64, golden, case):
    """Golden values of neural-tangents; identical images against the exact recursion."""
    prefix = f"{case.id}/"
    answers = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    _check_against(answers, case)
    _check_identical_images(case)


@pytest.mark.slow
@few_cases
def test_live_neural_tangents(x64, case):
    """The golden values came so; live, a few are enough."""
    try:
        answers = make_kernels.compute(case)
    except ImportError as error:
        pytest.skip(str(error))
    _check_against(answers, case)


def _with_shared_image(case):
    x1, x2 = case.images()
    x2[1] = x1[0]
    return x1, x2


@pytest.mark.parametrize("case", _params(_COMPARED, (*_LONGEST, "deep-global", "deep-head")))
def test_fused(golden, case):
    """float32 in C++ against golden values; identical images against the exact recursion."""
    skip_unless_it_runs("fused")
    x1, x2 = case.images()
    single = _evaluate(case, x1, x2, np.float32, "fused")
    for name, tolerance in {"k": 1e-5, "k_self": 1e-5, "d_x1": 1e-4, "d_x2": 1e-4}.items():
        assert_close(single[name], golden[f"{case.id}/{name}"], tolerance)
    x1, x2 = (x.astype(np.float32) for x in _with_shared_image(case))
    single = _evaluate(case, x1, x2, np.float32, "fused")
    expected = numpy_recursion.kernel(x1, x1, case.architecture, case.kind)
    assert_close(single["k_self"], expected, 1e-5)
    assert np.all(np.abs(np.diag(single["k_self"]) / np.diag(expected) - 1) < 3e-6)


@pytest.mark.parametrize("backend", ["portable", "fused"])
@pytest.mark.parametrize(
    "case",
    _params([c for c in _FEW_COMPARED if c.architecture.name not in _DEEP[1:]], _PORTABLE),
)
def test_float32(x64, case, backend):
    """Against float64: distinct, duplicated and nearly duplicated images."""
    skip_unless_it_runs(backend)
    x1, x2 = (x.astype(np.float32) for x in _with_shared_image(case))
    single, double = _evaluate(case, x1, x2, np.float32, backend), _evaluate(case, x1, x2)
    for name in ("k", "k_self"):
        assert_close(single[name], double[name], 1e-5)
    for name in ("d_x1", "d_x2", "d_self"):
        assert_close(single[name], double[name], 1e-4)
    ratio = np.diag(single["k_self"]) / np.diag(double["k_self"])
    assert np.all(np.abs(ratio - 1) < 3e-6)  # no bias on the diagonal

    near = x1[:2] * np.float32(1 + 1e-6)
    near[1] = x1[1] + np.float32(1e-4)
    single, double = _evaluate(case, x1, near, np.float32, backend), _evaluate(case, x1, near)
    assert_close(single["k"], double["k"], 1e-3)


@mostly_fused
def test_flat_patches_have_correlation_one(x64, backend):
    """Two images with the same black border: equal patches at every displacement."""
    rng = np.random.default_rng(0)
    x = np.full((4, 12, 12, 1), -0.42)
    x[:, 4:8, 4:8] = rng.normal(size=(4, 4, 4, 1))
    x = x.astype(np.float32)
    skip_unless_it_runs(backend)
    double = make_kernel_fn("convnet2")(x[:2].astype(np.float64), x[2:].astype(np.float64))
    kernel_fn = make_kernel_fn("convnet2", backend=backend)
    assert_close(kernel_fn(x[:2], x[2:]), double, 1e-5)


def test_finite_differences(x64):
    kernel_fn = make_kernel_fn("convnet1")
    rng = np.random.default_rng(0)
    x, direction = rng.normal(size=(2, 3, 5, 6, 2))
    cotangent = rng.normal(size=(3, 3))

    @jax.jit
    def total(t):
        return jnp.sum(cotangent * kernel_fn(x + t * direction))

    step = 1e-5
    numeric = (total(step) - total(-step)) / (2 * step)
    assert abs(jax.grad(total)(0.0) / numeric - 1) < 1e-8


@mostly_fused
def test_black_images_are_finite(backend):
    """No variance at all: b_std 0 and black patches."""
    skip_unless_it_runs(backend)
    architecture = architectures.from_name("convnet1", b_std=0.0)
    kernel_fn = make_kernel_fn(architecture, backend=backend)
    x = np.zeros((2, 6, 6, 1), np.float32)
    x[1, 2, 2] = 1.0
    k, pull = jax.vjp(kernel_fn, jnp.asarray(x))
    assert np.all(np.isfinite(k))
    assert np.all(np.isfinite(pull(jnp.ones_like(k))[0]))
    assert float(k[0, 0]) == 0.0


@pytest.mark.slow
@both_backends
def test_real_images(x64, backend):
    """Digits have many equal patches; float32 stays within 1e-5 of float64."""
    import kipax

    data = kipax.load_dataset("digits")
    x = ((data.x_train[:12] - 4.9) / 6.0).astype(np.float32)
    skip_unless_it_runs(backend)
    double = make_kernel_fn("convnet")(x[:6].astype(np.float64), x[6:].astype(np.float64))
    kernel_fn = make_kernel_fn("convnet", backend=backend)
    assert relative_error(kernel_fn(x[:6], x[6:]), double) < 1e-5
