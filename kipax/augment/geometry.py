"""Geometric changes of images by one function `warp`, for raw images and for batches."""

from __future__ import annotations

import math
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "crop_and_resize",
    "elastic",
    "flip",
    "random_box",
    "random_crop",
    "random_resized_crop",
    "rotation",
    "sample",
    "warp",
]


def dm_pix() -> ModuleType:
    """Imports dm_pix when it is needed; the ImportError says how to install it."""
    try:
        import dm_pix as module
    except ImportError as error:
        raise ImportError("augmentation needs dm-pix: pip install dm-pix") from error
    return module


_TRIES = 10  # torchvision's, for a box that fits


def sample(
    x: jax.Array, places: jax.Array, *, order: int, mode: str, fill: float = 0.0
) -> jax.Array:
    """Samples an image's values at any places.

    Args:
        x: ``(H, W, C)``.
        places: (row, column) in pixels, ``(H', W', 2)``.
        order: 0 takes the nearest pixel, 1 interpolates linearly.
        mode: ``constant`` fills with `fill` from outside, ``nearest`` repeats the border.
        fill: see `mode`.

    Returns:
        ``(H', W', C)``.
    """
    if order == 1 and mode == "nearest":  # twice as fast, and the bits of earlier versions
        shape = (*places.shape[:2], x.shape[-1])
        axes = [jnp.broadcast_to(places[..., axis, None], shape) for axis in (0, 1)]
        channels = jnp.broadcast_to(jnp.arange(shape[-1]), shape)
        return dm_pix().flat_nd_linear_interpolate(x, jnp.stack([*axes, channels]))

    def channel(plane: jax.Array) -> jax.Array:
        axes = [places[..., 0], places[..., 1]]
        return jax.scipy.ndimage.map_coordinates(plane, axes, order=order, mode=mode, cval=fill)

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(x)


def _grid(height: int, width: int) -> jax.Array:
    """Returns the (row, column) of each pixel, ``(H, W, 2)``."""
    return jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), -1)


def warp(
    x: jax.Array,
    matrix: jax.Array,
    offset: jax.Array | float = 0.0,
    *,
    order: int,
    mode: str,
    fill: float = 0.0,
) -> jax.Array:
    """Returns ``out[p] = x[c + matrix (p - c) + offset]``; p and the centre c are (row, column).

    Args:
        x: ``(H, W, C)``.
        matrix: ``(2, 2)``.
        offset: ``(2,)`` in pixels.
        order: see `sample`.
        mode: see `sample`.
        fill: see `sample`.
    """
    centre = jnp.array([(x.shape[0] - 1) / 2, (x.shape[1] - 1) / 2])
    # Sums in this order: images augmented by earlier versions are found again to the bit.
    places = _grid(*x.shape[:2]) @ matrix.T + (centre - matrix @ centre + offset)
    return sample(x, places, order=order, mode=mode, fill=fill)


def rotation(degrees: jax.Array) -> jax.Array:
    """Returns the matrix for `warp` that turns a picture counter-clockwise."""
    angle = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, sin]), jnp.stack([-sin, cos])])


def flip(x: jax.Array) -> jax.Array:
    """Exchanges left and right of an image or a batch ``(..., H, W, C)``."""
    return x[..., ::-1, :]


def random_crop(
    key: jax.Array, x: jax.Array, *, share: float = 1 / 8, fill: float = 0.0
) -> jax.Array:
    """Pads an image and crops it at a random place to its own size.

    Args:
        key: a JAX key.
        x: image ``(H, W, C)``.
        share: padding relative to each side: 4 pixels of 32 by default, one at least.
        fill: pixel value of the padding.
    """
    pads = [max(1, round(side * share)) for side in x.shape[:2]]
    padded = jnp.pad(x, [(pads[0],) * 2, (pads[1],) * 2, (0, 0)], constant_values=fill)
    place = jax.random.randint(key, (2,), 0, 2 * jnp.array(pads) + 1)
    return jax.lax.dynamic_slice(padded, (place[0], place[1], 0), x.shape)


def _blurring(side: int, sigma: float) -> np.ndarray:
    """Returns the Gaussian blur of a line as a matrix ``(side, side)``, mirrored at the ends."""
    reach = int(4 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    places = np.pad(np.arange(side), reach, mode="reflect") if side > 1 else np.zeros(2 * reach + 1)
    matrix = np.zeros((side, side))
    for row in range(side):
        np.add.at(matrix[row], places[row : row + 2 * reach + 1].astype(int), weights)
    return matrix / weights.sum()


def elastic(
    key: jax.Array, x: jax.Array, *, alpha: float = 50.0, sigma: float = 5.0, fill: float = 0.0
) -> jax.Array:
    """Moves each pixel by ``alpha / 2`` times noise from -1 to 1 that was blurred with `sigma`.

    Args:
        key: a JAX key.
        x: ``(H, W, C)``.
        alpha: twice the displacement before the blur, in pixels.
        sigma: standard deviation of the blur, in pixels.
        fill: value of pixels from outside the image.

    Source: Simard et al. 2003; the scale is that of torchvision's ``ElasticTransform``.
    """
    height, width = x.shape[:2]
    noise = jax.random.uniform(key, (2, height, width), minval=-1.0, maxval=1.0)
    rows, columns = _blurring(height, sigma), _blurring(width, sigma)
    moved = 0.5 * alpha * jnp.einsum("ij,kjl,ml->ikm", rows, noise, columns)
    places = _grid(height, width) + jnp.moveaxis(moved, 1, -1)
    return sample(x, places, order=1, mode="constant", fill=fill)


def random_box(
    key: jax.Array,
    shape: tuple[int, int],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    inside: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws a box of whole pixels in an image as torchvision does, in at most ten tries.

    Args:
        key: a JAX key.
        shape: the image's (height, width).
        scale: range of the box's share of the area, which is drawn evenly.
        ratio: range of width / height, whose logarithm is drawn evenly.
        inside: whether the box must be smaller than the image along both axes.

    Returns:
        Upper left corner (row, column), size (height, width), and whether one of the tries
        gave a box that fits.
    """
    of_area, of_ratio, of_place = jax.random.split(key, 3)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    area = jax.random.uniform(of_area, (_TRIES,), minval=scale[0], maxval=scale[1])
    aspect = jnp.exp(jax.random.uniform(of_ratio, (_TRIES,), minval=low, maxval=high))
    area = area * shape[0] * shape[1]
    sizes = jnp.round(jnp.stack([jnp.sqrt(area / aspect), jnp.sqrt(area * aspect)], axis=1))
    most = jnp.array(shape) - (1 if inside else 0)
    fits = jnp.all((sizes > 0) & (sizes <= most), axis=1)
    size = sizes[jnp.argmax(fits)]
    place = jnp.floor(jax.random.uniform(of_place, (2,)) * (jnp.array(shape) - size + 1))
    return place, size, jnp.any(fits)


def crop_and_resize(
    x: jax.Array, corner: jax.Array, box: jax.Array, size: tuple[int, int], *, method: str
) -> jax.Array:
    """Resizes a box of an image, smoothed where it gets smaller, as Pillow does.

    Args:
        x: ``(H, W, C)``.
        corner: (row, column) of the box.
        box: its (height, width) in pixels.
        size: (height, width) of the result.
        method: ``linear`` or ``cubic``.

    Returns:
        ``(*size, C)``.
    """
    scale = jnp.array(size) / box
    shape = (*size, x.shape[-1])
    return jax.image.scale_and_translate(x, shape, (0, 1), scale, -corner * scale, method)


def random_resized_crop(
    key: jax.Array,
    x: jax.Array,
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    method: str = "linear",
) -> jax.Array:
    """Resizes a random box of an image.

    Args:
        key: a JAX key.
        x: ``(H, W, C)``.
        size: (height, width) of the result.
        scale: see `random_box`.
        ratio: see `random_box`.
        method: ``linear`` or ``cubic``, which may overshoot the range of the values.

    Returns:
        ``(*size, C)``. If no try fits, the box is the middle, as large as the ratios allow.

    Source: Szegedy et al. 2015; drawn as torchvision's ``RandomResizedCrop`` draws.
    """
    height, width = x.shape[:2]
    corner, box, fits = random_box(key, (height, width), scale=scale, ratio=ratio)
    whole = np.clip(width / height, *ratio)
    middle = np.array([min(height, round(width / whole)), min(width, round(height * whole))])
    box = jnp.where(fits, box, middle)
    corner = jnp.where(fits, corner, (np.array([height, width]) - middle) // 2)
    return crop_and_resize(x, corner, box, size, method=method)
