"""Regularised ZCA whitening: that of the official notebooks and that of the paper's text.

Both standardise over the training set, normalise each image by itself (the layer
normalisation) and multiply by a symmetric matrix ``W`` that evens out the spectrum. They
differ in the standardisation, in the divisor of an image, and in the matrix that gives ``W``:
see `ZCA` and `ZCAPaper`.

Cost of a fit: n d^2 for the second moment and about 10 d^3 for its eigenvectors, d = H W C
(for 50,000 images of 32 x 32 x 3 half a minute on two cores); of `apply`: d^2 for each image.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from kipax.data.preprocessing import Standard
from kipax.errors import UsageError

__all__ = ["ZCA", "ZCAPaper", "check_lambda"]

_ROWS = 500  # number of images treated at once
_CONSTANT = 1e-6  # an image whose standard deviation is below this counts as constant


def check_lambda(zca_lambda: float) -> None:
    """Raises a `UsageError` unless the regularisation is positive and finite."""
    if not 0 < zca_lambda < np.inf:
        raise UsageError(
            "zca_lambda must be positive, since layer-normalised images sum to zero, so that "
            f"their second moment is singular; got {zca_lambda}: the paper uses 0.1 or 100."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ZCA:
    """Regularised ZCA as the official notebooks compute it; the released sets need it.

    With d = H W C, x a raw image, ``mean`` and ``std`` per channel::

        u = flatten((x - mean) / std)
        v = (u - average(u)) / norm(u - average(u))          layer normalisation
        M = sum over training images of v v^T / n            uncentred
        M = U diag(mu) U^T,   t = trace(M) / d
        W = U diag((mu + zca_lambda t)^(-1/2)) U^T
        apply(x) = W v

    so that the second moment of the whitened training images has the eigenvalues
    ``mu / (mu + zca_lambda t)``. Special cases: a constant image becomes zero, a constant
    channel has std 1; with fewer images than features (n < d) the d - n smallest eigenvalues'
    factors are 1 instead, as in the notebook.

    Attributes:
        standard: per-channel standardisation, with the range of the raw pixels.
        matrix: ``W``, float32 ``(d, d)``, symmetric.
        zca_lambda: regularisation relative to the mean eigenvalue.
        typical: average and norm of a typical image (medians), for pictures of images that are
            not real images.

    Source: the official notebook ``nn_training.ipynb``; Shankar et al. 2020.
    """

    name: ClassVar[str] = "zca"
    standard: Standard
    matrix: np.ndarray
    zca_lambda: float
    typical: np.ndarray

    @classmethod
    def fit(
        cls, x: np.ndarray, *, zca_lambda: float, standardise_on: np.ndarray | None = None
    ) -> ZCA:
        """Fits to raw training images; sums the second moment in float64, some images at a time.

        Args:
            x: images ``(n, H, W, C)``.
            zca_lambda: positive.
            standardise_on: images for ``mean`` and ``std`` instead of `x`; the official
                notebook takes all 50,000 for these and the first 45,000 for the matrix.

        Raises:
            UsageError: `zca_lambda` is not positive, or every image is constant.
        """
        check_lambda(zca_lambda)
        standard = cls._fit_standard(x if standardise_on is None else standardise_on)
        moment, statistics = np.zeros((x[0].size,) * 2), []
        for batch in _batches(x):
            u = standard.standardise(batch).reshape(len(batch), -1)
            v, part = cls._normalise(u)
            statistics.append(part)
            w = cls._moment_of(u, v)
            moment += w.T @ w
        matrix = cls._whitening(moment / len(x), len(x), zca_lambda)
        typical = np.median(np.concatenate(statistics), axis=0)
        return cls(standard, matrix.astype(np.float32), float(zca_lambda), typical)

    # -- what the two variants do differently ----------------------------------------------

    @staticmethod
    def _fit_standard(x: np.ndarray) -> Standard:
        return Standard.fit(x)

    @staticmethod
    def _size(centred: np.ndarray) -> np.ndarray:
        """Returns the divisor of each centred, flattened image."""
        return np.linalg.norm(centred, axis=1)

    @staticmethod
    def _moment_of(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Returns the rows whose second moment gives the matrix."""
        return v

    _TAIL_IS_ONE: ClassVar[bool] = True

    # -- shared ----------------------------------------------------------------------------

    @classmethod
    def _whitening(cls, moment: np.ndarray, images: int, zca_lambda: float) -> np.ndarray:
        values, vectors = np.linalg.eigh(moment)  # ascending
        values, mean = np.maximum(values, 0.0), np.trace(moment) / len(moment)
        if not mean > 0:
            raise UsageError("ZCA needs images that are not constant; every one given is.")
        factors = (values + zca_lambda * mean) ** -0.5
        if cls._TAIL_IS_ONE and images < len(moment):
            factors[: len(moment) - images] = 1.0
        return (vectors * factors) @ vectors.T

    @classmethod
    def _normalise(cls, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the layer-normalised rows, and their averages and sizes ``(n, 2)``."""
        average = u.mean(axis=1, keepdims=True)
        centred = u - average
        constant = centred.std(axis=1) < _CONSTANT
        size = np.where(constant, 1.0, cls._size(centred))
        centred[constant] = 0.0
        return centred / size[:, None], np.stack([average[:, 0], size], axis=1)

    @property
    def low(self) -> float:
        """Smallest training pixel, in raw units."""
        return self.standard.low

    @property
    def high(self) -> float:
        """Largest training pixel, in raw units."""
        return self.standard.high

    @property
    def settings(self) -> dict[str, Any]:
        """The settings: the regularisation ``zca_lambda``."""
        return {"zca_lambda": self.zca_lambda}

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Returns the whitened images, float32; standardises in float64, multiplies in float32.

        Raises:
            UsageError: the images do not have the fitted shape.
        """
        out = np.empty(np.shape(x), np.float32)
        for start in range(0, len(x), _ROWS):
            v, _ = self._normalise(self._standardise(x[start : start + _ROWS]))
            part = out[start : start + len(v)]
            part[...] = (v.astype(np.float32) @ self.matrix).reshape(part.shape)
        return out

    def statistics(self, x: np.ndarray) -> np.ndarray:
        """Returns average and size of each standardised image, which `apply` removes."""
        return self._normalise(self._standardise(x))[1].astype(np.float32)

    def invert(self, x: np.ndarray, statistics: np.ndarray | None = None) -> np.ndarray:
        """Returns ``((W^-1 x) size + average) std + mean``, float32; see `Preprocessor.invert`."""
        x = np.asarray(x, np.float64)
        known = np.broadcast_to(self.typical, (len(x), 2)) if statistics is None else statistics
        v = x.reshape(len(x), -1) @ self._inverse
        u = (v * known[:, 1:] + known[:, :1]).reshape(x.shape)
        return self.standard.invert(u)

    @functools.cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(self.matrix.astype(np.float64))

    def _standardise(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if x.ndim != 4 or x[:1].size not in (0, len(self.matrix)):
            raise UsageError(
                f"this whitening takes images of {len(self.matrix)} values; got the shape "
                f"{x.shape}."
            )
        return self.standard.standardise(x).reshape(len(x), -1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays by name, for a file."""
        scalars = {"lambda": np.array(self.zca_lambda), "typical": self.typical}
        return self.standard.to_arrays() | scalars | {"matrix": self.matrix}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ZCA:
        """Returns the preprocessor that `to_arrays` wrote."""
        matrix = arrays["matrix"]
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"its matrix has the shape {matrix.shape}")
        if not (np.all(np.diag(matrix) > 0) and np.allclose(matrix, matrix.T, atol=1e-3)):
            raise ValueError("its matrix is not symmetric with a positive diagonal")
        scale, typical = arrays["lambda"], arrays["typical"]
        if scale.shape != () or typical.shape != (2,):
            raise ValueError(
                f"its lambda and typical have the shapes {scale.shape}, {typical.shape}"
            )
        return cls(Standard.from_arrays(arrays), matrix, float(scale), typical)


class ZCAPaper(ZCA):
    """Regularised ZCA as described in the paper's appendix A.

    It differs from `ZCA` in four points: ``mean`` and ``std`` are per feature (a constant feature
    has std 1), the matrix is that of the standardised images before the layer normalisation, an
    image is divided by its standard deviation instead of its norm, and n < d is no exception::

        u = flatten((x - mean) / std)                        each feature
        C = sum over training images of u u^T / n
        C = U diag(mu) U^T,   t = trace(C) / d
        W = U diag((mu + zca_lambda t)^(-1/2)) U^T
        apply(x) = W (u - average(u)) / deviation(u)

    Source: Nguyen et al. 2021, appendix A.
    """

    name: ClassVar[str] = "zca_paper"
    _TAIL_IS_ONE: ClassVar[bool] = False

    @staticmethod
    def _fit_standard(x: np.ndarray) -> Standard:
        total, square = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
        for batch in _batches(x):
            total += batch.sum(axis=0)
        mean = total / len(x)
        for batch in _batches(x):
            square += ((batch - mean) ** 2).sum(axis=0)
        std = np.sqrt(square / len(x))
        return Standard(mean, np.where(std > 0, std, 1.0), float(x.min()), float(x.max()))

    @staticmethod
    def _size(centred: np.ndarray) -> np.ndarray:
        return centred.std(axis=1)

    @staticmethod
    def _moment_of(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return u


def _batches(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(x), _ROWS):
        yield x[start : start + _ROWS].astype(np.float64)
