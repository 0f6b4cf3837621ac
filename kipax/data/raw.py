"""Checks a user's raw images against the training images and preprocesses them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kipax.data.preprocessing import Preprocessor
from kipax.errors import UsageError
from kipax.pixels import PixelFacts, as_images

__all__ = ["preprocess_raw"]


def preprocess_raw(
    x: Any,
    *,
    image_shape: tuple[int, ...],
    pixels: PixelFacts,
    preprocessor: Preprocessor,
) -> np.ndarray:
    """Preprocesses raw images, in the training set's pixel units, like the training images.

    Warns where they cannot be on the training images' scale, see `PixelFacts.mismatch`.

    Args:
        x: raw images ``(n, H, W[, C])``.
        image_shape: (H, W, C) of the training images.
        pixels: facts of the training images.
        preprocessor: the preprocessor fitted on the training images.

    Returns:
        float32 ``(n, H, W, C)``.

    Raises:
        UsageError: the images have another size, layout or number of channels, or are not
            finite numbers.
    """
    array = as_images(x, "the images")
    if array.shape[1:] != tuple(image_shape):
        hint = ": give one image as x[None]" if np.shape(x) == tuple(image_shape) else ""
        raise UsageError(
            f"images must have the shape (n, {', '.join(map(str, image_shape))}); got "
            f"{np.shape(x)}{hint}."
        )
    words = pixels.mismatch(array)
    if words is not None:
        words = f"{words}: give images in the same units."
        warnings.warn(words, stacklevel=3)  # of whoever called the caller's method
    return preprocessor.apply(array)
