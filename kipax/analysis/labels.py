"""Measures how much learned labels say about further classes than an image's own."""

from __future__ import annotations

import numpy as np

from kipax.analysis.checks import check_labels

__all__ = ["label_entropy", "label_shares", "shared_classes"]

_NOTHING = 1e-6  # a share below it is the float32 rounding of zero


def label_shares(labels: np.ndarray) -> np.ndarray:
    """Turns labels into shares of the classes, which are not negative and add up to 1.

    ``max(y - mean(y) + 1 / classes, 0)``, divided by its sum: centred one-hot labels become
    one-hot, equal entries become even shares, and an entry that argues against its class gives it
    nothing.

    Args:
        labels: ``(n, classes)``, learned or centred one-hot.

    Returns:
        float64 ``(n, classes)``.

    Raises:
        UsageError: labels have another shape, or are not finite numbers.

    Example:
        >>> label_shares(np.array([[0.5, -0.5], [0.0, 0.0]]))
        array([[1. , 0. ],
               [0.5, 0.5]])

    Source: the inverse of the centring of Nguyen et al. 2021, appendix A; the rest is ours.
    """
    y = check_labels(labels)
    shares = np.maximum(y - y.mean(axis=1, keepdims=True) + 1.0 / y.shape[1], 0.0)
    shares /= shares.sum(axis=1, keepdims=True)
    shares[shares < _NOTHING] = 0.0
    return shares / shares.sum(axis=1, keepdims=True)


def label_entropy(labels: np.ndarray) -> np.ndarray:
    """Measures the entropy of each label, ``-sum p log2(p)`` over its `label_shares` p.

    Args:
        labels: ``(n, classes)``, learned or centred one-hot.

    Returns:
        Entropy of each label in bits, float64 ``(n,)``: 0 for one class, ``log2(classes)`` for
        all classes alike.

    Raises:
        UsageError: as `label_shares`.

    Example:
        >>> label_entropy(np.array([[0.5, -0.5], [0.0, 0.0]]))
        array([0., 1.])

    Source: Shannon's entropy; Nguyen et al. 2021, section 4 (labels that encode richer inter-class
    information).
    """
    shares = label_shares(labels)
    logarithms = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.sum(shares * -logarithms, axis=1)


def shared_classes(labels: np.ndarray) -> np.ndarray:
    """Finds the class that has the second largest share of each label.

    Args:
        labels: ``(n, classes)``, learned or centred one-hot.

    Returns:
        The class of the second largest of the `label_shares`, int64 ``(n,)``; -1 for a label that
        speaks of one class alone.

    Raises:
        UsageError: as `label_shares`.

    Example:
        >>> shared_classes(np.array([[0.6, 0.1, -0.7], [1.0, -0.5, -0.5]]))
        array([ 1, -1])
    """
    shares = label_shares(labels)
    rows, first = np.arange(len(shares)), np.argmax(shares, axis=1)
    shares[rows, first] = 0.0
    second = np.argmax(shares, axis=1)
    return np.where(shares[rows, second] > 0, second, -1)
