"""The behaviour of make_kernel_fn beyond its numbers."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kipax import architectures, make_kernel_fn
from kipax.blocks import tasks
from kipax.errors import UsageError
from kipax.kernels import KernelSpec, api, window
from kipax.kernels.window import plan_levels
from tests.closeness import assert_close


def _images(n, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", ["fc2", "convvec2", "convnet2", "myrtle5"])
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_symmetric_positive_and_permutable(name, kind):
    kernel_fn = make_kernel_fn(name, kind=kind)
    x = _images(7, 8, 8, 2)
    k = np.asarray(kernel_fn(x), np.float64)
    assert np.linalg.eigvalsh(k).min() > 0
    order = np.array([3, 1, 6, 0, 2, 5, 4])
    assert_close(kernel_fn(x[order]), k[np.ix_(order, order)], 1e-6)
    assert_close(kernel_fn(x[:3], x[3:]), k[:3, 3:], 1e-6)
    assert_close(kernel_fn(x[3:], x[:3]), k[3:, :3], 1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_image_spoils_its_own_entries_alone(bad):
    kernel_fn = make_kernel_fn("convnet2", backend="portable")
    x1, x2 = _images(3, 8, 8, 2), _images(4, 8, 8, 2, seed=1)
    whole = np.asarray(kernel_fn(x1, x2))
    x1[0, 0, 0, 0] = bad  # of the tile's first pair
    spoilt = np.asarray(kernel_fn(x1, x2))
    assert not np.isfinite(spoilt[0]).any()
    np.testing.assert_array_equal(spoilt[1:], whole[1:])


def test_many_tiles_equal_one(monkeypatch):
    """Cutting pairs into tiles, and recomputing tiles, changes nothing but rounding."""
    x1, x2 = _images(5, 6, 6, 1), _images(9, 6, 6, 1, seed=1)

    def run():
        kernel_fn = api.make_network_kernel.__wrapped__(
            architectures.from_name("convnet1"), "ntk", "auto"
        )
        k, pull = jax.vjp(kernel_fn, x1, x2)
        return k, *pull(jnp.ones_like(k))

    whole = run()
    monkeypatch.setattr(api, "_SLICE_BYTES", 16 * 4 * 36)
    monkeypatch.setattr(window, "KEPT_TABLES_BYTES", 0)
    for a, b in zip(run(), whole, strict=True):
        assert_close(a, b, 1e-6)


def test_finest_displacements_never_all_in_memory():
    """Peak temporary memory of value and gradient stays below the finest level's slices."""
    shape, pairs = (32, 32), 16
    kernel_fn = make_kernel_fn("convnet")
    x = jax.ShapeDtypeStruct((4, *shape, 1), jnp.float32)
    finest = plan_levels(architectures.from_name("convnet"), shape)[0]
    all_slices = 4 * 2 * finest.displacements * shape[0] * shape[1] * pairs
    for f in (kernel_fn, jax.grad(lambda a, b: kernel_fn(a, b).sum())):
        memory = jax.jit(f).lower(x, x).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 0.6 * all_slices


def _largest_intermediate(jaxpr) -> int:
    sizes = [v.aval.size for e in jaxpr.eqns for v in e.outvars if hasattr(v.aval, "size")]
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                sizes.append(_largest_intermediate(inner))
    return max(sizes, default=0)


def test_fc_is_a_dot_product_kernel():
    x1, x2 = _images(11, 7, 7, 3), _images(13, 7, 7, 3)
    kernel_fn = make_kernel_fn("fc4")
    largest = max(x1.size, x2.size, 11 * 13)
    jaxpr = jax.make_jaxpr(kernel_fn)(x1, x2).jaxpr
    assert _largest_intermediate(jaxpr) <= 2 * largest  # two 32-bit hashes of each pixel at once


@pytest.mark.parametrize(("name", "products"), [("fc2", 3), ("convnet2", 0)])
def test_matrix_products_at_highest_precision(name, products):
    """Forward and both gradients; TF32 and bfloat16 defaults ruin a kernel."""
    kernel_fn = make_kernel_fn(name)
    x = jax.ShapeDtypeStruct((3, 8, 8, 1), jnp.float32)
    gradient = jax.jit(jax.value_and_grad(lambda a, b: kernel_fn(a, b).sum(), (0, 1)))
    lowered = gradient.lower(x, x).as_text()
    lines = [line for line in lowered.splitlines() if "stablehlo.dot_general" in line]
    assert len(lines) == products
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in lines)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_lowers_for_accelerators(platform):
    """Lowering alone; what a GPU or TPU computes is checked where there is one."""
    kernel_fn = make_kernel_fn("convnet1", backend="portable")
    x = jax.ShapeDtypeStruct((3, 4, 4, 1), jnp.float32)
    gradient = jax.jit(jax.grad(lambda a, b: kernel_fn(a, b).sum()))
    exported = jax.export.export(gradient, platforms=[platform])(x, x)
    assert exported.platforms == (platform,)
    assert "optimization_barrier" in exported.mlir_module()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_contractions_are_exact_on_accelerators(platform):
    """Their default precision, bfloat16 or TF32, would ruin a kernel."""
    kernel_fn = make_kernel_fn("fc1", backend="portable")
    x = jax.ShapeDtypeStruct((3, 4, 4, 1), jnp.float32)
    gradient = jax.jit(jax.grad(lambda a, b: kernel_fn(a, b).sum(), argnums=(0, 1)))
    text = jax.export.export(gradient, platforms=[platform])(x, x).mlir_module()
    contractions = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(contractions) >= 2
    assert all("HIGHEST, HIGHEST" in line for line in contractions)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_step_lowers_for_accelerators(platform):
    """The two programs of a block: values with what the pullback needs, and the pullback."""
    spec = KernelSpec(architectures.from_name("convnet1"), backend="portable")
    forward = tasks._jitted(spec)["columns"]
    x = jax.ShapeDtypeStruct((3, 4, 4, 1), jnp.float32)
    k, pullback = jax.eval_shape(forward, x, x)
    leaves, structure = jax.tree.flatten(pullback)

    def pull(leaves, cotangent):
        return jax.tree.unflatten(structure, leaves)(cotangent)

    exported = jax.export.export(jax.jit(pull), platforms=[platform])(leaves, k)
    assert exported.platforms == (platform,)
    values = jax.jit(lambda a, b: jax.tree.leaves(forward(a, b)))
    assert jax.export.export(values, platforms=[platform])(x, x).platforms == (platform,)


def test_same_function_for_same_spec():
    assert make_kernel_fn("convnet") is make_kernel_fn(architectures.from_name("convnet"))
    assert make_kernel_fn("convnet") is not make_kernel_fn("convnet", kind="nngp")


@settings(max_examples=6)  # each compiles anew
@given(
    n1=st.integers(1, 4),
    n2=st.integers(1, 4),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
    channels=st.sampled_from([1, 3, 4]),
)
def test_any_shape(n1, n2, height, width, channels):
    x = _images(n1 + n2, height, width, channels)
    kernel_fn = make_kernel_fn("fc1")
    k = kernel_fn(x[:n1], x[n1:])
    assert k.shape == (n1, n2)
    np.testing.assert_allclose(k, np.asarray(kernel_fn(x))[:n1, n1:], rtol=1e-4, atol=1e-5)


def test_empty_sets():
    kernel_fn = make_kernel_fn("convnet1")
    assert kernel_fn(_images(0, 4, 4, 1), _images(2, 4, 4, 1)).shape == (0, 2)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8, 1), np.uint8), "got uint8: apply the preprocessing"),
        (np.zeros((8, 8, 1), np.float32), r"got \(8, 8, 1\)"),
        (np.zeros((2, 7, 8, 1), np.float32), "at least 8 x 8 pixels; got 7 x 8"),
    ],
)
def test_bad_images(images, message):
    with pytest.raises(UsageError, match=message):
        make_kernel_fn("convnet")(images)


def test_bad_pairs_and_names():
    with pytest.raises(UsageError, match="one height, width and channel count"):
        make_kernel_fn("fc1")(_images(2, 4, 4, 1), _images(2, 4, 4, 3))
    with pytest.raises(UsageError, match="unknown kernel 'ntkk'; did you mean ntk"):
        make_kernel_fn("fc1", kind="ntkk")
    with pytest.raises(UsageError, match="unknown backend"):
        make_kernel_fn("fc1", backend="cuda")
