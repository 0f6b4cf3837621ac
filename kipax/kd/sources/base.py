"""`Source`, the interface of sources of images, and `ImageSpace`, the images of a teacher."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import UsageError

__all__ = ["Drawn", "ImageSpace", "Source", "fit_pictures", "keys_for"]

_CHUNK = 256  # pictures drawn at once


@dataclasses.dataclass(frozen=True)
class ImageSpace:
    """The raw images that a teacher takes.

    Attributes:
        shape: height, width, channels.
        low: of its training pixels, the smallest.
        high: likewise, the largest.
        mean: of its training pixels by channel; empty where not known.
        deviation: likewise.

    Raises:
        UsageError: no three sides, a range that is none, or statistics of other channels.
    """

    shape: tuple[int, int, int]
    low: float
    high: float
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(int(side) for side in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise UsageError(f"images have height, width and channels; got {self.shape}.")
        low, high = float(self.low), float(self.high)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(f"pixels run from a lower to a higher number; got {low} and {high}.")
        plain = {"shape": shape, "low": low, "high": high}
        for name in ("mean", "deviation"):
            numbers = tuple(float(number) for number in getattr(self, name))
            if len(numbers) not in (0, shape[-1]):
                raise UsageError(
                    f"{name} has a number for each of the {shape[-1]} channels; got {numbers}."
                )
            plain[name] = numbers
        for name, value in plain.items():
            object.__setattr__(self, name, value)


class Source(Protocol):
    """Reproducible images: a function of seed and index."""

    @property
    def name(self) -> str:
        """Its name on a command line."""
        ...

    @property
    def size(self) -> int | None:
        """The number of different images; None if unlimited."""
        ...

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """Returns raw images in the teacher's units, float32 ``(n, H, W, C)``.

        Args:
            index: indices of the images ``(n,)``, below `size` if that is not None.
            seed: seed of every random choice.
        """
        ...

    def describe(self) -> str:
        """Describes the images and how they were made to fit the teacher, in words."""
        ...


def keys_for(index: jax.Array, seed: int) -> jax.Array:
    """Returns a key for each image, a function of the seed and its index alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), index)


def fit_pictures(pictures: np.ndarray, space: ImageSpace, *, stretch: bool) -> np.ndarray:
    """Converts pictures ``(n, H, W, 3)`` from 0 to 1 to a teacher's channels and units.

    Args:
        pictures: red, green, blue.
        space: of the teacher; one channel takes the luma.
        stretch: whether each picture is spread over the whole range first, so that a dull part
            of a photo is as strong as a digit.

    Raises:
        UsageError: the teacher's images have other channels than 1, 3 or 4.
    """
    if space.shape[-1] not in (1, 3, 4):
        raise UsageError(
            f"pictures are drawn with 1, 3 or 4 channels; the teacher's have {space.shape[-1]}: "
            "take noise, or images of its own."
        )
    if space.shape[-1] == 1:
        pictures = pictures @ np.array([[0.299], [0.587], [0.114]], np.float32)
    elif space.shape[-1] == 4:
        pictures = np.concatenate([pictures, np.ones_like(pictures[..., :1])], axis=-1)
    if stretch:
        low = pictures.min(axis=(1, 2, 3), keepdims=True)
        span = pictures.max(axis=(1, 2, 3), keepdims=True) - low
        pictures = np.where(span > 1e-6, (pictures - low) / np.maximum(span, 1e-6), pictures)
    return (space.low + (space.high - space.low) * pictures).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """A source whose pictures are drawn by a function of a key.

    Attributes:
        name: its name on a command line.
        space: the images that the teacher takes.
        draw: ``draw(keys, (H, W))`` returns pictures ``(n, H, W, 3)`` from 0 to 1.
        words: what the pictures show.
        stretch: see `fit_pictures`.
    """

    name: str
    space: ImageSpace
    draw: Callable[[jax.Array, tuple[int, int]], jax.Array]
    words: str
    stretch: bool = False
    size: int | None = None

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """See `Source`."""
        parts = []
        for start in range(0, len(index), _CHUNK):
            part = index[start : start + _CHUNK]
            whole = np.pad(part, (0, _CHUNK - len(part)), mode="edge")  # compiled once
            pictures = self.draw(keys_for(jnp.asarray(whole), seed), self.space.shape[:2])
            own = np.asarray(pictures, np.float32)[: len(part)]
            parts.append(fit_pictures(own, self.space, stretch=self.stretch))
        return np.concatenate(parts)

    def describe(self) -> str:
        """See `Source`."""
        return f"{self.words}, {_fitted(self.space, stretch=self.stretch)}"


def _fitted(space: ImageSpace, *, stretch: bool) -> str:
    words = "each stretched to" if stretch else "scaled to"
    words += f" the teacher's {space.low:g} to {space.high:g}"
    return words + (", in grey" if space.shape[-1] == 1 else "")
