"""Preprocessing as fitted, frozen objects: raw pixels in, kernel inputs out, and back.

A preprocessor is fitted on the training images once and then travels with every support
set as plain arrays, so that new images can be treated in the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from kipax.errors import UsageError
from kipax.pixels import channel_moments

__all__ = ["Preprocessor", "Standard", "check_channels"]


class Preprocessor(Protocol):
    """The interface of every preprocessing."""

    @property
    def name(self) -> str:
        """The name in flags and files."""
        ...

    @property
    def low(self) -> float:
        """Smallest training pixel, in raw units."""
        ...

    @property
    def high(self) -> float:
        """Largest training pixel, in raw units."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that were chosen, not fitted; JSON-ready."""
        ...

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Preprocesses raw images ``(n, H, W, C)``, in the training images' units, to float32."""
        ...

    def statistics(self, x: np.ndarray) -> np.ndarray:
        """Returns what `apply` drops of each raw image, float32 ``(n, k)``; k may be 0."""
        ...

    def invert(self, x: np.ndarray, statistics: np.ndarray | None = None) -> np.ndarray:
        """Returns preprocessed images in raw units again, float32, not clipped.

        Args:
            x: preprocessed images ``(n, H, W, C)``.
            statistics: `statistics` of the same images; None for those of a typical image.
        """
        ...

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that `kipax.data.from_arrays` needs."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Standard:
    """Channel-wise standardisation: ``(x - mean) / std``.

    Attributes:
        mean, std: per channel over all training images and positions, float64 ``(C,)``; a
            constant channel has std 1.
        low, high: smallest and largest training pixel, in raw units, for export as pictures.

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
        """Fits to training images ``(n, H, W, C)``, in float64, some images at a time."""
        mean, std = channel_moments(x)
        return cls(mean, np.where(std > 0, std, 1.0), float(x.min()), float(x.max()))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings: an empty mapping."""
        return {}

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Returns ``(x - mean) / std`` as float32.

        Raises:
            UsageError: the images do not have the fitted number of channels.
        """
        out = np.empty(np.shape(x), np.float32)
        for start in range(0, max(1, len(x)), 500):  # float64 takes eight times an image's bytes
            out[start : start + 500] = self.standardise(x[start : start + 500])
        return out

    def standardise(self, x: np.ndarray) -> np.ndarray:
        """Returns ``(x - mean) / std`` as float64; raises as `apply`."""
        x = check_channels(x, self.mean.shape[-1])
        return (x - self.mean) / self.std

    def statistics(self, x: np.ndarray) -> np.ndarray:
        """Returns an array ``(n, 0)``: `apply` drops nothing."""
        return np.zeros((len(x), 0), np.float32)

    def invert(self, x: np.ndarray, statistics: np.ndarray | None = None) -> np.ndarray:
        """Returns ``x * std + mean`` as float32."""
        return (np.asarray(x) * self.std + self.mean).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays by name, for a file."""
        span = np.array([self.low, self.high])
        return {"mean": self.mean, "std": self.std, "range": span}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Standard:
        """Returns the preprocessor that `to_arrays` wrote."""
        mean, std, span = arrays["mean"], arrays["std"], arrays["range"]
        if mean.ndim not in (1, 3) or std.shape != mean.shape or span.shape != (2,):
            raise ValueError(
                f"its mean, std and range have the shapes {mean.shape}, {std.shape}, {span.shape}"
            )
        if not np.all(std > 0):
            raise ValueError("its standard deviations must be positive")
        low, high = span.tolist()
        return cls(mean, std, low, high)


def check_channels(x: np.ndarray, channels: int) -> np.ndarray:
    """Returns `x` if its images have `channels` channels, else raises a `UsageError`."""
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[-1] != channels:
        raise UsageError(
            f"this preprocessing takes images (n, height, width, {channels}); got {x.shape}."
        )
    return x
