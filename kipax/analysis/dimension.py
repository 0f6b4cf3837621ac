"""Measures how many dimensions a set of points has, in a space of pixels or of gradients."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.spatial.distance import pdist, squareform

from kipax.analysis.checks import check_points, check_symmetric, kernel_spectrum, rounding_of
from kipax.errors import UsageError

__all__ = [
    "TwoNN",
    "distinct_points",
    "gradient_distances",
    "intrinsic_dimension",
    "intrinsic_dimension_of_distances",
    "linear_dimension",
    "linear_dimension_of_kernel",
    "squared_distances",
    "two_nn",
]

_FITTED = 0.9  # share of the ratios that are fitted; Ansuini et al. 2019, the authors' code
_UNFITTED = 2  # ratios that are left out at least; likewise
_ROUNDINGS = 8.0  # roundings that the four operations behind a gradient distance may add up to


class TwoNN(NamedTuple):
    """The result of the Two-NN estimator.

    Attributes:
        dimension: the intrinsic dimension.
        distinct: number of distinct points.
        duplicates: number of points that repeat an earlier one and were left out.
        tied: number of distinct points whose two nearest neighbours are equally near, which say
            nothing and were left out of the fit.
    """

    dimension: float
    distinct: int
    duplicates: int
    tied: int


def intrinsic_dimension(x: np.ndarray) -> float:
    """Estimates the intrinsic dimension of points from their two nearest neighbours (Two-NN).

    With ``mu = r2 / r1``, the distances to the second and the first neighbour of a point, the
    share ``F`` of points whose ratio is at most mu follows ``-log(1 - F) = dimension * log(mu)``
    on a manifold whose density is constant up to the second neighbour. The dimension is the slope
    of the straight line through the origin, fitted by least squares to all but the largest tenth
    of the ratios (and at least the last two).

    Args:
        x: points ``(n, ...)``, such as images; distances are Euclidean.

    Returns:
        The dimension, positive. Few points say little: of a normal distribution in ten dimensions
        nine in ten draws of 10 points gave 4.3 to 14.5, of 100 points 7.3 to 11.1, of 500 points
        8.8 to 10.3.

    Raises:
        UsageError: fewer than three distinct points, ratios that say nothing (as on a grid), or
            values that are not finite.

    Warns:
        UserWarning: points repeat earlier ones; it says how many were left out.

    Cost: n^2 d operations and about 40 n^2 bytes, one core.

    Example:
        >>> plane = np.random.default_rng(0).random((500, 2)) @ np.ones((2, 30))
        >>> round(intrinsic_dimension(plane))
        1

    Source: Facco et al. 2017, Scientific Reports 7, 12140; Ansuini et al. 2019, arXiv:1905.12784,
    and the authors' code; Nguyen et al. 2021, Figure 7.
    """
    return _warned(two_nn(squared_distances(x)))


def intrinsic_dimension_of_distances(squared: np.ndarray) -> float:
    """Estimates the intrinsic dimension of points of which only the distances are known.

    Args:
        squared: squared distances ``(n, n)``, such as those of `gradient_distances`.

    Returns:
        The dimension; see `intrinsic_dimension`, whose errors and warning it shares.

    Raises:
        UsageError: as `intrinsic_dimension`, or the array holds no squared distances.

    Cost: about 10 n^2 operations and 40 n^2 bytes.

    Example:
        >>> x = np.random.default_rng(0).random((500, 2))
        >>> intrinsic_dimension_of_distances(squared_distances(x)) == intrinsic_dimension(x)
        True

    Source: Nguyen et al. 2021, appendix A, equations 4 to 6.
    """
    return _warned(two_nn(squared))


def _warned(found: TwoNN) -> float:
    """Returns the dimension, after a warning of duplicates that names the user's line of code."""
    if found.duplicates:
        warnings.warn(
            f"{found.duplicates} of {found.distinct + found.duplicates} points repeat earlier "
            "ones and were left out.",
            stacklevel=3,
        )
    return found.dimension


def two_nn(squared: np.ndarray) -> TwoNN:
    """Estimates the intrinsic dimension from squared distances, and counts what was left out.

    Args:
        squared: squared distances ``(n, n)``.

    Returns:
        A `TwoNN`; see `intrinsic_dimension` for the formula.

    Raises:
        UsageError: as `intrinsic_dimension_of_distances`.

    Cost: about 10 n^2 operations and 40 n^2 bytes.

    Example:
        >>> x = np.random.default_rng(0).random((40, 3))
        >>> two_nn(squared_distances(np.concatenate([x, x[:2]])))[1:]
        (40, 2, 0)

    Source: Facco et al. 2017; Ansuini et al. 2019.
    """
    squared = _check_squared(squared)
    kept = distinct_points(squared)
    if len(kept) < 3:
        raise UsageError(
            f"an intrinsic dimension needs at least three distinct points; got {len(kept)} of "
            f"{len(squared)}: give more."
        )
    near = squared[np.ix_(kept, kept)]
    np.fill_diagonal(near, np.inf)
    first, second = np.partition(near, 1, axis=1)[:, :2].T
    ratios = np.sort(second / first)
    log_mu = 0.5 * np.log(ratios[ratios > 1.0])
    count = len(log_mu)
    fitted = min(math.floor(_FITTED * count), count - _UNFITTED)
    if fitted < 1:
        raise UsageError(
            f"an intrinsic dimension needs three points whose two nearest neighbours differ in "
            f"distance; got {count} of {len(kept)}, as on a grid: give other points."
        )
    x, y = log_mu[:fitted], -np.log1p(-np.arange(1, fitted + 1) / count)
    dimension = float(x @ y / (x @ x))
    return TwoNN(dimension, len(kept), len(squared) - len(kept), len(kept) - count)


def _check_squared(squared: np.ndarray) -> np.ndarray:
    """Returns squared distances as float64 ``(n, n)``, or raises a `UsageError`."""
    array = check_symmetric(squared, "the squared distances of the points")
    if np.any(array < 0) or np.any(np.diag(array) != 0):
        raise UsageError(
            "squared distances are not negative, and zero from a point to itself; got "
            f"{array.min():.3g} and up to {np.diag(array).max():.3g}: give gradient_distances(k) "
            "for a kernel k."
        )
    return array


def distinct_points(squared: np.ndarray) -> np.ndarray:
    """Returns the positions of the points that repeat no earlier one, in rising order.

    Args:
        squared: squared distances ``(n, n)``; points at distance zero are one.

    Cost: n^2 operations, n^2 bytes.

    Example:
        >>> distinct_points(squared_distances(np.array([[1.0], [2.0], [1.0]])))
        array([0, 1])
    """
    return np.flatnonzero(~np.tril(np.asarray(squared) == 0, -1).any(axis=1))


def squared_distances(x: np.ndarray) -> np.ndarray:
    """Returns the squared Euclidean distances of points, exactly zero for equal ones.

    Args:
        x: points ``(n, ...)``.

    Returns:
        float64 ``(n, n)``, in the square of the points' unit.

    Raises:
        UsageError: the points are not finite numbers.

    Cost: n^2 d operations, 12 n^2 + 8 n d bytes, one core.

    Example:
        >>> squared_distances(np.array([[0.0, 0.0], [3.0, 4.0]]))
        array([[ 0., 25.],
               [25.,  0.]])
    """
    return squareform(pdist(check_points(x), "sqeuclidean"))


def gradient_distances(k: np.ndarray) -> np.ndarray:
    """Returns the squared distances of a wide network's gradients, from its NTK.

    ``k_ii + k_jj - 2 k_ij``, the limit of ``||df(x_i)/dtheta - df(x_j)/dtheta||^2``. A distance
    below the rounding of its terms (eight units of the last place of ``k_ii + k_jj``, in the type
    of `k`) counts as zero.

    Args:
        k: NTK of the points with themselves ``(n, n)``.

    Returns:
        float64 ``(n, n)``, in the unit of the kernel.

    Raises:
        UsageError: `k` is not square, symmetric and finite.

    Cost: about 10 n^2 operations and 40 n^2 bytes.

    Example:
        >>> x = np.array([[0.0, 0.0], [3.0, 4.0]])
        >>> gradient_distances(x @ x.T)
        array([[ 0., 25.],
               [25.,  0.]])

    Source: Nguyen et al. 2021, appendix A, equations 4 to 6.
    """
    kernel = check_symmetric(k)
    own = np.diag(kernel)
    both = own[:, None] + own[None, :]
    squared = both - 2.0 * kernel
    return np.where(squared > _ROUNDINGS * rounding_of(k) * np.abs(both), squared, 0.0)


def linear_dimension(x: np.ndarray, share: float = 0.9) -> int:
    """Counts the principal components that explain a share of the variance of points.

    The smallest m such that the m largest eigenvalues of the covariance matrix add up to at least
    `share` of its trace.

    Args:
        x: points ``(n, ...)``, such as images; their mean is taken away.
        share: share of the variance, above 0 and at most 1.

    Returns:
        From 1 to the smaller of n - 1 and d.

    Raises:
        UsageError: `share` is out of range, all points are equal, or values are not finite.

    Cost: about 4 n d min(n, d) operations, 16 n d bytes.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 5)) * [3.0, 3.0, 0.1, 0.1, 0.1]
        >>> linear_dimension(x)
        2

    Source: Nguyen et al. 2021, appendix A (Figures A3 and A4).
    """
    points = check_points(x)
    if np.all(points == points[0]):
        raise UsageError(f"a linear dimension needs points that differ; all {len(points)} agree.")
    centred = points - points.mean(axis=0)
    return _count_components(scipy.linalg.svdvals(centred) ** 2, share)


def linear_dimension_of_kernel(k: np.ndarray, share: float = 0.9) -> int:
    """Counts the principal components of points that a kernel describes (kernel PCA).

    The kernel is centred, ``h k h`` with ``h = I - 1/n``, as a covariance matrix is: its non-zero
    eigenvalues are n times those of the covariance of the points' features, which are gradients
    where `k` is an NTK. The paper does not say whether it centres; without it the mean gradient
    alone would take 77 to 92 % of the three shipped sets' kernels that are not whitened.

    Args:
        k: kernel of the points with themselves ``(n, n)``.
        share: share of the variance, above 0 and at most 1.

    Returns:
        From 1 to n - 1.

    Raises:
        UsageError: `share` is out of range, all points are equal, or `k` is no kernel.

    Cost: about 10 n^3 operations and 40 n^2 bytes.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(20, 3))
        >>> linear_dimension_of_kernel(x @ x.T) == linear_dimension(x)
        True

    Source: Nguyen et al. 2021, appendix A (Figures A3 and A4).
    """
    kernel = check_symmetric(k)
    mean = kernel.mean(axis=0)
    centred = kernel - mean[:, None] - mean[None, :] + mean.mean()
    if np.trace(centred) <= _ROUNDINGS * rounding_of(k) * np.trace(np.abs(kernel)):
        raise UsageError(f"a linear dimension needs points that differ; all {len(kernel)} agree.")
    return _count_components(kernel_spectrum(centred)[0], share)


def _count_components(variances: np.ndarray, share: float) -> int:
    """Counts how many of the largest variances together reach a share of the sum of all."""
    real = isinstance(share, numbers.Real) and not isinstance(share, bool)
    if not real or not 0 < share <= 1:
        raise UsageError(f"share runs from above 0 to 1; got {share!r}.")
    summed = np.cumsum(np.maximum(variances, 0.0))
    # A factor just below 1 lets a share of 1 be reached in spite of rounding.
    return int(np.searchsorted(summed, share * summed[-1] * (1 - 1e-12))) + 1
