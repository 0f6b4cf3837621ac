"""Kernels that are functions of the user's: what is refused, in one sentence each."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax import make_kernel_fn
from kipax.errors import UsageError
from kipax.kernels import FunctionKernel, check_function, descriptions
from kipax.kernels.functions import check_same, import_kernel

SHAPE = (4, 4, 1)


def _flat(x):
    return x.reshape(len(x), -1)


def cosine(x1, x2):
    a, b = (
        v / jnp.sqrt(jnp.sum(v * v, axis=1, keepdims=True) + 1e-6) for v in map(_flat, (x1, x2))
    )
    return jnp.exp(4.0 * (a @ b.T - 1.0))


def linear(x1, x2):
    return _flat(x1) @ _flat(x2).T


def _check(function):
    return check_function(FunctionKernel("python:mine", function=function), SHAPE)


def test_a_function_is_a_kernel():
    kernel = _check(cosine)
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    kernel_fn = make_kernel_fn(kernel)
    np.testing.assert_allclose(kernel_fn(x), cosine(x, x), rtol=1e-6)
    assert kernel_fn is make_kernel_fn(FunctionKernel("python:mine", function=cosine))
    assert kernel_fn is not make_kernel_fn(FunctionKernel("python:mine", function=linear))
    kept = descriptions.from_dict(kernel.to_dict())
    assert (kept.name, kept.probe, kept.function) == ("python:mine", kernel.probe, None)


def test_it_is_known_again_by_its_values():
    kernel = _check(cosine)
    check_same(dataclasses.replace(kernel, function=lambda a, b: cosine(b, a).T), SHAPE, "a file")
    for other in (linear, lambda a, b: 1.01 * cosine(a, b)):
        with pytest.raises(UsageError, match="not the kernel that a file calls python:mine"):
            check_same(dataclasses.replace(kernel, function=other), SHAPE, "a file")


def _with_root(x1, x2):
    return jnp.exp(-jnp.linalg.norm(_flat(x1)[:, None] - _flat(x2)[None], axis=2))


def _of_the_whole_call(x1, x2):
    return cosine(x1 - jnp.mean(x2, axis=0), x2 - jnp.mean(x1, axis=0))


def _fails(x1, x2):
    raise RuntimeError("no weights\nhere")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a, b: linear(a, 2 * b) + linear(a, jnp.ones_like(b)), "a kernel is symmetric"),
        (lambda a, b: np.asarray(a).reshape(len(a), -1) @ np.asarray(b).reshape(len(b), -1).T,
         "made of JAX's operations.* is not: TracerArrayConversionError"),
        (lambda a, b: cosine(a, b) if float(a[0, 0, 0, 0]) > 9 else linear(a, b),
         "made of JAX's operations.*ConcretizationTypeError"),
        (lambda a, b: jax.lax.stop_gradient(linear(a, b)), "the gradient of python:mine is zero"),
        (_with_root, "gradient of a kernel is finite, where two images are equal too"),
        (lambda a, b: jnp.log(linear(a, b)), "a kernel gives finite numbers"),
        (lambda a, b: linear(b, a), r"of 2 and 3 images is a matrix \(2, 3\).*shape \(3, 2\)"),
        (lambda a, b: linear(a, b)[..., None], r"gave the shape \(2, 3, 1\)"),
        (lambda a, b: None, "gave a NoneType"),
        (lambda a, b: linear(a, b).tolist(), "gave a list"),
        (lambda a, b: linear(a, b).astype(jnp.int32), "float32 or float64; python:mine gave int32"),
        (lambda a, b: linear(a, b).astype(jnp.bfloat16), "gave bfloat16"),
        (lambda a, b: linear(a, b).astype(jnp.complex64), "gave complex64"),
        (_of_the_whole_call, "depends on its two images alone"),
        (_fails, "the kernel python:mine failed: RuntimeError: no weights$"),
        (lambda a: a, "failed: TypeError"),
        ("cosine", "kernel_fn is a function of two image sets; got 'cosine'"),
    ],
)  # fmt: skip
def test_functions_that_are_no_kernel(function, message):
    with pytest.raises(UsageError, match=message) as error:
        _check(function)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_kernel_fn("python:mine"), "no file holds its code"),
        (lambda: descriptions.from_name("python:"), "called python:NAME or python:MODULE"),
        (lambda: FunctionKernel("mine"), "called python:NAME"),
        (lambda: import_kernel("python:mine"), "give it as kernel_fn, or name"),
        (lambda: import_kernel("python:no_such_module:f"), "names no kernel: No module"),
        (lambda: import_kernel("python:math:no_such"), "names no kernel"),
    ],
)
def test_names_without_a_function(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_a_description_runs_no_code(tmp_path, monkeypatch):
    """The name in a file may be anybody's: it is not imported."""
    (tmp_path / "harmful.py").write_text("raise SystemExit('ran')")
    monkeypatch.chdir(tmp_path)
    kernel = descriptions.from_dict({"name": "python:harmful:f", "probe": [1.0]})
    with pytest.raises(UsageError, match="give the function as kernel_fn"):
        make_kernel_fn(kernel)
