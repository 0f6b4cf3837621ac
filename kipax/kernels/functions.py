"""Checks and computes kernels that are functions of the user's, and tells one from another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from kipax.config import import_object
from kipax.errors import UsageError
from kipax.kernels.descriptions import PREFIX, FunctionKernel
from kipax.kernels.pairs import KernelFn, as_pair

__all__ = ["check_function", "check_same", "import_kernel", "make_function_kernel", "probe_images"]

# Differences relative to the largest value: below the first, two float32 computations are taken as
# equal; below the second, the same function on two machines.
_TOLERANCE = 1e-4
_SAME = 1e-3


def probe_images(image_shape: tuple[int, ...]) -> np.ndarray:
    """Returns three images ``(3, H, W, C)`` to try kernels on, always the same ones."""
    count = 3 * int(np.prod(image_shape))
    return np.sin(np.arange(1.0, count + 1)).reshape(3, *image_shape).astype(np.float32)


def import_kernel(name: str) -> Callable[..., Any]:
    """Imports the function that a user has named by ``python:MODULE:FUNCTION`` in a command.

    Raises:
        UsageError: the name has another form, or there is no such function.
    """
    if name.count(":") < 2:
        raise UsageError(
            f"{name} names a kernel that is a function of yours: give it as kernel_fn, or name "
            "where a command finds it, as in python:MODULE:FUNCTION."
        )
    return import_object(name.removeprefix(PREFIX), "kernel")


@functools.lru_cache(maxsize=16)
def make_function_kernel(kernel: FunctionKernel) -> KernelFn:
    """Returns a user's function as a compiled kernel function; one object for equal kernels.

    Raises:
        UsageError: the function is not given; on call, it fails or gives another shape or type.
    """
    if kernel.function is None:
        raise UsageError(
            f"{kernel.name} names a kernel that is a function of the user's, and no file holds "
            "its code: give the function as kernel_fn."
        )
    compute = jax.jit(functools.partial(_evaluate, kernel.name, kernel.function))

    def kernel_fn(x1: ArrayLike, x2: ArrayLike | None = None) -> jax.Array:
        return compute(*as_pair(x1, x2, kernel.check_image_shape))

    return kernel_fn


def _evaluate(name: str, function: Callable[..., Any], x1: jax.Array, x2: jax.Array) -> jax.Array:
    """Calls a user's function and returns its matrix, converted to the type of the images.

    Raises:
        UsageError: the result has another shape, or is no matrix of float32 or float64.
    """
    k = function(x1, x2)
    expected = (len(x1), len(x2))
    shape, dtype = getattr(k, "shape", None), getattr(k, "dtype", None)
    if shape != expected:
        found = f"the shape {shape}" if shape is not None else f"a {type(k).__name__}"
        raise UsageError(
            f"a kernel of {expected[0]} and {expected[1]} images is a matrix {expected}; {name} "
            f"gave {found}."
        )
    if dtype not in (np.float32, np.float64):
        raise UsageError(f"a kernel gives numbers of float32 or float64; {name} gave {dtype}.")
    return jnp.asarray(k, x1.dtype)


def check_function(kernel: FunctionKernel, image_shape: tuple[int, ...]) -> FunctionKernel:
    """Tries a user's function on three images, and returns the kernel with its values as `probe`.

    Args:
        kernel: with its function.
        image_shape: ``(height, width, channels)`` of the images that it will be given.

    Raises:
        UsageError: it fails, gives another shape or type than a matrix of float32 or float64,
            is not finite, not symmetric, not a function of two images alone, or JAX cannot
            differentiate it, at two equal images too; the message says which.

    Cost: some dozen entries, and compiling its gradient once.

    Example:
        >>> import jax.numpy as jnp
        >>> linear = lambda x, y: jnp.einsum("nhwc,mhwc->nm", x, y)
        >>> kernel = check_function(FunctionKernel("python:linear", function=linear), (2, 2, 1))
        >>> len(kernel.probe)
        6
    """
    if not callable(kernel.function):
        raise UsageError(f"kernel_fn is a function of two image sets; got {kernel.function!r:.80}.")
    x = jnp.asarray(probe_images(image_shape))
    k = _values(kernel, x[:2], x)
    close = functools.partial(np.allclose, rtol=0, atol=_TOLERANCE * np.max(np.abs(k)))
    if not close(k, _values(kernel, x, x[:2]).T):
        raise UsageError(f"a kernel is symmetric, k(x1, x2) = k(x2, x1).T; {kernel.name} is not.")
    if not close(k[:1], _values(kernel, x[:1], x)):
        raise UsageError(
            f"an entry of a kernel depends on its two images alone; that of {kernel.name} changes "
            "with the other images of the call."
        )
    _check_gradient(kernel, x)
    return FunctionKernel(kernel.name, _probe(kernel, image_shape), kernel.function)


def check_same(kernel: FunctionKernel, image_shape: tuple[int, ...], where: str) -> None:
    """Raises a `UsageError` unless a function still gives the values recorded with its name.

    Args:
        kernel: with its function and the recorded `probe`.
        image_shape: shape of the images.
        where: what has recorded it, for the message.
    """
    now, then = _probe(kernel, image_shape), kernel.probe
    limit = _SAME * max((abs(value) for value in then), default=0.0)
    if len(now) != len(then) or not np.allclose(now, then, rtol=0, atol=limit):
        raise UsageError(
            f"kernel_fn is not the kernel that {where} calls {kernel.name}: between three fixed "
            f"images that one was {_shown(then)}, this one is {_shown(now)}."
        )


def _shown(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _probe(kernel: FunctionKernel, image_shape: tuple[int, ...]) -> tuple[float, ...]:
    """Returns the values of a kernel between the probe images, the upper triangle row by row."""
    x = jnp.asarray(probe_images(image_shape))
    return tuple(float(value) for value in _values(kernel, x, x)[np.triu_indices(len(x))])


def _values(kernel: FunctionKernel, x1: jax.Array, x2: jax.Array) -> np.ndarray:
    """Returns a kernel's matrix; raises a `UsageError` if it fails or is not finite."""
    assert kernel.function is not None
    try:
        k = np.asarray(_evaluate(kernel.name, kernel.function, x1, x2), np.float64)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"the kernel {kernel.name} failed: {_first_line(error)}") from error
    if not np.all(np.isfinite(k)):
        raise UsageError(f"a kernel gives finite numbers; {kernel.name} gave {k.tolist()!r:.100}.")
    return k


def _check_gradient(kernel: FunctionKernel, x: jax.Array) -> None:
    """Raises a `UsageError` unless a function has a finite gradient in both arguments."""
    kernel_fn = make_function_kernel(kernel)

    @jax.jit
    def pull_back(x1, x2, cotangent):  # compiled, since the blocks of a run are compiled too
        return jax.vjp(kernel_fn, x1, x2)[1](cotangent)

    weights = jnp.arange(1.0, 10.0, dtype=x.dtype).reshape(3, 3)
    try:
        apart, equal = pull_back(x[:2], x[2:], weights[:2, :1]), pull_back(x, x, weights)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"a kernel is made of JAX's operations, which jax.jit and jax.grad take; {kernel.name} "
            f"is not: {_first_line(error)}"
        ) from error
    for gradient in (*apart, *equal):
        if not jnp.all(jnp.isfinite(gradient)):
            raise UsageError(
                f"the gradient of a kernel is finite, where two images are equal too; that of "
                f"{kernel.name} is not: a root or a norm at 0 needs jnp.where before it."
            )
    if not all(jnp.any(gradient != 0) for gradient in apart):
        raise UsageError(
            f"a kernel changes with each of its images; the gradient of {kernel.name} is zero."
        )


def _first_line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
