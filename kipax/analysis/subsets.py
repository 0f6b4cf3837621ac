"""Measures how accuracy falls when a part of a support set is taken away."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np

from kipax import ridge as krr
from kipax.analysis.checks import check_labels, check_points, check_symmetric
from kipax.config import check_seed
from kipax.errors import UsageError

__all__ = ["random_parts", "subsampling"]


def random_parts(size: int, share: float, *, draws: int, seed: int = 0) -> list[np.ndarray]:
    """Draws random parts of a support set, without regard to classes.

    Args:
        size: number of images of the set.
        share: share of them that each part keeps, above 0 and at most 1; at least one image.
        draws: number of parts.
        seed: seed of the draws: sets of one size have the same parts.

    Returns:
        Positions of each part, in rising order, ``max(1, round(share * size))`` of them.

    Raises:
        UsageError: a number is out of range.

    Example:
        >>> [len(part) for part in random_parts(10, 0.4, draws=3)]
        [4, 4, 4]

    Source: Nguyen et al. 2021, appendix C.1.
    """
    for name, value in {"size": size, "draws": draws}.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise UsageError(f"{name} is a whole number from 1; got {value!r}.")
    if isinstance(share, bool) or not isinstance(share, numbers.Real) or not 0 < share <= 1:
        raise UsageError(f"share runs from above 0 to 1; got {share!r}.")
    check_seed(seed)
    rng, kept = np.random.default_rng(seed), max(1, round(share * size))
    return [np.sort(rng.permutation(size)[:kept]) for _ in range(draws)]


def subsampling(
    k_ss: np.ndarray,
    k_ts: np.ndarray,
    labels: np.ndarray,
    classes: np.ndarray,
    *,
    parts: Sequence[np.ndarray],
    ridge: float,
) -> np.ndarray:
    """Measures the test accuracy of kernel ridge regression on parts of a support set.

    Args:
        k_ss: kernel of the support set ``(s, s)``.
        k_ts: kernel of test images with it ``(t, s)``.
        labels: labels of the support set ``(s, classes)``.
        classes: classes of the test images ``(t,)``.
        parts: positions of the images of each part, such as those of `random_parts`.
        ridge: relative ridge, as in `kipax.ridge.solve`; relative to the kernel of the part.

    Returns:
        Accuracies ``(parts,)``, from 0 to 1.

    Raises:
        UsageError: shapes do not fit, a part is empty or names an image that is not there.
        FailedRunError: as `kipax.ridge.solve`.

    Cost: for a part of m images m^3 / 3 + 2 t m classes operations.

    Example:
        >>> k, y = np.eye(2), np.array([[0.5, -0.5], [-0.5, 0.5]])
        >>> subsampling(k, k, y, np.array([0, 1]), parts=[[0, 1], [0]], ridge=1e-6)
        array([1. , 0.5])

    Source: Nguyen et al. 2021, appendix C.1 and Figure A1.
    """
    kernel = check_symmetric(k_ss)
    size = len(kernel)
    y, targets = check_labels(labels, size), check_points(k_ts, "the entries of k_ts")
    if targets.shape[1] != size:
        raise UsageError(f"k_ts has a column for each of the {size} images; got {np.shape(k_ts)}.")
    if not len(parts):
        raise UsageError("subsampling needs at least one part; got none: see random_parts.")
    accuracies = []
    for part in map(np.asarray, parts):
        _check_part(part, size)
        alpha = krr.solve(kernel[np.ix_(part, part)], y[part], ridge=ridge).alpha
        accuracies.append(krr.accuracy(krr.predict(targets[:, part], alpha), classes))
    return np.array(accuracies)


def _check_part(part: np.ndarray, size: int) -> None:
    if part.dtype.kind not in "iu" or part.ndim != 1 or not part.size:
        raise UsageError(f"a part holds positions of images; got {part.tolist()!r}.")
    if part.min() < 0 or part.max() >= size:
        raise UsageError(
            f"a part holds positions from 0 to {size - 1}; got {part.min()} to {part.max()}."
        )
