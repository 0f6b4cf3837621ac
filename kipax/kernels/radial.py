"""Computes the RBF and Laplace kernels in JAX; both depend on the distance of two images alone."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from kipax.kernels.descriptions import RadialKernel
from kipax.kernels.pairs import KernelFn, as_pair

__all__ = ["make_radial_kernel"]

_TILE_VALUES = 2**18  # so many differences of pixels are held at once: 1 MB in float32


@functools.lru_cache(maxsize=64)
def make_radial_kernel(kernel: RadialKernel) -> KernelFn:
    """Returns the kernel function of an RBF or Laplace kernel; one object for equal kernels.

    Pixels are subtracted before they are squared, so that nothing cancels: identical images
    have exactly 1, and images that nearly coincide their true distance, in float32 too. A
    gradient recomputes the differences, so that no pair keeps anything.

    Cost: 3 d floating-point operations a pair of images of d values, thrice that for a gradient.
    """
    compute = jax.jit(functools.partial(_matrix, family=kernel.family, gamma=kernel.gamma))

    def kernel_fn(x1: ArrayLike, x2: ArrayLike | None = None) -> jax.Array:
        return compute(*as_pair(x1, x2, kernel.check_image_shape))

    return kernel_fn


def _matrix(x1: jax.Array, x2: jax.Array, *, family: str, gamma: float) -> jax.Array:
    squared = _squared_distances(x1, x2)
    return jnp.exp(-gamma * (squared if family == "rbf" else _root(squared)))


def _squared_distances(x1: jax.Array, x2: jax.Array) -> jax.Array:
    """Returns the matrix of ``|x1[i] - x2[j]|^2 / d``, computed a few rows at a time."""
    n1, n2, size = len(x1), len(x2), math.prod(x1.shape[1:])
    if not (n1 and n2):
        return jnp.zeros((n1, n2), x1.dtype)
    flat1, flat2 = x1.reshape(n1, size), x2.reshape(n2, size)

    @jax.checkpoint
    def row(image):
        return jnp.sum((image - flat2) ** 2, axis=1) / size

    return lax.map(row, flat1, batch_size=max(1, min(n1, _TILE_VALUES // (n2 * size))))


def _root(squared: jax.Array) -> jax.Array:
    """Computes the square root of every element, with 0 as its derivative at 0.

    The distance of two equal images has no gradient; 0 is the mean of its one-sided slopes.
    """
    apart = squared > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
