"""Pictures of analytic formulae in random colours, turned, zoomed and at a random time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from kipax.kd.sources.base import ImageSpace, draw_in_chunks, fit_pictures
from kipax.kd.sources.fields import FIELDS

__all__ = ["Shaders"]

_TRIES = 8  # for a picture of more than two colours
_TIME = (0.1, 10.0)


class _Drawn(NamedTuple):
    """The random numbers of each picture."""

    turn: np.ndarray
    zoom: np.ndarray
    move: np.ndarray
    time: np.ndarray
    field: np.ndarray
    level: np.ndarray
    span: np.ndarray
    rate: np.ndarray
    phase: np.ndarray


@jax.jit
def _draw(keys: jax.Array, attempt: jax.Array) -> _Drawn:
    """Draws the numbers of each picture from its key and the number of the attempt."""

    def one(key: jax.Array) -> _Drawn:
        names = jax.random.split(jax.random.fold_in(key, attempt), 9)
        ranges = (
            ((), 0.0, 2 * math.pi),
            ((), -0.7, 0.7),  # of the zoom's logarithm
            ((2,), -0.5, 0.5),
            ((), *_TIME),
            ((8,), 0.0, 1.0),
            ((3,), 0.3, 0.7),
            ((3,), 0.2, 0.5),
            ((3,), 0.3, 1.5),
            ((3,), 0.0, 1.0),
        )
        drawn: list[Any] = [
            jax.random.uniform(k, shape, minval=low, maxval=high)
            for k, (shape, low, high) in zip(names, ranges, strict=True)
        ]
        return _Drawn(*drawn)

    return jax.vmap(one)(keys)


def _paint(name: str, drawn: _Drawn, shape: tuple[int, int]) -> np.ndarray:
    """Returns the pictures of one formula, float32 ``(n, H, W, 3)`` from 0 to 1."""

    def column(numbers: np.ndarray) -> np.ndarray:
        return numbers[:, None, None]

    rows, columns = (np.float32(2 * (np.arange(n) + 0.5) / n - 1) for n in shape)
    v, u = np.meshgrid(rows, columns, indexing="ij")
    zoom = np.exp(drawn.zoom)
    cos, sin = column(zoom * np.cos(drawn.turn)), column(zoom * np.sin(drawn.turn))
    across = cos * u - sin * v + column(drawn.move[:, 0])
    down = sin * u + cos * v + column(drawn.move[:, 1])
    numbers = drawn.field.T[:, :, None, None]
    field = np.clip(FIELDS[name](across, down, column(drawn.time), numbers), 0.0, 1.0)
    return _colour(field[..., None], drawn)


def _colour(field: np.ndarray, drawn: _Drawn) -> np.ndarray:
    """Colours a field: each channel is a cosine of it, with its own level, span and phase."""
    level, span, rate, phase = (
        numbers[:, None, None, :] for numbers in (drawn.level, drawn.span, drawn.rate, drawn.phase)
    )
    turned = np.float32(2 * np.pi) * (rate * field + phase)
    return np.clip(level + span * np.cos(turned), 0, 1).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Shaders:
    """Pictures of the formulae of `kipax.kd.sources.fields`, in turn by index.

    A picture of two colours or fewer is drawn again, up to eight times.

    Attributes:
        space: the images that the teacher takes.
        stretch: see `kipax.kd.sources.base.fit_pictures`.
    """

    space: ImageSpace
    stretch: bool = False
    size: int | None = None
    name: str = "shaders"

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """Draws the pictures and fits them to the teacher."""
        out = np.zeros((len(index), *self.space.shape), np.float32)
        names = list(FIELDS)
        for number in np.unique(index % len(names)):
            places = np.flatnonzero(index % len(names) == number)
            for attempt in range(_TRIES):
                if not len(places):
                    break
                pictures = self._pictures(names[number], index[places], seed, attempt)
                out[places] = fit_pictures(pictures, self.space, stretch=self.stretch)
                places = places[[_few_colours(picture) for picture in pictures]]
        return out

    def _pictures(self, name: str, index: np.ndarray, seed: int, attempt: int) -> np.ndarray:
        chunks = draw_in_chunks(index, seed, lambda keys: _draw(keys, attempt))
        return np.concatenate([_paint(name, drawn, self.space.shape[:2]) for drawn in chunks])

    def describe(self) -> str:
        """Returns the number of formulae, and how the pictures were fitted."""
        fitted = "stretched" if self.stretch else "scaled"
        return f"pictures of {len(FIELDS)} formulae, {fitted} to the teacher's range"


def _few_colours(picture: np.ndarray) -> bool:
    """Returns whether a picture has two colours or fewer, at 8 bits a channel."""
    levels = np.rint(255 * picture).astype(np.int64)
    return len(np.unique(levels @ [1, 256, 65536])) <= 2
