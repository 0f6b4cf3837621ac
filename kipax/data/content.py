"""Identifies and orders images by content: hashes, balanced orders, a split without file names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from kipax.errors import UsageError

__all__ = [
    "balanced_order",
    "image_hashes",
    "images_hash",
    "split_by_content",
    "training_hash",
]

_TEST_PART = 6  # one image in this many is a test image where a set has no test part


def image_hashes(x: np.ndarray) -> np.ndarray:
    """Returns the sha256 of each image's bytes (C order), as an array of 32-byte strings.

    Example:
        >>> image_hashes(np.zeros((2, 1, 1, 1), np.uint8)).shape
        (2,)
    """
    x = np.ascontiguousarray(x)
    return np.array([hashlib.sha256(image.tobytes()).digest() for image in x], dtype="V32")


def balanced_order(ranking: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns an order of all images whose every prefix is as class-balanced as the set allows.

    Within a class, images come by ascending `ranking`; classes take turns.

    Example:
        >>> balanced_order(np.array([3, 1, 2, 0]), np.array([0, 0, 0, 1])).tolist()
        [1, 3, 2, 0]
    """
    if ranking.dtype.kind == "V":  # bytes compare as numbers, most significant first
        ranking = np.array([r.tobytes() for r in ranking], dtype=object)
    within = np.lexsort((np.argsort(np.argsort(ranking, kind="stable")), classes))
    turn = np.empty(len(classes), np.int64)
    sorted_classes = np.asarray(classes)[within]
    starts = np.searchsorted(sorted_classes, sorted_classes)
    turn[within] = np.arange(len(classes)) - starts
    return np.lexsort((classes, turn))


def training_hash(hashes: np.ndarray, classes: np.ndarray) -> str:
    """Hashes a set of images with their classes (sha256), independent of their order."""
    lines = sorted(f"{h.tobytes().hex()} {c}" for h, c in zip(hashes, classes, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def images_hash(hashes: np.ndarray) -> str:
    """Hashes a set of images by the images' hashes (sha256), independent of their order."""
    return hashlib.sha256(b"".join(sorted(h.tobytes() for h in hashes))).hexdigest()


def split_by_content(x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns training and test arrays of a set without a test part.

    Within each class, one image in six, at least one, is a test image: those with the smallest
    sha256 of their pixels, so that the split does not depend on order or file names.

    Args:
        x: images ``(n, H, W, C)``.
        y: classes ``(n,)``.
        names: names of the classes.

    Raises:
        UsageError: a class has only one image.

    Example:
        >>> x = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
        >>> len(split_by_content(x, np.arange(12) % 2, ["a", "b"])["x_test"])
        2
    """
    hashes, test = image_hashes(x), np.zeros(len(x), bool)
    for label, name in enumerate(names):
        members = np.flatnonzero(y == label)
        if len(members) < 2:
            raise UsageError(
                f"every class needs at least two images, one to train and one to test; {name!r} "
                f"has {len(members)}."
            )
        ranked = sorted(members, key=lambda i: hashes[i].tobytes())
        test[ranked[: max(1, len(members) // _TEST_PART)]] = True
    return {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}
