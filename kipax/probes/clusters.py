"""Measures how well clusters of features agree with the classes of the images."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from kipax.probes.features import count_classes, normalise

__all__ = [
    "Alignment",
    "align_clusters",
    "check_scikit_learn",
    "cluster_alignment",
    "find_clusters",
    "nearest_centre",
]

_ITERATIONS = 20


def check_scikit_learn() -> None:
    """Raises an `ImportError` that names the extra if scikit-learn is missing."""
    if importlib.util.find_spec("sklearn") is None:
        raise ImportError("clusters need scikit-learn: pip install 'kipax[analysis]'.")


def find_clusters(features: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Clusters features, scaled to length 1, by k-means; returns the centres ``(count, d)``.

    Args:
        features: ``(n, d)``.
        count: number of clusters.
        seed: seed of the first centres.

    Raises:
        ImportError: scikit-learn is missing; the message names the extra.
    """
    check_scikit_learn()
    from sklearn.cluster import KMeans

    found = KMeans(count, n_init=1, max_iter=_ITERATIONS, random_state=seed)
    return found.fit(normalise(features)).cluster_centers_


class Alignment(NamedTuple):
    """The clusters of images, and how well they agree with the classes.

    Attributes:
        accuracy: the share of test images that lie in the cluster of their class's name.
        clusters: the cluster of each test image ``(m,)``.
        names: the class that names each cluster ``(classes,)``.
    """

    accuracy: float
    clusters: np.ndarray
    names: np.ndarray


def align_clusters(
    train: np.ndarray,
    train_classes: np.ndarray,
    test: np.ndarray,
    test_classes: np.ndarray,
    *,
    seed: int = 0,
) -> Alignment:
    """Clusters training features, names each cluster by a class, and classifies test images.

    k-means finds as many clusters of the training images as there are classes. The score of a
    cluster and a class is the share of the cluster's images that are of the class; the assignment
    of the largest sum names each cluster. A test image gets the name of the nearest centre.

    Args:
        train: features of training images ``(n, d)``.
        train_classes: their classes ``(n,)``.
        test: features of test images ``(m, d)``.
        test_classes: their classes ``(m,)``.
        seed: seed of the first centres.

    Raises:
        UsageError: features and classes do not fit each other.
        ImportError: scikit-learn is missing; the message names the extra.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, section 4, and the authors' code.
    """
    classes = count_classes(train, train_classes, test, test_classes)
    centres = find_clusters(train, classes, seed=seed)
    members = nearest_centre(train, centres)
    score = np.zeros((classes, classes))
    np.add.at(score, (members, np.asarray(train_classes)), 1.0)
    score /= np.maximum(score.sum(axis=1, keepdims=True), 1.0)
    clusters, assigned = linear_sum_assignment(score, maximize=True)
    names = np.empty(classes, int)
    names[clusters] = assigned
    found = nearest_centre(test, centres)
    return Alignment(float(np.mean(names[found] == test_classes)), found, names)


def cluster_alignment(
    train: np.ndarray,
    train_classes: np.ndarray,
    test: np.ndarray,
    test_classes: np.ndarray,
    *,
    seed: int = 0,
) -> float:
    """Returns the accuracy of `align_clusters`, which has the same arguments and errors."""
    return align_clusters(train, train_classes, test, test_classes, seed=seed).accuracy


def nearest_centre(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Finds the centre that is nearest to each row of features, once rows have length 1.

    Args:
        features: ``(n, d)``.
        centres: the result of `find_clusters`.

    Returns:
        The number of the nearest centre of each row ``(n,)``.
    """
    distance = np.sum(centres**2, axis=1) - 2 * normalise(features) @ centres.T
    return np.argmin(distance, axis=1)
