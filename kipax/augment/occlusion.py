"""Covers parts of images: cutout and random erasing."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kipax.augment.geometry import random_box

__all__ = ["cutout", "random_erasing", "rectangle"]


def rectangle(shape: tuple[int, int], corner: jax.Array, size: jax.Array) -> jax.Array:
    """Returns which pixels of an image lie in a box, ``(H, W)``; parts outside of it are cut off.

    Args:
        shape: the image's (height, width).
        corner: (row, column) of the box's upper left corner; may lie outside.
        size: its (height, width).
    """
    hits = [
        (jnp.arange(side) >= corner[axis]) & (jnp.arange(side) < corner[axis] + size[axis])
        for axis, side in enumerate(shape)
    ]
    return hits[0][:, None] & hits[1][None, :]


def cutout(key: jax.Array, x: jax.Array, size: int, *, fill: float = 0.0) -> jax.Array:
    """Covers a square about a random pixel, cut off at the image's border.

    Args:
        key: a JAX key.
        x: ``(H, W, C)``.
        size: the square's side in pixels.
        fill: the value that covers.

    Source: DeVries & Taylor 2017, arXiv:1708.04552 (16 pixels of 32).
    """
    height, width, _ = x.shape
    centre = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    covered = rectangle((height, width), centre - size // 2, jnp.array([size, size]))
    return jnp.where(covered[..., None], fill, x)


def random_erasing(
    key: jax.Array,
    x: jax.Array,
    *,
    probability: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    fill: float = 0.0,
) -> jax.Array:
    """Covers a random box inside the image, with a probability.

    Args:
        key: a JAX key.
        x: ``(H, W, C)``.
        probability: probability of a box; there is also none if ten tries do not fit.
        scale: see `kipax.augment.geometry.random_box`.
        ratio: see `kipax.augment.geometry.random_box`.
        fill: the value that covers.

    Source: Zhong et al. 2020, arXiv:1708.04896; drawn as torchvision's ``RandomErasing`` draws.
    """
    of_use, of_box = jax.random.split(key)
    shape = (x.shape[0], x.shape[1])
    corner, size, fits = random_box(of_box, shape, scale=scale, ratio=ratio, inside=True)
    covered = rectangle(shape, corner, size)
    used = fits & jax.random.bernoulli(of_use, probability)
    return jnp.where((covered & used)[..., None], fill, x)
