"""Classifies images by a few labelled ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kipax.errors import UsageError
from kipax.probes.features import check_features
from kipax.probes.neighbours import knn_accuracy

__all__ = ["FewShot", "few_shot", "labelled_part"]


class FewShot(NamedTuple):
    """The result of a few-shot classification.

    Attributes:
        accuracy: mean test accuracy over the draws.
        deviation: its standard deviation; None for one draw.
    """

    accuracy: float
    deviation: float | None


def labelled_part(
    classes: np.ndarray, *, per_class: int | None = None, share: float | None = None, seed: int = 0
) -> np.ndarray:
    """Draws images of each class: a number, or a share of them (at least one).

    Args:
        classes: classes of all images ``(n,)``.
        per_class: number of images of each class, if there are so many.
        share: share of the images of each class, above 0 and at most 1.
        seed: seed of the draw.

    Returns:
        Indices of the drawn images, in rising order.

    Raises:
        UsageError: not exactly one of `per_class` and `share` is given, or it is out of range.
    """
    if (per_class is None) == (share is None):
        raise UsageError(f"either per_class or share is given; got {per_class} and {share}.")
    if per_class is not None and per_class < 1:
        raise UsageError(f"per_class must be positive; got {per_class}.")
    if share is not None and not 0 < share <= 1:
        raise UsageError(f"share runs from above 0 to 1; got {share}.")
    order = np.random.default_rng(seed).permutation(len(classes))
    chosen = []
    for one in np.unique(classes):
        members = order[np.asarray(classes)[order] == one]
        count = per_class or max(1, round((share or 0.0) * len(members)))
        chosen.append(members[:count])
    return np.sort(np.concatenate(chosen))


def few_shot(
    train: np.ndarray,
    train_classes: np.ndarray,
    test: np.ndarray,
    test_classes: np.ndarray,
    *,
    per_class: int | None = None,
    share: float | None = None,
    draws: int = 1,
) -> FewShot:
    """Classifies each test image by the nearest of a few labelled training images.

    Args:
        train: features of training images ``(n, d)``.
        train_classes: their classes ``(n,)``.
        test: features of test images ``(m, d)``.
        test_classes: their classes ``(m,)``.
        per_class: number of labelled images of each class; see `labelled_part`.
        share: share of the images of each class that is labelled.
        draws: number of draws of the labelled images.

    Raises:
        UsageError: features and classes do not fit each other, or a number is out of range.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, table 4 (1-shot with ten draws, 1 %, 10 %).
    """
    check_features(train, train_classes)
    if draws < 1:
        raise UsageError(f"draws must be positive; got {draws}.")
    found = []
    for seed in range(draws):
        part = labelled_part(train_classes, per_class=per_class, share=share, seed=seed)
        found.append(
            knn_accuracy(train[part], np.asarray(train_classes)[part], test, test_classes).accuracy
        )
    deviation = float(np.std(found, ddof=1)) if draws > 1 else None
    return FewShot(float(np.mean(found)), deviation)
