"""Augmentation policies of single raw images: AutoAugment, RandAugment, jitter for grey images."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kipax.augment import colour
from kipax.augment.geometry import flip, rotation, warp

__all__ = [
    "NAMES",
    "POLICY",
    "apply_operation",
    "auto_augment",
    "jitter",
    "magnitude",
    "rand_augment",
]

_GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_COLOUR = {
    "Identity": colour.identity,
    "AutoContrast": colour.auto_contrast,
    "Invert": colour.invert,
    "Equalize": colour.equalize,
    "Solarize": colour.solarize,
    "Posterize": colour.posterize,
    "Contrast": colour.contrast,
    "Color": colour.color,
    "Brightness": colour.brightness,
    "Sharpness": colour.sharpness,
}

NAMES = (*_GEOMETRIC, *_COLOUR)  # an operation's number is its place here
_GREY = 128.0  # AutoAugment's, for pixels from outside the image

# Two (operation, probability, level) each: Cubuk et al. 2019, appendix, table 7 (CIFAR-10).
POLICY = (
    (("Invert", 0.1, 7), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 8), ("Equalize", 0.9, 2)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 5), ("Equalize", 0.5, 1)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 7), ("AutoContrast", 0.4, 8)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 3)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 8), ("Equalize", 0.6, 4)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 6)),
    (("AutoContrast", 0.8, 4), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 3)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 2), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 8), ("Invert", 0.1, 3)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 1)),
)

_ROTATION_DEGREES, _SHIFT_FRACTION = 10.0, 0.1  # Nguyen et al. 2021, appendix A (grayscale)


def magnitude(operation: str, level: int) -> float:
    """Returns the magnitude of a level from 0 to 10 in the operation's own unit.

    As in the AutoAugment authors' released CIFAR code: shear 0.03 a level, translation one
    pixel, rotation 3 degrees (these three with a random sign); solarisation threshold 256 less
    25.6 a level, posterisation to 4 bits less 0.4 a level (the paper's table 6 says 4 to 8
    bits), both in whole numbers; the four enhancements 0.1 plus 0.18 a level. Operations
    without a magnitude get 0.

    Example:
        >>> magnitude("Posterize", 7), round(magnitude("Color", 5), 6)
        (2.0, 1.0)
    """
    if operation in ("ShearX", "ShearY"):
        return 0.03 * level
    if operation in ("TranslateX", "TranslateY"):
        return float(level)
    if operation == "Rotate":
        return 3.0 * level
    if operation == "Solarize":
        return 256.0 - int(25.6 * level)
    if operation == "Posterize":
        return 4.0 - int(0.4 * level)
    if operation in ("Contrast", "Color", "Brightness", "Sharpness"):
        return 0.1 + 0.18 * level
    return 0.0


def apply_operation(
    kind: jax.Array, x: jax.Array, amount: jax.Array, sign: jax.Array, fill: float = _GREY
) -> jax.Array:
    """Applies the operation of a number: geometric ones by one resampling, or colour ones.

    Args:
        kind: place in `NAMES`.
        x: an image ``(H, W, 3)``, float32 with whole values from 0 to 255.
        amount: in the operation's own unit; see `magnitude`.
        sign: 1 or -1, the sign of geometric operations.
        fill: the value that geometric operations take from outside the image.
    """
    signed = sign * amount
    moved_by = [jnp.where(kind == number, signed, 0.0) for number in range(len(_GEOMETRIC))]
    shear_x, shear_y, columns, rows, degrees = moved_by
    # Pillow shears about the upper left corner: rows move by shear * (column + 1/2).
    rows = rows + shear_y * x.shape[1] / 2
    columns = columns + shear_x * x.shape[0] / 2
    shear = jnp.array([[0.0, 1.0], [0.0, 0.0]]) * shear_y
    shear = shear + jnp.array([[0.0, 0.0], [1.0, 0.0]]) * shear_x
    offset = jnp.stack([rows, columns])
    moved = warp(x, rotation(degrees) + shear, offset, order=0, mode="constant", fill=fill)
    branches: list[Callable[[jax.Array], jax.Array]] = [lambda _: moved]
    branches += [functools.partial(_change, operation, amount) for operation in _COLOUR.values()]
    return jax.lax.switch(jnp.maximum(kind - len(_GEOMETRIC) + 1, 0), branches, x)


def _change(operation: Callable, amount: jax.Array, x: jax.Array) -> jax.Array:
    return operation(x, amount)


def auto_augment(key: jax.Array, x: jax.Array) -> jax.Array:
    """Applies one of AutoAugment's 25 CIFAR sub-policies, then flips with probability 1/2.

    Args:
        key: a JAX key.
        x: an image ``(H, W, 3)``, float32 with whole values from 0 to 255.

    Source: Cubuk et al. 2019, table 7; Nguyen et al. 2021, appendix A.
    """
    of_policy, of_first, of_second, of_flip = jax.random.split(key, 4)
    policy = jax.random.randint(of_policy, (), 0, len(POLICY))
    for slot, slot_key in enumerate((of_first, of_second)):
        kinds, probabilities, magnitudes = (jnp.asarray(t)[policy] for t in _tables(slot))
        of_use, of_sign = jax.random.split(slot_key)
        sign = jax.random.rademacher(of_sign, (), jnp.float32)
        changed = apply_operation(kinds, x, magnitudes, sign)
        x = jnp.where(jax.random.bernoulli(of_use, probabilities), changed, x)
    return jnp.where(jax.random.bernoulli(of_flip), flip(x), x)


@functools.cache
def _tables(slot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns number, probability and magnitude of each sub-policy's first or second operation."""
    chosen = [sub[slot] for sub in POLICY]
    return (
        np.array([NAMES.index(name) for name, _, _ in chosen], np.int32),
        np.array([probability for _, probability, _ in chosen], np.float32),
        np.array([magnitude(name, level) for name, _, level in chosen], np.float32),
    )


# RandAugment's operations, in the order of its authors' code.
_RAND = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
_BINS = 31
_ENHANCING = ("Brightness", "Color", "Contrast", "Sharpness")


@functools.cache
def _rand_amounts(level: int, width: int, height: int) -> np.ndarray:
    """Returns each operation's amounts for the signs -1 and 1, ``(operations, 2)``."""
    share = level / (_BINS - 1)
    moves = {
        "ShearX": 0.3 * share,
        "ShearY": 0.3 * share,
        "TranslateX": int(150 / 331 * width * share),
        "TranslateY": int(150 / 331 * height * share),
        "Rotate": 30.0 * share,
    }
    rows = []
    for name in _RAND:
        if name in _ENHANCING:
            rows.append((1 - 0.9 * share, 1 + 0.9 * share))
        elif name == "Posterize":
            rows.append((8 - round(level / 7.5),) * 2)
        elif name == "Solarize":
            rows.append((255 - 255 * share,) * 2)
        else:
            rows.append((moves.get(name, 0.0),) * 2)
    return np.array(rows, np.float32)


def rand_augment(
    key: jax.Array, x: jax.Array, *, number: int = 2, level: int = 14, fill: float = 0.0
) -> jax.Array:
    """Applies `number` operations, each drawn from 14, all at the same level.

    At level m of 30: shears of 0.01 m, shifts of 150 / 331 of the side times m / 30 in whole
    pixels, rotations by m degrees, factors 1 +- 0.03 m (brightness, colour, contrast, sharpness),
    8 - round(m / 7.5) bits, solarisation from 255 (1 - m / 30) on; signs are drawn.

    Args:
        key: a JAX key.
        x: an image ``(H, W, C)`` with 1 or 3 channels, float32 with whole values from 0 to 255.
        number: number of operations, applied one after the other.
        level: m, from 0 to 30.
        fill: value of pixels from outside the image.

    Source: Cubuk et al. 2020, arXiv:1909.13719; amounts as in torchvision's ``RandAugment``.
    """
    grey = x.shape[-1] == 1
    if grey:
        x = jnp.broadcast_to(x, (*x.shape[:2], 3))
    amounts = jnp.asarray(_rand_amounts(level, x.shape[1], x.shape[0]))
    kinds = jnp.array([NAMES.index(name) for name in _RAND])
    for one in jax.random.split(key, number):
        of_choice, of_sign = jax.random.split(one)
        choice = jax.random.randint(of_choice, (), 0, len(_RAND))
        positive = jax.random.bernoulli(of_sign).astype(jnp.int32)
        amount = amounts[choice, positive]
        x = apply_operation(kinds[choice], x, amount, 2.0 * positive - 1.0, fill)
    return x[..., :1] if grey else x


def jitter(key: jax.Array, x: jax.Array) -> jax.Array:
    """Rotates by up to 10 degrees and shifts by up to a tenth of each side.

    It interpolates linearly, repeats the border and rounds values, as Keras's
    ``ImageDataGenerator(rotation_range=10, width_shift_range=0.1, height_shift_range=0.1)``
    does.

    Args:
        key: a JAX key.
        x: an image ``(H, W, C)``, float32.

    Source: Nguyen et al. 2021, appendix A.
    """
    of_turn, of_shift = jax.random.split(key)
    degrees = jax.random.uniform(of_turn, (), minval=-_ROTATION_DEGREES, maxval=_ROTATION_DEGREES)
    share = jax.random.uniform(of_shift, (2,), minval=-_SHIFT_FRACTION, maxval=_SHIFT_FRACTION)
    shift = share * jnp.array(x.shape[:2])
    turn = rotation(degrees)
    moved = warp(x, turn, turn @ shift, order=1, mode="nearest")
    return jnp.clip(jnp.round(moved), 0.0, 255.0)
