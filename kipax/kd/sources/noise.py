"""Noise, uniform or with the statistics of the teacher's images."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import UsageError
from kipax.kd.sources.base import ImageSpace, draw_in_chunks

__all__ = ["Noise"]


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """A source of images with independent pixels.

    Attributes:
        space: the images that the teacher takes.
        kind: ``normal`` with the mean and deviation of each channel of the teacher's training
            images, cut off at their range (Frank & Davis 2025); ``uniform`` over their range.

    Raises:
        UsageError: normal noise for a teacher with unknown statistics.
    """

    space: ImageSpace
    kind: str = "normal"
    size: int | None = None

    def __post_init__(self) -> None:
        if self.kind == "normal" and not self.space.mean:
            raise UsageError(
                "the teacher does not say mean and deviation of its training images, which "
                "normal noise needs: take --source=noise:uniform."
            )

    @property
    def name(self) -> str:
        """Its name on a command line."""
        return "noise" if self.kind == "normal" else f"noise:{self.kind}"

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """Draws pixels of the source's kind of noise."""
        chunks = list(draw_in_chunks(index, seed, self._draw))
        return np.concatenate(chunks).astype(np.float32)

    def _draw(self, keys: jax.Array) -> jax.Array:
        space = self.space
        if self.kind == "uniform":
            draw = lambda k: jax.random.uniform(k, space.shape)  # noqa: E731
            return space.low + (space.high - space.low) * jax.vmap(draw)(keys)
        mean, deviation = jnp.array(space.mean), jnp.array(space.deviation)
        drawn = jax.vmap(lambda k: jax.random.normal(k, space.shape))(keys)
        return jnp.clip(mean + deviation * drawn, space.low, space.high)

    def describe(self) -> str:
        """Returns the kind of noise and its range."""
        if self.kind == "uniform":
            return f"uniform noise from {self.space.low:g} to {self.space.high:g}"
        return "normal noise with the teacher's statistics, cut off at its range"
