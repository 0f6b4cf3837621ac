"""Augmentation of target images, per image and step, on raw pixels before preprocessing.

Which operations an image gets is a function of (seed, step, image index) alone, never of its
place in a block, so that it does not depend on the process that computes it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from kipax.augment.policies import auto_augment, jitter
from kipax.data.sampling import Purpose, step_key
from kipax.errors import UsageError

__all__ = ["augment", "augment_there", "check_augmentable"]


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
    """Augments raw images, each with probability `fraction`.

    RGB images get `auto_augment`, grey ones `jitter`.

    Args:
        x: uint8 ``(n, H, W, C)``.
        indices: position of each image in the data set ``(n,)``.
        seed: seed of the run.
        step: step of the run; an image's draw depends on seed, step and its index alone.
        fraction: probability from 0 to 1; the paper uses 0, 0.25, 0.5 and 1.

    Returns:
        uint8 ``(n, H, W, C)``.

    Raises:
        UsageError: the images are not uint8 with 1 or 3 channels.
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
    """Augments images as `augment` does, and leaves them on their device."""
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
