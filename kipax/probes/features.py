"""Checks and scales features of images for the probes."""

from __future__ import annotations

import numpy as np

from kipax.errors import UsageError
from kipax.networks import TrainedNetwork

__all__ = [
    "COLLAPSED",
    "check_features",
    "column_moments",
    "count_classes",
    "features_of",
    "normalise",
    "relative_variance",
    "standardise",
]

_PART = 5000  # images that are preprocessed at once
COLLAPSED = 1e-6  # relative variance below which features are as good as constant
_EPSILON = 1e-5  # added to variances; Koohpayegani et al. 2020, the authors' code


def features_of(network: TrainedNetwork, raw: np.ndarray) -> np.ndarray:
    """Returns the features ``(n, d)`` of raw images, in evaluation mode.

    Running averages of a batch normalisation stay, and each image has its features whatever the
    others are.

    Args:
        network: a trained network.
        raw: images ``(n, H, W, C)`` in its units.
    """
    parts = []
    for start in range(0, len(raw), _PART):
        inputs = network.preprocessor.apply(raw[start : start + _PART])
        parts.append(np.asarray(network.outputs(inputs).penultimate).reshape(len(inputs), -1))
    return np.concatenate(parts)


def check_features(
    features: np.ndarray, classes: np.ndarray, *, like: np.ndarray | None = None
) -> None:
    """Raises a `UsageError` unless every image has a row of finite features and a class.

    Args:
        features: should be ``(n, d)``.
        classes: should be whole numbers ``(n,)``, from 0 on.
        like: other features, of the same d.
    """
    shape = np.shape(features)
    if len(shape) != 2 or not len(features) or np.shape(classes) != shape[:1]:
        raise UsageError(
            "a probe needs features (images, numbers) and a class for each image; got "
            f"{shape} and {np.shape(classes)}."
        )
    if like is not None and shape[1] != like.shape[1]:
        raise UsageError(
            f"training and test features are of one length; got {like.shape[1]} and {shape[1]}."
        )
    kind = np.asarray(classes)
    if kind.dtype.kind not in "iu" or kind.min() < 0:
        raise UsageError(f"classes are whole numbers from 0 on; got {kind.dtype} {kind[:5]}.")
    if not np.all(np.isfinite(features)):
        raise UsageError("features must be finite; some are not.")


def count_classes(
    train: np.ndarray, train_classes: np.ndarray, test: np.ndarray, test_classes: np.ndarray
) -> int:
    """Checks the features and classes of training and test images; returns the number of classes.

    Raises:
        UsageError: features and classes do not fit each other; see `check_features`.
    """
    check_features(train, train_classes)
    check_features(test, test_classes, like=train)
    return int(max(np.max(train_classes), np.max(test_classes))) + 1


def normalise(features: np.ndarray) -> np.ndarray:
    """Scales each row of features ``(n, d)`` to length 1, float32; a row of zeros stays."""
    features = np.asarray(features, np.float32)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)


def standardise(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scales features to length 1, then each column to mean 0 and deviation 1 in training.

    Args:
        train: features of training images ``(n, d)``.
        others: further features ``(m, d)``, scaled by the training images' mean and deviation.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, linear evaluation.
    """
    mean, deviation = column_moments(normalise(train))
    return tuple((normalise(part) - mean) / deviation for part in (train, *others))


def column_moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean and the deviation of each column of features ``(n, d)``.

    The deviation is ``sqrt(variance + 1e-5)``, so that a constant column stays finite; rows should
    have a length of about 1.
    """
    return features.mean(axis=0), np.sqrt(features.var(axis=0) + _EPSILON)


def relative_variance(features: np.ndarray) -> float:
    """Returns the variance of features ``(n, d)`` over images as a share of their mean square.

    It runs from 0, where all images have the same features (they have collapsed), to 1.

    Example:
        >>> relative_variance(np.array([[1.0, 1.0], [1.0, -1.0]]))
        0.5
    """
    features = np.asarray(features, np.float64)
    square = float(np.mean(np.sum(features**2, axis=1)))
    return float(np.sum(features.var(axis=0))) / square if square > 0 else 0.0
