"""`convolve`: a convolution whose gradient with respect to the kernel takes little time on CPUs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["convolve", "convolve_by_xla"]

# So many bytes of patches are made at a time: about what the L2 cache of a CPU core holds.
_PATCH_BYTES = 2**20


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 1, groups: int = 1
) -> jax.Array:
    r"""Convolves images with a kernel (as networks do, without flipping it).

    .. math:: out_{n,i,j,o} = \sum_{a,b,c} x_{n,\,si+a-p,\,sj+b-p,\,c}\, kernel_{a,b,c,o}

    with s the `stride` and p the `padding`; pixels outside an image are zero. The value is
    that of `convolve_by_xla`. On CPUs the gradient with respect to `kernel` is computed from
    the patches of a few images at a time, as a product of matrices, because XLA's own takes
    several times as long as the convolution; on other devices XLA computes it.

    Args:
        x: images ``(n, H, W, C)``.
        kernel: ``(height, width, C / groups, features)``.
        stride: pixels between neighbouring patches, in both directions.
        padding: zero pixels on each side.
        groups: number of equal groups into which channels and features are divided; a feature
            sees the channels of its own group. With more than one, XLA computes all gradients.

    Returns:
        ``(n, (H + 2 p - height) // s + 1, (W + 2 p - width) // s + 1, features)``. It can be
        differentiated in reverse mode, any number of times, but not in forward mode (`jax.jvp`).

    Cost: n H' W' height width C features multiplications and additions for the result, and as many
    for each of the two gradients.

    >>> convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0]
    Array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]], dtype=float32)
    """
    return convolve_by_xla(x, kernel, stride, padding, groups)


def convolve_by_xla(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 1, groups: int = 1
) -> jax.Array:
    """Computes the same as `convolve`; XLA computes all its derivatives, in forward mode too."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _forward(x: jax.Array, kernel: jax.Array, stride: int, padding: int, groups: int):
    return convolve_by_xla(x, kernel, stride, padding, groups), (x, kernel)


def _backward(
    stride: int, padding: int, groups: int, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients with respect to images and kernel; `g` is that of the result."""
    x, kernel = saved
    _, pull = jax.vjp(lambda x: convolve_by_xla(x, kernel, stride, padding, groups), x)

    def by_xla(x: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(lambda k: convolve_by_xla(x, k, stride, padding, groups), kernel)[1](g)[0]

    def by_patches(x: jax.Array, g: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        return _kernel_gradient(padded, g, kernel, stride)

    on_cpu = by_patches if groups == 1 else by_xla
    return pull(g)[0], lax.platform_dependent(x, g, cpu=on_cpu, default=by_xla)


convolve.defvjp(_forward, _backward)


def _kernel_gradient(x: jax.Array, g: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Returns the gradient with respect to `kernel`.

    `x` are the images with their padding; `g` is the gradient with respect to the result.
    """
    rows, columns, _, features = kernel.shape
    height, width = g.shape[1:3]
    size = kernel.size // features

    def add(total: jax.Array, part: tuple[jax.Array, jax.Array]):
        images, gradient = part
        shifted = [
            images[:, a : a + stride * height : stride, b : b + stride * width : stride]
            for a in range(rows)
            for b in range(columns)
        ]
        patches = jnp.concatenate(shifted, axis=-1)
        product = lax.dot_general(
            gradient.reshape(-1, features),
            patches.reshape(-1, size),
            (((0,), (0,)), ((), ())),
            preferred_element_type=total.dtype,
        )
        return total + product, None

    start = jnp.zeros((features, size), jnp.promote_types(kernel.dtype, jnp.float32))
    together = _images_together(len(x), height * width * size * x.dtype.itemsize)
    shape = (len(x) // together, together)
    parts = (x.reshape(*shape, *x.shape[1:]), g.reshape(*shape, *g.shape[1:]))
    total, _ = lax.scan(add, start, parts)
    return total.T.reshape(kernel.shape).astype(kernel.dtype)


def _images_together(images: int, bytes_each: int) -> int:
    """Returns how many images are taken at a time: a divisor of their number, at least one.

    It is the largest whose patches, `bytes_each` an image, fit into the cache.
    """
    most = min(images, _PATCH_BYTES // max(bytes_each, 1))
    return next((count for count in range(most, 1, -1) if images % count == 0), 1)
