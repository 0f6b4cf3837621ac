"""Sources made of other sources: blends and concatenations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kipax.errors import UsageError
from kipax.kd.sources.base import Source, classes_of

__all__ = ["Blend", "Concatenation", "Join"]


class _Turn(NamedTuple):
    """The images that come from one of several sources.

    Attributes:
        here: which of the images come from it, bool ``(n,)``.
        own: their indices in it ``(n,)``; those of the other images have no meaning.
    """

    here: np.ndarray
    own: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Blend:
    """``weight * first + (1 - weight) * second``, image by image.

    Source: Asano & Saeed 2023, table 11.
    """

    weight: float
    first: Source
    second: Source

    @property
    def name(self) -> str:
        """Its name on a command line."""
        return f"blend:{self.weight:g}:{self.first.name},{self.second.name}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """Both sources; see `kipax.kd.sources.base.parts_of`."""
        return self.first, self.second

    @property
    def size(self) -> int | None:
        """The smaller of both sizes; None if both are unlimited."""
        return min((s.size for s in (self.first, self.second) if s.size is not None), default=None)

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """Blends the images of both sources, drawn with different seeds."""
        one, two = self.first.images(index, seed=seed), self.second.images(index, seed=seed + 1)
        return self.weight * one + (1 - self.weight) * two

    def describe(self) -> str:
        """Returns both shares and sources."""
        return (
            f"{self.weight:g} of {self.first.describe()}, and {1 - self.weight:g} of "
            f"{self.second.describe()}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Concatenation:
    """Images of several sources in turn: one of the first, one of the second, and so on."""

    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        """Its name on a command line."""
        return "concat:" + ",".join(source.name for source in self.sources)

    @property
    def size(self) -> int | None:
        """The smallest source's size times the number of sources; None if all are unlimited."""
        sizes = [source.size for source in self.sources if source.size is not None]
        return min(sizes) * len(self.sources) if sizes else None

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """Takes each image from the source whose turn it is."""
        seeds = [seed + number for number in range(len(self.sources))]
        return _images(self.sources, self._turns(index), seeds)

    def classes(self, index: np.ndarray) -> np.ndarray | None:
        """Returns the labels of the images; see `kipax.kd.sources.base.classes_of`."""
        return _classes(self.sources, self._turns(index))

    def describe(self) -> str:
        """Returns the sources in their order."""
        cut = ""
        if self.size is not None and any(s.size != self.sources[0].size for s in self.sources):
            cut = f"{self.size // len(self.sources):,} of each, as many as the smallest has: "
        return "in turn " + cut + "; ".join(source.describe() for source in self.sources)

    def _turns(self, index: np.ndarray) -> list[_Turn]:
        count = len(self.sources)
        return [_Turn(index % count == number, index // count) for number in range(count)]


@dataclasses.dataclass(frozen=True, eq=False)
class Join:
    """All images of the first source, then all of the second, and so on.

    Raises:
        UsageError: the number of a source's images is not limited.
    """

    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        for source in self.sources:
            if source.size is None:
                raise UsageError(
                    f"join takes sources of a known number of images; {source.name} has no end: "
                    "take concat."
                )

    @property
    def name(self) -> str:
        """Its name on a command line."""
        return "join:" + ",".join(source.name for source in self.sources)

    @property
    def size(self) -> int:
        """The sum of the sources' sizes."""
        return int(self._starts[-1])

    @property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(source.size or 0 for source in self.sources)])

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """Returns the images; each comes from the source whose range its index falls in."""
        return _images(self.sources, self._turns(index), [seed] * len(self.sources))

    def classes(self, index: np.ndarray) -> np.ndarray | None:
        """Returns the labels of the images; see `kipax.kd.sources.base.classes_of`."""
        return _classes(self.sources, self._turns(index))

    def describe(self) -> str:
        """Returns the sources in their order."""
        return "together " + "; ".join(source.describe() for source in self.sources)

    def _turns(self, index: np.ndarray) -> list[_Turn]:
        bounds = zip(self._starts[:-1], self._starts[1:], strict=True)
        return [_Turn((index >= low) & (index < high), index - low) for low, high in bounds]


def _images(sources: Sequence[Source], turns: Sequence[_Turn], seeds: Sequence[int]) -> np.ndarray:
    """Returns the images that `turns` assigns to several sources, in their common order."""
    made = [
        (here, source.images(own[here], seed=seed))
        for source, (here, own), seed in zip(sources, turns, seeds, strict=True)
        if here.any()
    ]
    out = np.zeros((len(turns[0].here), *made[0][1].shape[1:]), np.float32)
    for here, images in made:
        out[here] = images
    return out


def _classes(sources: Sequence[Source], turns: Sequence[_Turn]) -> np.ndarray | None:
    """Returns the labels of images of several sources, -1 where a source has none."""
    out, known = np.full(len(turns[0].here), -1), False
    for source, (here, own) in zip(sources, turns, strict=True):
        found = classes_of(source, own[here])
        if found is not None:
            out[here], known = found, True
    return out if known else None
