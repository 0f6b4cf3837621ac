"""The fused CPU kernel beyond its values: threads, blocks, vector widths, extremes, absence."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax import architectures, make_kernel_fn
from kipax.errors import UsageError
from kipax.kernels import api, fused, window
from kipax.kernels.fused import loading
from tests.closeness import assert_close
from tests.kernels.cases import skip_unless_it_runs


@pytest.fixture
def _built():
    skip_unless_it_runs("fused")


pytestmark = pytest.mark.usefixtures("_built")
NETWORK = architectures.from_name("convnet2")


def _images(n, seed=0, shape=(7, 6, 3)):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def _kernel_and_pullback(x1, x2, cotangent):
    """Freshly traced: what a trace has fixed does not linger."""

    def kernel(a, b):
        same = jnp.zeros((len(a), len(b)), bool)
        return fused.matrix(a, b, same, symmetric=False, architecture=NETWORK, ntk=True)

    k, pull = jax.vjp(kernel, x1, x2)
    return [np.asarray(a) for a in (k, *pull(cotangent))]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(70, 3), (33, 33)])
def test_threads_change_no_bit(monkeypatch, shape):
    x1, x2 = _images(shape[0]), _images(shape[1], seed=1)
    cotangent = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    results = []
    for count in (1, 2, 8):
        monkeypatch.setenv("KIPAX_NUM_THREADS", str(count))
        assert fused.threads() == count
        results.append(_kernel_and_pullback(x1, x2, cotangent))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kept", ["all", "some", "none"])
def test_kept_tables_change_no_bit(monkeypatch, kept):
    """Groups of pairs whose pooled tables are not kept are run forward again."""
    x1, x2 = _images(40), _images(3, seed=1)
    cotangent = np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)
    attributes = fused._attributes(NETWORK, x1.shape[1:], ntk=True)
    groups, floats = loading.kept_tables(attributes["program"], 40, 3)
    assert groups >= 9
    assert floats > 0
    whole = _kernel_and_pullback(x1, x2, cotangent)
    share = {"all": groups, "some": groups // 2, "none": 0}[kept]
    monkeypatch.setattr(window, "KEPT_TABLES_BYTES", 4 * floats * share)
    assert loading.kept_tables(attributes["program"], 40, 3) == (share, floats)
    for a, b in zip(_kernel_and_pullback(x1, x2, cotangent), whole, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", [5, 37])
def test_tables_and_threads_change_no_bit_of_a_symmetric_kernel(monkeypatch, n):
    """The set fits in one vector of images, or needs several, where each pair is taken once."""
    x, same = _images(n), jnp.eye(n, dtype=bool)
    cotangent = np.random.default_rng(0).normal(size=(n, n)).astype(np.float32)
    kernel = functools.partial(fused.matrix, symmetric=True, architecture=NETWORK, ntk=True)
    attributes = fused._attributes(NETWORK, x.shape[1:], ntk=True)
    whole, floats = loading.kept_tables(attributes["program"], n, n)
    groups, _ = loading.kept_tables(attributes["program"], n, n, symmetric=True)
    assert groups == whole if n == 5 and loading.isa() != "base" else n < groups < whole
    results = []
    for fitting, count in ((groups, 1), (groups, 2), (groups // 2, 8), (0, 2)):
        monkeypatch.setenv("KIPAX_NUM_THREADS", str(count))
        monkeypatch.setattr(window, "KEPT_TABLES_BYTES", 4 * floats * fitting)
        k, pull = jax.vjp(lambda a: kernel(a, a, same), x)
        results.append((np.asarray(k), np.asarray(pull(cotangent)[0])))
    np.testing.assert_array_equal(results[0][0], make_kernel_fn(NETWORK, backend="fused")(x))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_no_tables_without_a_pool():
    network = architectures.from_name("convvec2")
    attributes = fused._attributes(network, (7, 6, 3), ntk=True)
    assert loading.kept_tables(attributes["program"], 40, 3) == (0, 0)


def test_blocks_change_no_bit_of_the_values():
    kernel_fn = make_kernel_fn(NETWORK, backend="fused")
    x1, x2 = _images(40), _images(12, seed=1)
    whole = np.asarray(kernel_fn(x1, x2))
    parts = [
        np.concatenate([kernel_fn(a, b) for b in (x2[:5], x2[5:])], axis=1)
        for a in (x1[:13], x1[13:])
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert_close(kernel_fn(x1[:3], x2), whole[:3], 1e-6)  # the wider side lies across vectors


def test_symmetric_is_the_whole():
    kernel_fn = make_kernel_fn(NETWORK, backend="fused")
    x = _images(37)
    k = np.asarray(kernel_fn(x))
    np.testing.assert_array_equal(k, k.T)
    assert_close(k, kernel_fn(x, x), 1e-6)  # which takes half of the entries the other way round
    cotangent = np.random.default_rng(0).normal(size=(37, 37)).astype(np.float32)
    of_one = jax.vjp(kernel_fn, x)[1](cotangent)[0]
    of_two = jax.vjp(lambda a: kernel_fn(a, a), x)[1](cotangent)[0]
    assert_close(of_one, of_two, 1e-5)


@pytest.mark.slow
def test_block_size_of_a_gradient():
    """Sums over targets in another order: rounding only."""
    kernel_fn = make_kernel_fn(NETWORK, backend="fused")
    x1, x2 = _images(50), _images(4, seed=1)
    cotangent = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)

    def pull(rows):
        return jax.vjp(lambda b: kernel_fn(x1[rows], b), x2)[1](cotangent[rows])[0]

    parts = sum(pull(slice(i, i + 13)) for i in range(0, 50, 13))
    assert_close(parts, pull(slice(None)), 2e-6)


_PRINT = """
import numpy as np, jax
from kipax import make_kernel_fn
from kipax.kernels.fused import loading
kernel_fn = make_kernel_fn("convnet2", backend="fused")
rng = np.random.default_rng(0)
x = rng.normal(size=(9, 9, 8, 3)).astype(np.float32)
k, pull = jax.vjp(lambda b: kernel_fn(x, b), x[:3])
np.savez({path!r}, isa=loading.isa(), k=k, d=pull(rng.normal(size=k.shape).astype(np.float32))[0])
"""


@pytest.mark.slow
def test_vector_widths_agree(tmp_path):
    results = []
    for isa in ("", "avx2", "base"):
        path = tmp_path / f"{isa}.npz"
        code = _PRINT.format(path=str(path))
        subprocess.run(
            [sys.executable, "-c", code], check=True, env=os.environ | {"KIPAX_ISA": isa}
        )
        results.append(np.load(path))
    assert str(results[-1]["isa"]) == "base"
    for other in results[1:]:
        assert_close(other["k"], results[0]["k"], 1e-6)
        assert_close(other["d"], results[0]["d"], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_extreme_pixels(x64, size):
    x = _images(4) * np.float32(size)
    x[1] = size  # constant
    x[2] = x[0] * np.float32(1 + 1e-6)
    fn = functools.partial(make_kernel_fn, NETWORK)
    cotangent = np.random.default_rng(1).normal(size=(4, 4))
    single, pull = jax.vjp(fn(backend="fused"), x)
    double, pull_double = jax.vjp(fn(), x.astype(np.float64))
    # Beside the bias, tiny images are all near-duplicates of each other: c rounds to 1 - 1e-7.
    assert_close(single, double, 1e-4 if size < 1 else 1e-5)
    plain = fn(backend="portable")(x)
    assert_close(single, plain, 1e-4 if size < 1 else 2e-6)
    d, d_double = pull(cotangent.astype(np.float32))[0], pull_double(cotangent)[0]
    assert np.all(np.isfinite(d))
    far = [1, 3]  # images 0 and 2 lie too near to each other for a gradient in float32
    if size >= 1:
        assert_close(np.asarray(d)[far], np.asarray(d_double)[far], 1e-4)


def test_not_finite_stays_so():
    x = _images(3)
    x[1, 4, 4, 1] = np.nan
    k = np.asarray(make_kernel_fn(NETWORK, backend="fused")(x))
    assert np.isnan(k[1]).all()
    assert np.isfinite(k[np.ix_([0, 2], [0, 2])]).all()


def test_under_vmap():
    kernel_fn = make_kernel_fn(NETWORK, backend="fused")
    x = _images(6).reshape(2, 3, 7, 6, 3)
    np.testing.assert_array_equal(jax.vmap(kernel_fn)(x)[1], kernel_fn(x[1]))


def test_auto_takes_it():
    assert api.choose_backend("auto") == "fused"
    assert api.choose_backend("auto", jnp.float64) == "portable"
    with pytest.raises(UsageError, match="computes in float32, not float64"):
        api.choose_backend("fused", jnp.float64)


def test_without_the_library(monkeypatch, caplog):
    monkeypatch.setattr(loading, "load", lambda: (None, "it was not built"))
    api._say_once.cache_clear()
    for _ in range(3):
        assert api.choose_backend("auto") == "portable"
    assert [r.getMessage() for r in caplog.records] == [
        "kipax: kernels are portable JAX, some 15 times slower than fused: it was not built"
    ]
    assert loading.isa() is None
    with pytest.raises(UsageError, match="does not run here: it was not built; use backend='auto'"):
        api.choose_backend("fused")


def test_a_library_that_does_not_load(monkeypatch, tmp_path):
    file = tmp_path / "_fused.so"
    file.write_bytes(b"no library")
    monkeypatch.setattr(loading, "_path", lambda: file)
    assert "could not be loaded" in loading.load.__wrapped__()[1]


def test_a_library_of_another_version_is_not_called(monkeypatch):
    monkeypatch.setattr(loading, "_INTERFACE", loading._INTERFACE + 1)
    library, reason = loading.load.__wrapped__()
    assert library is None
    assert reason == "it was built from another version of kipax: install kipax again"


@pytest.mark.parametrize(
    "derivative",
    [
        lambda f, x: jax.jvp(f, (x,), (x,)),
        lambda f, x: jax.hessian(jax.jit(f))(x),
    ],
)
def test_derivatives_that_it_does_not_have_name_the_backend_that_does(derivative):
    x = jnp.asarray(np.random.default_rng(0).random((2, 3, 3, 1)), jnp.float32)

    def total(backend):
        return lambda a: jnp.sum(make_kernel_fn("convvec1", backend=backend)(a, x))

    with pytest.raises(UsageError, match="need backend='portable'"):
        derivative(total("fused"), x)
    derivative(total("portable"), x)
