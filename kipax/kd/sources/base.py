"""`Source`, the interface of sources of images, and `ImageSpace`, the images of a teacher."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import UsageError

__all__ = [
    "Drawn",
    "ImageSpace",
    "Source",
    "draw_in_chunks",
    "fit_pictures",
    "keys_for",
    "luma",
    "parts_of",
]

_CHUNK = 64  # pictures drawn at once


@dataclasses.dataclass(frozen=True)
class ImageSpace:
    """The raw images that a teacher takes.

    Attributes:
        shape: height, width, channels.
        low: the smallest training pixel.
        high: the largest training pixel.
        mean: mean of the training pixels by channel; empty if unknown.
        deviation: standard deviation of the training pixels by channel; empty if unknown.

    Raises:
        UsageError: the shape has not three sides, the range is empty, or the mean or deviation
            have another number of channels or an impossible value.
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
            lowest = 0.0 if name == "deviation" else -math.inf
            if not all(math.isfinite(number) and number >= lowest for number in numbers):
                raise UsageError(
                    f"{name} has finite numbers, a deviation none below 0; got {numbers}."
                )
            plain[name] = numbers
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def to_levels(self, raw: Any) -> Any:
        """Converts raw pixels to levels: `low` to 0 and `high` to 255, not clipped."""
        return (raw - self.low) * (255.0 / (self.high - self.low))

    def from_levels(self, levels: Any) -> Any:
        """Converts levels from 0 to 255 to raw pixels."""
        return self.low + levels * ((self.high - self.low) / 255.0)


class Source(Protocol):
    """Reproducible images: a function of seed and index."""

    @property
    def name(self) -> str:
        """Its name on a command line."""
        ...

    @property
    def size(self) -> int | None:
        """How many different images the source has; None if their number is unlimited."""
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


def classes_of(source: Source, index: np.ndarray) -> np.ndarray | None:
    """Returns the labels of a source's images, if it has a method `classes`.

    Args:
        source: the source.
        index: indices of the images ``(n,)``.

    Returns:
        Class numbers of the teacher ``(n,)``, -1 for images without a label; None if no image of
        the source has a label.
    """
    find = getattr(source, "classes", None)
    return None if find is None else find(index)


def parts_of(source: Source) -> list[Source]:
    """Returns the sources whose images a source is made of, or the source alone.

    A source that is made of others has a property `sources`.
    """
    made_of = getattr(source, "sources", ())
    return [part for one in made_of for part in parts_of(one)] or [source]


def keys_for(index: jax.Array, seed: int) -> jax.Array:
    """Returns a key for each image, a function of the seed and its index alone."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), index)


def draw_in_chunks(index: np.ndarray, seed: int, draw: Callable[[jax.Array], Any]) -> Iterator[Any]:
    """Draws images of any number, 64 at a time, so that one compilation serves all numbers.

    Args:
        index: indices of the images ``(n,)``.
        seed: seed of every random choice.
        draw: ``draw(keys)`` returns an array, or a tree of arrays, with a row for each key.

    Yields:
        The drawn arrays, NumPy, of up to 64 images each.
    """

    def draw_part(start: int) -> Any:
        part = index[start : start + _CHUNK]
        whole = np.pad(part, (0, _CHUNK - len(part)), mode="edge")
        drawn = draw(keys_for(jnp.asarray(whole), seed))
        return jax.tree.map(lambda a: np.asarray(a)[: len(part)], drawn)

    # A picture keeps one core busy; JAX computes without Python's lock.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(draw_part, range(0, len(index), _CHUNK))


def luma(pictures: np.ndarray) -> np.ndarray:
    """Returns the ITU-R 601-2 luma ``(..., 1)`` of red, green and blue ``(..., 3)``."""
    return pictures @ np.array([[0.299], [0.587], [0.114]], np.float32)


def fit_pictures(pictures: np.ndarray, space: ImageSpace, *, stretch: bool) -> np.ndarray:
    """Converts pictures ``(n, H, W, 3)`` from 0 to 1 to a teacher's channels and units.

    Args:
        pictures: red, green, blue.
        space: the images that the teacher takes; with one channel it gets the luma.
        stretch: True stretches each picture over the whole range first, so that a dull part of
            a photo is as strong as a digit.

    Raises:
        UsageError: the teacher's images do not have 1, 3 or 4 channels.
    """
    if space.shape[-1] not in (1, 3, 4):
        raise UsageError(
            f"pictures are drawn with 1, 3 or 4 channels; the teacher's have {space.shape[-1]}: "
            "take noise, or images of its own."
        )
    if space.shape[-1] == 1:
        pictures = luma(pictures)
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
        """Draws the pictures and fits them to the teacher."""
        chunks = draw_in_chunks(index, seed, lambda keys: self.draw(keys, self.space.shape[:2]))
        return np.concatenate(
            [fit_pictures(chunk, self.space, stretch=self.stretch) for chunk in chunks]
        )

    def describe(self) -> str:
        """Returns what the pictures show, and how they were fitted."""
        return f"{self.words}, {_fitted(self.space, stretch=self.stretch)}"


def _fitted(space: ImageSpace, *, stretch: bool) -> str:
    words = "each stretched to" if stretch else "scaled to"
    words += f" the teacher's {space.low:g} to {space.high:g}"
    return words + (", in grey" if space.shape[-1] == 1 else "")
