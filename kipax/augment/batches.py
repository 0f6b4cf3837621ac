"""Augmentations of training batches in the preprocessed space, differentiable in the images.

DSA applies one operation, drawn for each step, to the whole batch. Its numbers are drawn for each
image, or, with `siamese`, once for the whole batch, so that two batches can be changed alike.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kipax.augment.geometry import flip, warp
from kipax.augment.occlusion import rectangle
from kipax.errors import check_choice

__all__ = ["AUGMENTATIONS", "Strengths", "augment_batch", "augment_pair"]


@dataclasses.dataclass(frozen=True)
class Strengths:
    """How strong each operation is; the defaults are DSA's.

    Attributes:
        brightness: range of the offset, which is from -1/2 to 1/2 times this.
        saturation: range of the factor of each pixel's distance to its grey value.
        contrast: range of the factor of each pixel's distance to its image's mean.
        shift: largest shift, as a share of the side.
        cutout: side of the square set to zero, as a share of the image's side.
        scale: each axis is stretched by a factor from 1 / `scale` to `scale`.
        degrees: the rotation is from -`degrees` to `degrees`.

    Source: Zhao & Bilen 2021, arXiv:2102.08259, and the authors' settings.
    """

    brightness: float = 1.0
    saturation: tuple[float, float] = (0.0, 2.0)
    contrast: tuple[float, float] = (0.5, 1.5)
    shift: float = 0.125
    cutout: float = 0.5
    scale: float = 1.2
    degrees: float = 15.0


def _draw(key: jax.Array, n: int, *, siamese: bool) -> jax.Array:
    """Returns uniform numbers ``(n, 2)`` in [0, 1): one row for all if `siamese`."""
    drawn = jax.random.uniform(key, (1 if siamese else n, 2))
    return jnp.broadcast_to(drawn, (n, 2))


def _columns(numbers: jax.Array) -> jax.Array:
    """Reshapes ``(n,)`` to ``(n, 1, 1, 1)``."""
    return numbers[:, None, None, None]


def _brightness(x, u, s: Strengths):
    return x + _columns(u[:, 0] - 0.5) * s.brightness


def _saturation(x, u, s: Strengths):
    grey = jnp.mean(x, axis=-1, keepdims=True)
    low, high = s.saturation
    return grey + (x - grey) * (low + (high - low) * _columns(u[:, 0]))


def _contrast(x, u, s: Strengths):
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    low, high = s.contrast
    return mean + (x - mean) * (low + (high - low) * _columns(u[:, 0]))


def _color(x, key, s: Strengths, siamese: bool):
    keys = jax.random.split(key, 3)
    for change, one in zip((_brightness, _saturation, _contrast), keys, strict=True):
        x = change(x, _draw(one, len(x), siamese=siamese), s)
    return x


def _shift(x, key, s: Strengths, siamese: bool):
    """Shifts images by whole pixels, with zeros from outside."""
    sides = [math.floor(side * s.shift + 0.5) for side in x.shape[1:3]]
    u = _draw(key, len(x), siamese=siamese)
    padded = jnp.pad(x, [(0, 0), *((k, k) for k in sides), (0, 0)])
    starts = jnp.floor(u * (2 * jnp.array(sides) + 1)).astype(jnp.int32)

    def one(image, start):
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), x.shape[1:])

    return jax.vmap(one)(padded, starts)


def _cutout(x, key, s: Strengths, siamese: bool):
    """Sets a square about a point of each image to zero, cut off at the border."""
    u, sides = _draw(key, len(x), siamese=siamese), jnp.array(x.shape[1:3])
    lengths = jnp.array([math.floor(side * s.cutout + 0.5) for side in x.shape[1:3]])
    corners = jnp.floor(u * (sides + 1 - lengths % 2)) - lengths // 2
    covered = jax.vmap(lambda corner: rectangle(x.shape[1:3], corner, lengths))(corners)
    return jnp.where(covered[..., None], 0.0, x)


def _flip(x, key, s: Strengths, siamese: bool):
    chosen = _draw(key, len(x), siamese=siamese)[:, 0] < 0.5
    return jnp.where(_columns(chosen), flip(x), x)


def _turn(x: jax.Array, matrices: jax.Array) -> jax.Array:
    """Warps each image by its matrix ``(n, 2, 2)``, linearly, with zeros from outside."""
    return jax.vmap(lambda image, m: warp(image, m, order=1, mode="constant"))(x, matrices)


def _scale(x, key, s: Strengths, siamese: bool):
    factors = _draw(key, len(x), siamese=siamese) * (s.scale - 1 / s.scale) + 1 / s.scale
    return _turn(x, jax.vmap(jnp.diag)(factors))


def _rotate(x, key, s: Strengths, siamese: bool):
    angle = (2 * _draw(key, len(x), siamese=siamese)[:, 0] - 1) * math.radians(s.degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _turn(x, jnp.stack([jnp.stack([cos, -sin], 1), jnp.stack([sin, cos], 1)], 1))


def _one_of(*operations: Callable, strengths: Strengths) -> Callable:
    def augment(x, key, siamese):
        of_choice, of_draw = jax.random.split(key)
        choice = jax.random.randint(of_choice, (), 0, len(operations))
        branches = [
            lambda x, k, f=operation: f(x, k, strengths, siamese) for operation in operations
        ]
        return jax.lax.switch(choice, branches, x, of_draw)

    return augment


def _crop(x, key, siamese):
    """Pads by an eighth (4 pixels of 32) and crops at random."""
    return _shift(x, key, Strengths(), siamese)


def _flip_and_crop(x, key, siamese):
    """Pads and crops as `_crop` does, and flips half of the images."""
    of_shift, of_flip = jax.random.split(key)
    return _flip(_crop(x, of_shift, siamese), of_flip, Strengths(), siamese)


_NEAR_ONE = (0.75, 1.25)
_FREPO = Strengths(0.5, saturation=_NEAR_ONE, contrast=_NEAR_ONE, cutout=0.25, scale=1.25)
_GEOMETRY = (_scale, _rotate)
AUGMENTATIONS: dict[str, Callable | None] = {
    "none": None,
    "dsa": _one_of(_color, _shift, _cutout, _flip, *_GEOMETRY, strengths=Strengths()),
    "dsa_noflip": _one_of(_color, _shift, _cutout, *_GEOMETRY, strengths=Strengths()),
    "frepo": _one_of(_flip, _color, _scale, _rotate, _shift, _cutout, strengths=_FREPO),
    "frepo_noflip": _one_of(_color, _scale, _rotate, _shift, _cutout, strengths=_FREPO),
    "crop": _crop,
    "flip_crop": _flip_and_crop,
}


def augment_batch(name: str, x: jax.Array, key: jax.Array, *, siamese: bool = False) -> jax.Array:
    """Changes a batch by one of `AUGMENTATIONS`.

    Args:
        name: ``none``, ``dsa``, ``frepo`` (each without flips for digits: ``..._noflip``),
            ``crop`` or ``flip_crop``.
        x: preprocessed images ``(n, H, W, C)``.
        key: a JAX key; equal keys change equally large batches alike.
        siamese: True draws once for the whole batch, False for each image.

    Raises:
        UsageError: an unknown name.
    """
    check_choice("augmentation", name, AUGMENTATIONS)
    change = AUGMENTATIONS[name]
    return x if change is None else change(x, key, siamese)


def augment_pair(
    name: str, x1: jax.Array, x2: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Changes two batches of any sizes by the same draw: DSA's siamese augmentation.

    Example:
        >>> x = jnp.ones((3, 4, 4, 1))
        >>> a, b = augment_pair("dsa", x, x[:1], jax.random.key(1))
        >>> bool((a[0] == b[0]).all())
        True
    """
    return (
        augment_batch(name, x1, key, siamese=True),
        augment_batch(name, x2, key, siamese=True),
    )
