"""Images of another source with the mean and deviation of the teacher's own."""

from __future__ import annotations

import dataclasses

import numpy as np

from kipax.errors import UsageError
from kipax.kd.sources.base import ImageSpace, Source, classes_of

__all__ = ["Matched"]

_FLAT = 1 / 255  # a smaller share of the range is rounding of the pixels rather than contrast


@dataclasses.dataclass(frozen=True, eq=False)
class Matched:
    """Images of another source, moved and scaled to the statistics of the teacher's own.

    ``mean + deviation * (x - m) / s``, cut off at the teacher's range, with the mean m and the
    deviation s of each image and channel. A teacher whose images are half black, for example,
    may put most patches of a photo into one class, and matched patches into many. No paper
    describes this; docs/distil_results.md has what was measured.

    Attributes:
        source: the source of the images.
        space: the images that the teacher takes, with their mean and deviation.

    Raises:
        UsageError: the teacher does not say mean and deviation of its training images.

    Example:
        >>> from kipax.kd.sources import Noise
        >>> space = ImageSpace((8, 8, 1), low=0, high=255, mean=(100,), deviation=(20,))
        >>> image = Matched(Noise(space, "uniform"), space).images(np.arange(1), seed=0)
        >>> float(image.mean().round()), float(image.std().round())
        (100.0, 20.0)
    """

    source: Source
    space: ImageSpace

    def __post_init__(self) -> None:
        if not self.space.mean or not self.space.deviation:
            raise UsageError(
                "the teacher does not say mean and deviation of its training images, which "
                f"{self.name} needs: take {self.source.name}."
            )

    @property
    def name(self) -> str:
        """Its name on a command line."""
        return f"matched:{self.source.name}"

    @property
    def sources(self) -> tuple[Source, ...]:
        """The source that it changes; see `kipax.kd.sources.base.parts_of`."""
        return (self.source,)

    @property
    def size(self) -> int | None:
        """The size of the source."""
        return self.source.size

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """Returns images of the source, each given the mean and deviation of the teacher's images.

        See `Source.images` for the arguments.
        """
        space, images = self.space, self.source.images(index, seed=seed)
        mean = images.mean(axis=(1, 2), keepdims=True)
        deviation = images.std(axis=(1, 2), keepdims=True)
        flat = _FLAT * (space.high - space.low)
        standardised = (images - mean) / np.maximum(deviation, flat)
        matched = np.array(space.mean) + np.array(space.deviation) * standardised
        return np.clip(matched, space.low, space.high).astype(np.float32)

    def classes(self, index: np.ndarray) -> np.ndarray | None:
        """Returns the labels of the images; see `kipax.kd.sources.base.classes_of`."""
        return classes_of(self.source, index)

    def describe(self) -> str:
        """Returns the source and what is done to its images."""
        return (
            f"{self.source.describe()}, each image moved and scaled to the mean and deviation of "
            "the teacher's"
        )
