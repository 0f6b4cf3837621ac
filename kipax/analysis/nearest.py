"""Measures how far distilled images are from real ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from kipax.analysis.checks import check_points
from kipax.errors import UsageError

__all__ = ["Nearest", "nearest_images", "nearest_of_parts"]

_ROWS = 4096  # real images compared at once


class Nearest(NamedTuple):
    """The nearest real image of each image.

    Attributes:
        distances: Euclidean distance to it, float64 ``(n,)``, in the images' unit.
        indices: its position, int64 ``(n,)``; the first of equally near ones.
    """

    distances: np.ndarray
    indices: np.ndarray


def nearest_images(images: np.ndarray, real: np.ndarray) -> Nearest:
    """Finds the real image nearest to each image.

    ``min_j ||x_i - r_j||``, over all pixels. An image that was copied from the real ones has the
    distance 0; what a distance means is said by that of other real images to these.

    Args:
        images: ``(n, ...)``, such as a distilled set's.
        real: ``(m, ...)``, of the same shape and preprocessing.

    Returns:
        A `Nearest`.

    Raises:
        UsageError: images of another shape, none, or values that are not finite.

    Cost: 2 n m d operations, 33,000 d bytes.

    Example:
        >>> found = nearest_images(np.array([[3.0, 4.0]]), np.array([[9.0, 9.0], [0.0, 0.0]]))
        >>> found.distances, found.indices
        (array([5.]), array([1]))
    """
    if np.shape(images)[1:] != np.shape(real)[1:]:
        raise UsageError(
            f"images and real images are of one shape; got {np.shape(images)[1:]} and "
            f"{np.shape(real)[1:]}."
        )
    if not len(real):
        raise UsageError("the nearest real image needs at least one; got none.")
    return nearest_of_parts(
        images, (real[start : start + _ROWS] for start in range(0, len(real), _ROWS))
    )


def nearest_of_parts(images: np.ndarray, parts: Iterable[np.ndarray]) -> Nearest:
    """Finds the real image nearest to each image, as `nearest_images` does, part by part.

    Args:
        images: ``(n, ...)``.
        parts: real images, some thousands at a time; their indices count through all parts.
    """
    x = check_points(images, "the images")
    best, indices, before = np.full(len(x), np.inf), np.zeros(len(x), np.int64), 0
    for real in parts:
        part = check_points(real, "the real images")
        # |x|^2 is left out of the squared distance, since it does not change which is nearest.
        squared = np.sum(part**2, axis=1) - 2.0 * x @ part.T
        found = np.argmin(squared, axis=1)
        # The distance is computed from differences, so that it is exactly 0 for a copy.
        distances = np.linalg.norm(x - part[found], axis=1)
        closer = distances < best
        best[closer], indices[closer] = distances[closer], before + found[closer]
        before += len(part)
    return Nearest(best, indices)
