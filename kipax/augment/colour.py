"""Colour changes of single raw images in JAX, with the results of Pillow.

An image is ``(H, W, 3)`` float32 with whole values from 0 to 255. The operations that dm-pix
lacks, or computes differently (contrast about each channel's own mean, brightness as a sum), are
implemented here in Pillow's integer arithmetic.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kipax.augment.geometry import dm_pix

__all__ = [
    "auto_contrast",
    "brightness",
    "color",
    "color_jitter",
    "contrast",
    "equalize",
    "greyscale",
    "hue",
    "identity",
    "invert",
    "posterize",
    "sharpness",
    "solarize",
]


# -- each takes an image and a magnitude --------------------------------------------------------


def identity(x: jax.Array, _: jax.Array) -> jax.Array:
    """Returns the image unchanged."""
    return x


def invert(x: jax.Array, _: jax.Array) -> jax.Array:
    """Returns ``255 - x``."""
    return 255.0 - x


def solarize(x: jax.Array, threshold: jax.Array) -> jax.Array:
    """Inverts values of at least `threshold` (0 to 256)."""
    return jnp.round(255.0 * dm_pix().solarize(x / 255.0, (threshold - 0.5) / 255.0))


def posterize(x: jax.Array, bits: jax.Array) -> jax.Array:
    """Keeps the upper `bits` bits of each value."""
    step = 2.0 ** (8.0 - bits)
    return jnp.floor(x / step) * step


def auto_contrast(x: jax.Array, _: jax.Array) -> jax.Array:
    """Stretches each channel to 0..255; a constant channel stays."""
    low, high = jnp.min(x, axis=(0, 1)), jnp.max(x, axis=(0, 1))
    span = (high - low).astype(jnp.int32)
    stretched = (255 * (x - low).astype(jnp.int32)) // jnp.maximum(span, 1)
    return jnp.where(span > 0, stretched.astype(x.dtype), x)


def equalize(x: jax.Array, _: jax.Array) -> jax.Array:
    """Evens out each channel's histogram."""
    pixels = x.reshape(-1, x.shape[-1]).astype(jnp.int32)
    histogram = jax.vmap(lambda c: jnp.bincount(c, length=256), in_axes=1, out_axes=1)(pixels)
    below = jnp.cumsum(histogram, axis=0) - histogram
    last = jnp.take_along_axis(histogram, jnp.max(pixels, axis=0)[None], axis=0)[0]
    step = (len(pixels) - last) // 255
    table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, 255)
    equalized = jnp.take_along_axis(table, pixels, axis=0)
    return jnp.where(step > 0, equalized.reshape(x.shape).astype(x.dtype), x)


def _blend(plain: jax.Array, x: jax.Array, factor: jax.Array) -> jax.Array:
    return jnp.floor(jnp.clip(plain + factor * (x - plain), 0.0, 255.0))


def _grey(x: jax.Array) -> jax.Array:
    """Returns the ITU-R 601-2 luma in Pillow's integers, ``(H, W, 1)``."""
    weights = jnp.array([19595, 38470, 7471], jnp.int32)
    luma = (jnp.sum(x.astype(jnp.int32) * weights, axis=-1, keepdims=True) + 0x8000) >> 16
    return luma.astype(x.dtype)


def color(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the grey image: factor 0 gives grey, 1 the image."""
    return _blend(_grey(x), x, factor)


def contrast(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the mean grey: factor 0 gives the mean grey, 1 the image."""
    return _blend(jnp.floor(jnp.mean(_grey(x)) + 0.5), x, factor)


def brightness(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with black: factor 0 gives black, 1 the image."""
    return _blend(jnp.zeros_like(x), x, factor)


def sharpness(x: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with a smoothed image: factor 0 gives the smoothed image, 1 the image.

    Smoothing weights are 5 in the middle and 1 around it, divided by 13; the border stays.
    """
    total = sum(
        jnp.roll(x, (i, j), axis=(0, 1)) * (5.0 if i == j == 0 else 1.0)
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    )
    smooth = jnp.floor(total / 13.0 + 0.5)
    inside = jnp.zeros(x.shape[:2], bool).at[1:-1, 1:-1].set(True)[..., None]
    return _blend(jnp.where(inside, smooth, x), x, factor)


# -- at random ----------------------------------------------------------------------------------


def hue(x: jax.Array, turn: jax.Array) -> jax.Array:
    """Turns each pixel's hue by a share of the circle, -1/2 to 1/2; rounds to whole values."""
    return jnp.round(255.0 * dm_pix().adjust_hue(x / 255.0, turn))


def greyscale(x: jax.Array, _: jax.Array | None = None) -> jax.Array:
    """Returns the luma in all three channels."""
    return jnp.broadcast_to(_grey(x), x.shape)


def color_jitter(
    key: jax.Array,
    x: jax.Array,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
) -> jax.Array:
    """Changes brightness, contrast, saturation and hue in a random order.

    Args:
        key: a JAX key.
        x: ``(H, W, 3)``, whole values from 0 to 255.
        brightness: its factor is drawn evenly from max(0, 1 - this) to 1 + this.
        contrast: its factor is drawn in the same way.
        saturation: its factor is drawn in the same way.
        hue: the turn is drawn evenly from -`hue` to `hue`, at most 1/2.

    Source: as torchvision's ``ColorJitter``.
    """
    of_order, of_amounts = jax.random.split(key)
    strengths = jnp.array([brightness, contrast, saturation, hue])
    low = jnp.maximum(1 - strengths, 0.0).at[3].set(-hue)
    high = (1 + strengths).at[3].set(hue)
    amounts = jax.random.uniform(of_amounts, (4,), minval=low, maxval=high)
    for kind in jax.random.permutation(of_order, 4):
        x = jax.lax.switch(kind, _JITTERED, x, amounts[kind])
    return x


_JITTERED = (brightness, contrast, color, hue)
