"""Patches of one photo, sampled from a pyramid by one inverse warp that joins all geometry."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kipax.augment.colour import color_jitter
from kipax.augment.geometry import random_box
from kipax.errors import UsageError

__all__ = ["Pyramid", "draw_patches", "make_pyramid"]

_DEGREES = 30.0  # of rotation, and of shear along the rows
_AREA = (2e-3, 1.0)
_RATIO = (3 / 4, 4 / 3)
_JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


class Pyramid(NamedTuple):
    """A photo at its size, half of it, a quarter, and so on, in one flat array.

    Attributes:
        pixels: all levels, row by row, ``(pixels, 3)`` from 0 to 1.
        starts: index of each level's first pixel.
        heights: heights of the levels.
        widths: widths of the levels.
    """

    pixels: jax.Array
    starts: jax.Array
    heights: jax.Array
    widths: jax.Array


def make_pyramid(photo: np.ndarray, *, smallest: int = 8) -> Pyramid:
    """Makes a pyramid by averaging 2 x 2 pixels, level after level.

    Args:
        photo: uint8 ``(H, W, 3)``.
        smallest: no level is smaller along either side.
    """
    levels = [np.asarray(photo, np.float32) / 255.0]
    while min(levels[-1].shape[:2]) >= 2 * smallest:
        above = levels[-1]
        height, width = (side // 2 * 2 for side in above.shape[:2])
        even = above[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
        levels.append(even.mean(axis=(1, 3)))
    sizes = [level.shape[0] * level.shape[1] for level in levels]
    return Pyramid(
        jnp.asarray(np.concatenate([level.reshape(-1, 3) for level in levels])),
        jnp.asarray(np.cumsum([0, *sizes[:-1]])),
        jnp.asarray([level.shape[0] for level in levels]),
        jnp.asarray([level.shape[1] for level in levels]),
    )


def check_photo(photo: np.ndarray, shape: tuple[int, int]) -> None:
    """Raises a `UsageError` for a photo smaller than two patches."""
    if min(photo.shape[:2]) < 2 * max(shape):
        raise UsageError(
            f"a photo has at least twice the pixels of a patch along each side, here "
            f"{2 * max(shape)}; got {photo.shape[0]} x {photo.shape[1]}."
        )


def _sample(pyramid: Pyramid, level: jax.Array, places: jax.Array) -> jax.Array:
    """Interpolates a level linearly at places (row, column) of the whole photo: ``(..., 3)``."""
    scale = 2.0**level
    height, width = pyramid.heights[level], pyramid.widths[level]
    place = (places + 0.5) / scale - 0.5
    low = jnp.floor(place)
    share = place - low
    total = jnp.zeros((*places.shape[:-1], 3))
    for down in (0, 1):
        for right in (0, 1):
            row = jnp.clip(low[..., 0].astype(jnp.int32) + down, 0, height - 1)
            column = jnp.clip(low[..., 1].astype(jnp.int32) + right, 0, width - 1)
            weight = jnp.abs(1 - down - share[..., 0]) * jnp.abs(1 - right - share[..., 1])
            values = pyramid.pixels[pyramid.starts[level] + row * width + column]
            total = total + weight[..., None] * values
    return total


def _patch(pyramid: Pyramid, key: jax.Array, shape: tuple[int, int], side: int) -> jax.Array:
    """Returns one patch ``(H, W, 3)``; `side` is that of the square crop, in photo pixels."""
    of_crop, of_box, of_turn, of_shear, of_flip, of_use, of_jitter = jax.random.split(key, 7)
    photo = jnp.array([pyramid.heights[0], pyramid.widths[0]])
    crop = jnp.floor(jax.random.uniform(of_crop, (2,)) * (photo - side + 1))
    corner, box, _ = random_box(of_box, (side, side), scale=_AREA, ratio=_RATIO)
    turn, shear = (
        jnp.deg2rad(jax.random.uniform(k, (), minval=-_DEGREES, maxval=_DEGREES))
        for k in (of_turn, of_shear)
    )
    mirror = jnp.where(jax.random.bernoulli(of_flip, shape=(2,)), -1.0, 1.0)
    # From the patch back: the middle part, flips, rotation and shear, the resized box, the crop.
    rows, columns = (jnp.arange(n) - (n - 1) / 2 for n in shape)
    d = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1) * mirror
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    matrix = jnp.array([[1.0, 0.0], [jnp.tan(shear), 1.0]]) @ jnp.array([[cos, sin], [-sin, cos]])
    frame = jnp.array([int(math.sqrt(2) * n) for n in shape])
    within = d @ matrix.T + (frame - 1) / 2
    inside = jnp.all((within > -0.5) & (within < frame - 0.5), axis=-1)
    places = crop + corner + (within + 0.5) * box / frame - 0.5
    zoom = jnp.sqrt(jnp.prod(box / frame))
    exact = jnp.clip(jnp.log2(jnp.maximum(zoom, 1.0)), 0, len(pyramid.starts) - 1)
    lower = jnp.floor(exact).astype(jnp.int32)
    upper = jnp.minimum(lower + 1, len(pyramid.starts) - 1)
    fine, coarse = _sample(pyramid, lower, places), _sample(pyramid, upper, places)
    patch = jnp.where(inside[..., None], fine + (exact - lower) * (coarse - fine), 0.0)
    jittered = color_jitter(of_jitter, jnp.round(255 * patch), **_JITTER) / 255
    return jnp.where(jax.random.bernoulli(of_use), jittered, patch)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _patches(pyramid: Pyramid, keys: jax.Array, shape: tuple[int, int], side: int) -> jax.Array:
    return jax.vmap(lambda key: _patch(pyramid, key, shape, side))(keys)


def draw_patches(pyramid: Pyramid, keys: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Patches of a photo, from 0 to 1, ``(n, H, W, 3)``.

    In the order of the paper: a square crop of half the shorter side; a random box of 0.2 % to
    100 % of it, at ratios of 3/4 to 4/3, at sqrt(2) times the patch's size; rotation and shear
    along the rows by up to 30 degrees, black from outside; flips, each with probability 1/2; the
    middle; with probability 1/2 brightness, contrast and saturation changed by up to 0.4 and hue by
    up to 0.1. The paper stores patches as JPEG, which is left out.

    Args:
        pyramid: the pyramid of the photo.
        keys: one JAX key for each patch.
        shape: (height, width) of a patch.

    Source: Asano & Saeed 2023, arXiv:2112.00725, appendix C.1, and the authors' code.
    """
    side = int(min(pyramid.heights[0], pyramid.widths[0])) // 2
    return _patches(pyramid, keys, shape, side)
