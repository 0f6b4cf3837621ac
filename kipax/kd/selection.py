"""Chooses images by the classes that a teacher predicts for them (Frank & Davis 2025)."""

from __future__ import annotations

import math

import numpy as np

from kipax.errors import UsageError

__all__ = ["class_sizes", "pseudo_balance"]


def class_sizes(seen: np.ndarray, count: int, *, imbalance: float = 1.0) -> np.ndarray:
    """Returns how many images to take of each class.

    Class c of C classes gets a share proportional to ``imbalance^(-c / (C - 1))``: all the same
    for 1. The share of a class that is never predicted goes to the others, in proportion.

    Args:
        seen: number of images by predicted class ``(classes,)``.
        count: number of images in all.
        imbalance: ratio of the largest class to the smallest.

    Returns:
        Whole numbers ``(classes,)`` whose sum is `count`.

    Raises:
        UsageError: no class is predicted, or the imbalance is below 1.

    Example:
        >>> class_sizes(np.array([5, 0, 2]), 7)
        array([4, 0, 3])
    """
    if not np.any(seen > 0):
        raise UsageError("images are chosen by the teacher's classes; it predicts none.")
    if not (imbalance >= 1 and math.isfinite(imbalance)):
        raise UsageError(f"imbalance is the largest class over the smallest; got {imbalance}.")
    ranks = np.arange(len(seen)) / max(len(seen) - 1, 1)
    shares = np.where(seen > 0, float(imbalance) ** -ranks, 0.0)
    ends = np.rint(np.cumsum(shares) / shares.sum() * count).astype(int)
    return np.diff(ends, prepend=0)


def pseudo_balance(
    classes: np.ndarray, count: int, *, num_classes: int, seed: int, imbalance: float = 1.0
) -> np.ndarray:
    """Chooses images so that the teacher predicts all classes equally often.

    Images of a class that has fewer than its share are repeated.

    Args:
        classes: the teacher's classes of a pool of images ``(n,)``.
        count: number of images to choose.
        num_classes: number of the teacher's classes.
        seed: seed of the choice and of the order.
        imbalance: see `class_sizes`; more than 1 makes a long tail.

    Returns:
        Indices into the pool ``(count,)``, in random order; copies of an image follow each other.

    Raises:
        UsageError: see `class_sizes`.

    Example:
        >>> chosen = pseudo_balance(np.array([0, 0, 0, 1]), 4, num_classes=2, seed=0)
        >>> np.bincount(np.array([0, 0, 0, 1])[chosen])
        array([2, 2])

    Source: Frank & Davis 2025, section 3.2.
    """
    sizes = class_sizes(np.bincount(classes, minlength=num_classes), count, imbalance=imbalance)
    order = np.random.default_rng(seed).permutation(len(classes))
    copies = np.zeros(len(classes), int)
    for chosen, size in enumerate(sizes):
        members = order[classes[order] == chosen]
        if len(members):
            whole, rest = divmod(int(size), len(members))
            copies[members] = whole
            copies[members[:rest]] += 1
    return np.repeat(order, copies[order])
