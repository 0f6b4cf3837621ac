"""Defines `KernelFn`, the type of kernel functions, and `as_pair`, which checks their images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from kipax.errors import UsageError
from kipax.pixels import as_array, check_preprocessed

__all__ = ["KernelFn", "as_pair"]


class KernelFn(Protocol):
    """A kernel function; ridge, blocks and distill accept any function with this signature."""

    def __call__(self, x1: ArrayLike, x2: ArrayLike | None = None, /) -> jax.Array:
        """Returns the kernel ``(n1, n2)`` of images ``(n1, H, W, C)`` and ``(n2, H, W, C)``."""
        ...


def as_pair(
    x1: Any, x2: Any, check_shape: Callable[[tuple[int, ...]], None]
) -> tuple[jax.Array, jax.Array]:
    """Returns the two image sets of a kernel as arrays of one type, float32 or float64.

    Args:
        x1: images ``(n1, H, W, C)``.
        x2: images ``(n2, H, W, C)``; None for those of `x1`.
        check_shape: raises a `UsageError` for an image shape that the kernel does not take.

    Raises:
        UsageError: images of wrong rank, type or size, or two different sizes.
    """
    x1 = _as_images(x1, check_shape)
    if x2 is None:
        return x1, x1
    x2 = _as_images(x2, check_shape)
    if x1.shape[1:] != x2.shape[1:]:
        raise UsageError(
            f"both image sets must have one height, width and channel count; got "
            f"{x1.shape[1:]} and {x2.shape[1:]}."
        )
    dtype = jnp.promote_types(x1.dtype, x2.dtype)
    return x1.astype(dtype), x2.astype(dtype)


def _as_images(x: Any, check_shape: Callable[[tuple[int, ...]], None]) -> jax.Array:
    if not isinstance(x, jax.Array):
        x = _in_jax_types(as_array(x, "the images of a kernel"))
    check_preprocessed(x, "a kernel")
    check_shape(x.shape[1:])
    x = jnp.asarray(x)
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def _in_jax_types(x: np.ndarray) -> np.ndarray:
    """Returns an array in the type that JAX converts it to; too large values become infinite."""
    if x.dtype == np.longdouble:
        x = x.astype(np.float64)
    if x.dtype.kind != "f":
        return x
    with np.errstate(over="ignore"):
        return x.astype(jax.dtypes.canonicalize_dtype(x.dtype))
