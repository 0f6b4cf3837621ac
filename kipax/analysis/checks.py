"""Checks the arrays that are given to analyses."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from kipax.errors import UsageError
from kipax.pixels import as_array

__all__ = ["check_labels", "check_points", "check_symmetric", "kernel_spectrum", "rounding_of"]

_NEGATIVE = 1e-3  # of the largest eigenvalue: far above the float32 rounding of a zero one
_ASYMMETRY = 1e-3  # of the largest entry, likewise


def check_points(x: np.ndarray, what: str = "the points") -> np.ndarray:
    """Returns points as float64 ``(n, d)``, each flattened.

    Args:
        x: ``(n, ...)``, such as images.
        what: their name in messages, a plural.

    Raises:
        UsageError: there are none, or they are not finite numbers.
    """
    array = as_array(x, what)
    if array.dtype.kind not in "fiub" or array.ndim < 2 or not array.size:
        raise UsageError(
            f"{what} must be numbers of shape (n, ...); got {array.dtype} of {array.shape}."
        )
    if not np.all(np.isfinite(array)):
        raise UsageError(f"{what} must be finite; some are NaN or infinite.")
    return array.reshape(len(array), -1).astype(np.float64)


def check_symmetric(k: np.ndarray, what: str = "the kernel of the images") -> np.ndarray:
    """Returns a symmetric matrix as float64 ``(n, n)``, with opposite entries made equal.

    Args:
        k: a kernel of points with themselves, or their distances.
        what: its name in messages.

    Raises:
        UsageError: it is not square, not finite or not symmetric.
    """
    array = check_points(k, f"the entries of {what}")
    if np.ndim(k) != 2 or len(array) != array.shape[1]:
        raise UsageError(f"{what} with themselves must be square; got {np.shape(k)}.")
    difference = float(np.abs(array - array.T).max())
    if difference > _ASYMMETRY * np.abs(array).max():
        raise UsageError(
            f"{what} with themselves must be symmetric; opposite entries differ by up to "
            f"{difference:.1e}: compute them from one array of images."
        )
    return 0.5 * (array + array.T)


def check_labels(labels: np.ndarray, rows: int | None = None) -> np.ndarray:
    """Returns labels as float64 ``(n, classes)``.

    Args:
        labels: should be ``(n, classes)``.
        rows: the required n; None accepts any.

    Raises:
        UsageError: they have another shape, or are not finite numbers.
    """
    array = check_points(labels, "the labels")
    if np.ndim(labels) != 2 or (rows is not None and len(array) != rows):
        needed = "n" if rows is None else rows
        raise UsageError(f"labels have the shape ({needed}, classes); got {np.shape(labels)}.")
    return array


def rounding_of(k: np.ndarray) -> float:
    """Returns the relative rounding error of an array's type: 1.2e-7 for float32."""
    kind = np.asarray(k).dtype
    return float(np.finfo(kind if kind.kind == "f" else np.float64).eps)


def kernel_spectrum(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a kernel's eigenvalues ``(n,)``, largest first, and its eigenvectors as columns.

    Args:
        k: kernel of points with themselves ``(n, n)``.

    Raises:
        UsageError: as `check_symmetric`, or an eigenvalue is negative beyond rounding.
    """
    values, vectors = scipy.linalg.eigh(check_symmetric(k))
    if values[0] < -_NEGATIVE * abs(values[-1]):
        raise UsageError(
            f"a kernel has no negative eigenvalues; this one's run from {values[0]:.1e} to "
            f"{values[-1]:.1e}: give k(x, x) of one array x."
        )
    return values[::-1], vectors[:, ::-1]
