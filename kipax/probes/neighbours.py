"""Classifies and retrieves images by their nearest neighbours in cosine similarity."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import UsageError
from kipax.probes.features import check_features, count_classes, normalise

__all__ = ["Neighbours", "knn_accuracy", "recall"]

_PART = 1024  # queries at once


class Neighbours(NamedTuple):
    """The result of a classification by nearest neighbours.

    Attributes:
        accuracy: share of test images of the right class.
        ties: share of test images whose class was chosen among classes with as many votes.
    """

    accuracy: float
    ties: float


@functools.partial(jax.jit, static_argnums=2)
def _nearest(queries: jax.Array, references: jax.Array, k: int) -> jax.Array:
    return jax.lax.top_k(queries @ references.T, k)[1]


def _nearest_of(queries: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    """Finds the `k` most similar references of each query; returns indices, nearest first."""
    placed = jnp.asarray(references)
    parts = [
        np.asarray(_nearest(jnp.asarray(queries[start : start + _PART]), placed, k))
        for start in range(0, len(queries), _PART)
    ]
    return np.concatenate(parts)


def knn_accuracy(
    train: np.ndarray,
    train_classes: np.ndarray,
    test: np.ndarray,
    test_classes: np.ndarray,
    *,
    k: int = 1,
) -> Neighbours:
    """Classifies each test image by the `k` training images most similar to it (cosine).

    The class with the most votes wins; among classes with as many votes, that of the nearest image.
    Of equally near images the one with the smaller number counts as nearer.

    Args:
        train: features of training images ``(n, d)``.
        train_classes: their classes ``(n,)``.
        test: features of test images ``(m, d)``.
        test_classes: their classes ``(m,)``.
        k: number of neighbours.

    Raises:
        UsageError: features and classes do not fit each other, or `k` is not from 1 to n.

    Example:
        >>> train, test = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 1.0]])
        >>> knn_accuracy(train, np.array([3, 5]), test, np.array([3])).accuracy
        1.0

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, section 4 (k = 1).
    """
    classes = count_classes(train, train_classes, test, test_classes)
    if not 1 <= k <= len(train):
        raise UsageError(f"k runs from 1 to the {len(train)} training images; got {k}.")
    nearest = _nearest_of(normalise(test), normalise(train), k)
    votes = np.asarray(train_classes)[nearest]
    counts = np.array([np.bincount(row, minlength=classes) for row in votes])
    most = counts.max(axis=1)
    tied = (counts == most[:, None]).sum(axis=1) > 1
    # The first neighbour whose class has the most votes.
    winning = np.take_along_axis(counts, votes, axis=1) == most[:, None]
    chosen = votes[np.arange(len(votes)), winning.argmax(axis=1)]
    return Neighbours(float(np.mean(chosen == test_classes)), float(np.mean(tied)))


def recall(
    features: np.ndarray, classes: np.ndarray, *, ks: Sequence[int] = (1, 2, 4, 8)
) -> dict[int, float]:
    """Returns the share of images with one of their class among the k most similar others.

    Args:
        features: features of images ``(n, d)``.
        classes: their classes ``(n,)``.
        ks: numbers of neighbours, each from 1 to n - 1.

    Raises:
        UsageError: features and classes do not fit each other, or a k is out of range.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, table 5 (cosine, without fine-tuning).
    """
    check_features(features, classes)
    if not all(1 <= k < len(features) for k in ks):
        raise UsageError(f"k runs from 1 to the {len(features) - 1} other images; got {ks}.")
    unit, most = normalise(features), max(ks)
    nearest = _nearest_of(unit, unit, most + 1)
    own = np.arange(len(unit))[:, None]
    # An image is its own nearest, but for equal ones, of which any may come first.
    order = np.argsort(nearest == own, axis=1, kind="stable")[:, :most]
    others, labels = np.take_along_axis(nearest, order, axis=1), np.asarray(classes)
    same = labels[others] == labels[:, None]
    return {k: float(np.mean(same[:, :k].any(axis=1))) for k in ks}
