"""Sources made of other sources: blends and concatenations."""

from __future__ import annotations

import dataclasses

import numpy as np

from kipax.kd.sources.base import Source

__all__ = ["Blend", "Concatenation"]


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
        count, made = len(self.sources), {}
        for number, source in enumerate(self.sources):
            places = np.flatnonzero(index % count == number)
            if len(places):
                made[number] = places, source.images(index[places] // count, seed=seed + number)
        first = next(iter(made.values()))[1]
        out = np.zeros((len(index), *first.shape[1:]), np.float32)
        for places, images in made.values():
            out[places] = images
        return out

    def describe(self) -> str:
        """Returns the sources in their order."""
        return "in turn " + "; ".join(source.describe() for source in self.sources)
