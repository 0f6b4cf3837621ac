"""Checks the parts of a support set, each alone and together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kipax.errors import UsageError
from kipax.pixels import as_array

if TYPE_CHECKING:
    from kipax.support import SupportSet

__all__ = ["as_finite_single", "check_parts"]


def as_finite_single(value: Any, name: str) -> np.ndarray:
    """Copies to float32; raises for numbers that are not finite and for images of integers.

    Args:
        value: the array from the user.
        name: ``images``, ``labels`` or ``statistics``.

    Raises:
        UsageError: the message says what the array must hold.
    """
    array = as_array(value, name)
    kinds, words = "fiub", "numbers"
    if name == "images":
        kinds, words = "f", "floating-point numbers"
    with np.errstate(over="ignore"):
        single = array.astype(np.float32) if array.dtype.kind in kinds else None
    if single is None or not np.all(np.isfinite(single)):
        raise UsageError(f"{name} of a support set must be finite {words}; got {array.dtype}.")
    return single


def check_parts(support: SupportSet) -> None:
    """Raises a `UsageError` unless images, labels, statistics and metadata fit together."""
    images, labels = support.images, support.labels
    _check_class_names(support.metadata)
    if not len(images):
        raise UsageError("a support set has at least one image.")
    if images.ndim != 4 or labels.ndim != 2 or len(images) != len(labels):
        raise UsageError(
            "a support set has images (n, height, width, channels) and labels (n, classes); "
            f"got {images.shape} and {labels.shape}."
        )
    if labels.shape[1] != len(support.class_names):
        raise UsageError(
            f"labels have {labels.shape[1]} classes but there are "
            f"{len(support.class_names)} class names."
        )
    statistics, pictures = support.statistics, support.pictures
    if statistics is not None and (statistics.ndim != 2 or len(statistics) != len(images)):
        raise UsageError(
            f"statistics have the shape ({len(images)}, k), a row an image; got {statistics.shape}."
        )
    if pictures is not None and (pictures.shape != images.shape or pictures.dtype != np.uint8):
        raise UsageError(
            f"pictures are uint8 of the images' shape {images.shape}; got "
            f"{pictures.dtype} {pictures.shape}."
        )


def _check_class_names(metadata: Any) -> None:
    names = metadata.get("class_names") if isinstance(metadata, Mapping) else None
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise UsageError(f"metadata of a support set lacks 'class_names', texts; got {names!r}.")
