"""Augmentation of target images, per image and step, on raw pixels before preprocessing.

Which operations an image gets is a function of (seed, step, image index) alone, never of its
place in a block, so that who computes what changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kipax.augment import image_ops
from kipax.data.sampling import Purpose, step_key
from kipax.errors import UsageError

__all__ = [
    "NAMES",
    "POLICY",
    "apply_operation",
    "augment",
    "auto_augment",
    "check_augmentable",
    "jitter",
    "magnitude",
]

_GEOMETRIC = ("ShearY", "TranslateX", "TranslateY", "Rotate")
_COLOUR = {
    "Identity": image_ops.identity,
    "AutoContrast": image_ops.auto_contrast,
    "Invert": image_ops.invert,
    "Equalize": image_ops.equalize,
    "Solarize": image_ops.solarize,
    "Posterize": image_ops.posterize,
    "Contrast": image_ops.contrast,
    "Color": image_ops.color,
    "Brightness": image_ops.brightness,
    "Sharpness": image_ops.sharpness,
}

NAMES = (*_GEOMETRIC, *_COLOUR)  # an operation's number is its place here

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
    """What a level from 0 to 10 means, in the operation's own unit.

    As in the AutoAugment authors' released CIFAR code: shear 0.03 a level, translation one
    pixel, rotation 3 degrees (these three with a random sign); solarisation threshold 256 less
    25.6 a level, posterisation to 4 bits less 0.4 a level (the paper's table 6 says 4 to 8
    bits), both in whole numbers; the four enhancements 0.1 plus 0.18 a level. Operations
    without a magnitude get 0.

    Example:
        >>> magnitude("Posterize", 7), round(magnitude("Color", 5), 6)
        (2.0, 1.0)
    """
    if operation == "ShearY":
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


def check_augmentable(x: np.ndarray) -> None:
    """Raises a `UsageError` unless these are uint8 images with one or three channels."""
    if x.dtype != np.uint8 or x.shape[-1] not in (1, 3):
        raise UsageError(
            "augmentation takes uint8 images with 1 or 3 channels; got "
            f"{x.dtype} images with {x.shape[-1]}: use --augment_fraction=0."
        )


def augment(
    x: np.ndarray, indices: np.ndarray, *, seed: int, step: int, fraction: float
) -> np.ndarray:
    """Raw images, each augmented with probability `fraction`.

    RGB images get `auto_augment`, grey ones `jitter`.

    Args:
        x: uint8 ``(n, H, W, C)``.
        indices: position of each image in the data set ``(n,)``.
        seed: of the run.
        step: of the run; an image's draw depends on seed, step and its index alone.
        fraction: from 0 to 1; the paper uses 0, 0.25, 0.5 and 1.

    Returns:
        uint8 ``(n, H, W, C)``.

    Raises:
        UsageError: other images than uint8 with 1 or 3 channels.
        ImportError: dm-pix is missing.

    Example:
        >>> x = np.zeros((2, 4, 4, 1), np.uint8)
        >>> augment(x, np.arange(2), seed=0, step=0, fraction=1.0).shape
        (2, 4, 4, 1)

    Source: Nguyen et al. 2021, appendix A.
    """
    check_augmentable(x)
    return np.asarray(augment_there(x, indices, seed=seed, step=step, fraction=fraction))


def augment_there(
    x: np.ndarray | jax.Array, indices: np.ndarray, *, seed: int, step: int, fraction: float
) -> jax.Array:
    """`augment` of images that it takes, left on the device that they lie on."""
    key = step_key(seed, Purpose.AUGMENTATION, step)
    return _augment(jnp.asarray(x), jnp.asarray(indices), key, fraction)


@jax.jit
def _augment(x: jax.Array, indices: jax.Array, key: jax.Array, fraction: float) -> jax.Array:
    change = auto_augment if x.shape[-1] == 3 else jitter

    def one(image: jax.Array, index: jax.Array) -> jax.Array:
        chosen, drawn = jax.random.split(jax.random.fold_in(key, index))
        changed = change(drawn, image.astype(jnp.float32)).astype(jnp.uint8)
        return jnp.where(jax.random.bernoulli(chosen, fraction), changed, image)

    return jax.vmap(one)(x, indices)


def auto_augment(key: jax.Array, x: jax.Array) -> jax.Array:
    """One of AutoAugment's 25 CIFAR sub-policies, then a flip with probability 1/2.

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
    return jnp.where(jax.random.bernoulli(of_flip), image_ops.flip(x), x)


@functools.cache
def _tables(slot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operation number, probability and magnitude of each sub-policy's first or second."""
    chosen = [sub[slot] for sub in POLICY]
    return (
        np.array([NAMES.index(name) for name, _, _ in chosen], np.int32),
        np.array([probability for _, probability, _ in chosen], np.float32),
        np.array([magnitude(name, level) for name, _, level in chosen], np.float32),
    )


def apply_operation(kind: jax.Array, x: jax.Array, amount: jax.Array, sign: jax.Array) -> jax.Array:
    """The operation of a number: geometric ones first, by one resampling, then colour."""
    signed = sign * amount
    shear = jnp.where(kind == 0, signed, 0.0)
    columns = jnp.where(kind == 1, signed, 0.0)
    rows = jnp.where(kind == 2, signed, 0.0)
    turn = image_ops.rotation(jnp.where(kind == 3, signed, 0.0))
    # Pillow shears about the upper left corner: rows move by shear * (column + 1/2).
    rows = rows + shear * x.shape[1] / 2
    matrix = turn + jnp.array([[0.0, 1.0], [0.0, 0.0]]) * shear
    moved = image_ops.resample(x, matrix, jnp.stack([rows, columns]), order=0, mode="constant")
    branches: list[Callable[[jax.Array], jax.Array]] = [lambda _: moved]
    branches += [functools.partial(_colour, operation, amount) for operation in _COLOUR.values()]
    return jax.lax.switch(jnp.maximum(kind - len(_GEOMETRIC) + 1, 0), branches, x)


def _colour(operation: Callable, amount: jax.Array, x: jax.Array) -> jax.Array:
    return operation(x, amount)


def jitter(key: jax.Array, x: jax.Array) -> jax.Array:
    """A rotation by up to 10 degrees and shifts by up to a tenth of each side.

    Interpolated linearly, the border repeated, values rounded: what Keras's
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
    turn = image_ops.rotation(degrees)
    moved = image_ops.resample(x, turn, turn @ shift, order=1, mode="nearest")
    return jnp.clip(jnp.round(moved), 0.0, 255.0)
