"""Measures how accurate kernel regression is within each part of the kernel's spectrum."""

from __future__ import annotations

import numbers
from typing import NamedTuple

import numpy as np

from kipax import ridge
from kipax.analysis.checks import check_labels, kernel_spectrum, rounding_of
from kipax.errors import UsageError

__all__ = ["SpectralBands", "spectral_bands"]


class SpectralBands(NamedTuple):
    """Accuracies of kernel regression within bands of the spectrum.

    Attributes:
        accuracies: test accuracy of each band alone, that of the largest eigenvalues first.
        whole: test accuracy of all bands together, at ridge zero.
        rank: number of eigenvalues above rounding, which the bands divide among them.
    """

    accuracies: tuple[float, ...]
    whole: float
    rank: int


def spectral_bands(
    k_ss: np.ndarray,
    k_ts: np.ndarray,
    labels: np.ndarray,
    classes: np.ndarray,
    *,
    bands: int = 5,
) -> SpectralBands:
    """Measures the test accuracy that each band of a kernel's eigenvalues gives alone.

    With ``k_ss = v diag(w) v^T`` and the eigenvectors ``v_b`` of band b, its scores are
    ``k_ts v_b diag(1 / w_b) v_b^T labels``: regression at ridge zero composed with the projection
    on the band. The bands are contiguous and of equal size (the first ones by one larger where
    the rank is no multiple of `bands`), so five of them hold a fifth of the eigenvalues each.
    Eigenvalues below the rounding of the largest, in the type of `k_ss`, are no part of any band.

    Args:
        k_ss: kernel of the support set ``(s, s)``.
        k_ts: kernel of test images with it ``(t, s)``.
        labels: labels of the support set ``(s, classes)``.
        classes: classes of the test images ``(t,)``.
        bands: number of bands.

    Returns:
        A `SpectralBands`.

    Raises:
        UsageError: the rank is below `bands`, `k_ss` is no kernel, or shapes do not fit.

    Cost: about 10 s^3 + 2 t s (s + classes) operations.

    Example:
        >>> k_ss, labels = np.diag([4.0, 1.0]), np.array([[0.5, -0.5], [-0.5, 0.5]])
        >>> spectral_bands(k_ss, k_ss, labels, np.array([0, 1]), bands=2).accuracies
        (0.5, 1.0)

    Source: Nguyen et al. 2021, section 4 and Figure 8.
    """
    values, vectors = kernel_spectrum(k_ss)
    y = check_labels(labels, len(values))
    rank = int(np.count_nonzero(values > rounding_of(k_ss) * values[0]))
    _check_bands(bands, rank, len(values))
    scores = []
    for band in np.array_split(np.arange(rank), bands):
        alpha = vectors[:, band] @ ((vectors[:, band].T @ y) / values[band, None])
        scores.append(ridge.predict(k_ts, alpha))
    accuracies = tuple(ridge.accuracy(one, classes) for one in scores)
    return SpectralBands(accuracies, ridge.accuracy(np.sum(scores, axis=0), classes), rank)


def _check_bands(bands: int, rank: int, images: int) -> None:
    if isinstance(bands, bool) or not isinstance(bands, numbers.Integral) or bands < 1:
        raise UsageError(f"bands is a whole number from 1; got {bands!r}.")
    if rank < bands:
        raise UsageError(
            f"every band needs an eigenvalue; the kernel of {images} images has the rank "
            f"{rank}, below {bands} bands: take at most {rank} bands, or more distinct images."
        )
