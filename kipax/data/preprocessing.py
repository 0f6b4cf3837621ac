"""Preprocessing as fitted, frozen objects: raw pixels in, kernel inputs out, and back.

A preprocessor is fitted on the training images once and then travels with every support
set as plain arrays, so that whoever loads the set can treat new images alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import numpy as np

from kipax.errors import FileError, UsageError, check_choice

__all__ = ["Preprocessor", "Standard", "fit_preprocessor", "from_arrays", "hash_arrays", "names"]


class Preprocessor(Protocol):
    """What every preprocessing offers."""

    name: ClassVar[str]

    @property
    def low(self) -> float:
        """Smallest training pixel, in raw units."""
        ...

    @property
    def high(self) -> float:
        """Largest training pixel, in raw units."""
        ...

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Raw images ``(n, H, W, C)``, in the units of the training images, to float32."""
        ...

    def invert(self, x: np.ndarray) -> np.ndarray:
        """Preprocessed images back to raw units, float32, not clipped."""
        ...

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything that `from_arrays` needs."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Standard:
    """Channel-wise standardisation: ``(x - mean) / std``.

    Attributes:
        mean, std: per channel over all training images and positions, float64 ``(C,)``; a
            constant channel has std 1.
        low, high: smallest and largest training pixel, in raw units; for export as pictures.

    Example:
        >>> pixels = np.array([0.0, 2.0]).reshape(1, 1, 2, 1)
        >>> Standard.fit(pixels).apply(pixels).ravel().tolist()
        [-1.0, 1.0]

    Source: Nguyen et al. 2021, appendix A (standard preprocessing).
    """

    name: ClassVar[str] = "standard"
    mean: np.ndarray
    std: np.ndarray
    low: float
    high: float

    @classmethod
    def fit(cls, x: np.ndarray) -> Standard:
        """Fits to training images ``(n, H, W, C)``; streams, in float64."""
        mean = _stream_mean(x, lambda batch: batch)
        std = np.sqrt(_stream_mean(x, lambda batch: (batch - mean) ** 2))
        return cls(mean, np.where(std > 0, std, 1.0), float(x.min()), float(x.max()))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """``(x - mean) / std`` as float32.

        Raises:
            UsageError: the images do not have the fitted number of channels.
        """
        x = np.asarray(x)
        if x.ndim != 4 or x.shape[-1] != len(self.mean):
            raise UsageError(
                f"this preprocessing takes images (n, height, width, {len(self.mean)}); got "
                f"{x.shape}."
            )
        return ((x - self.mean) / self.std).astype(np.float32)

    def invert(self, x: np.ndarray) -> np.ndarray:
        """``x * std + mean`` as float32."""
        return (np.asarray(x) * self.std + self.mean).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a file."""
        span = np.array([self.low, self.high])
        return {"mean": self.mean, "std": self.std, "range": span}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Standard:
        """The preprocessor that `to_arrays` wrote."""
        low, high = arrays["range"].tolist()
        return cls(arrays["mean"], arrays["std"], low, high)


def _stream_mean(x: np.ndarray, f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Mean of ``f(x)`` per channel, 1,000 images at a time, in float64."""
    total = np.zeros(x.shape[-1])
    for start in range(0, len(x), 1000):
        total += f(x[start : start + 1000].astype(np.float64)).sum(axis=(0, 1, 2))
    return total / (x.size / x.shape[-1])


_PREPROCESSORS = {"standard": Standard}


def names() -> tuple[str, ...]:
    """Names of the preprocessings."""
    return tuple(_PREPROCESSORS)


def fit_preprocessor(name: str, x_train: np.ndarray) -> Preprocessor:
    """Fits the preprocessing called `name` to training images.

    Raises:
        UsageError: unknown name; the message lists the choices.
    """
    check_choice("preprocessing", name, names())
    return _PREPROCESSORS[name].fit(x_train)


def from_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Preprocessor:
    """Restores a fitted preprocessor from a file's arrays.

    Raises:
        FileError: unknown name or missing or misshapen arrays.
    """
    if name not in _PREPROCESSORS:
        raise FileError(f"unknown preprocessing {name!r}: written by a newer kipax?")
    try:
        return _PREPROCESSORS[name].from_arrays(arrays)
    except (KeyError, ValueError) as error:
        raise FileError(f"the {name} preprocessing is incomplete: {error}.") from error


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of named arrays: names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {a.dtype.str} {a.shape}\n".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()
