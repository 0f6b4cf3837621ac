"""Pictures of analytic formulae in random colours, turned, zoomed and at a random time."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from kipax.kd.sources.base import ImageSpace, fit_pictures, keys_for
from kipax.kd.sources.fields import FIELDS

__all__ = ["Shaders"]

_TRIES = 8  # for a picture of more than two colours
_CHUNK = 256  # pictures of one formula drawn at once
_TIME = (0.1, 10.0)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _draw(name: str, keys: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Pictures of one formula, ``(n, H, W, 3)`` from 0 to 1."""

    def one(key: jax.Array) -> jax.Array:
        of_turn, of_zoom, of_move, of_time, of_field, of_colour = jax.random.split(key, 6)
        rows, columns = (2 * (jnp.arange(n) + 0.5) / n - 1 for n in shape)
        v, u = jnp.meshgrid(rows, columns, indexing="ij")
        turn = jax.random.uniform(of_turn, (), maxval=2 * jnp.pi)
        zoom = jnp.exp(jax.random.uniform(of_zoom, (), minval=-0.7, maxval=0.7))
        move = jax.random.uniform(of_move, (2,), minval=-0.5, maxval=0.5)
        cos, sin = zoom * jnp.cos(turn), zoom * jnp.sin(turn)
        u, v = cos * u - sin * v + move[0], sin * u + cos * v + move[1]
        time = jax.random.uniform(of_time, (), minval=_TIME[0], maxval=_TIME[1])
        field = FIELDS[name](u, v, time, jax.random.uniform(of_field, (8,)))
        return _colour(jnp.clip(field, 0.0, 1.0), of_colour)

    return jax.vmap(one)(keys)


def _colour(field: jax.Array, key: jax.Array) -> jax.Array:
    """A colour map: each channel a cosine of the field, with its own level, span and phase."""
    of_level, of_span, of_rate, of_phase = jax.random.split(key, 4)
    level = jax.random.uniform(of_level, (3,), minval=0.3, maxval=0.7)
    span = jax.random.uniform(of_span, (3,), minval=0.2, maxval=0.5)
    rate = jax.random.uniform(of_rate, (3,), minval=0.3, maxval=1.5)
    phase = jax.random.uniform(of_phase, (3,))
    return jnp.clip(level + span * jnp.cos(2 * jnp.pi * (rate * field[..., None] + phase)), 0, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Shaders:
    """Pictures of the formulae of `kipax.kd.sources.fields`, in turn by index.

    One of two colours or fewer is drawn again, up to eight times.

    Attributes:
        space: of the teacher.
        stretch: see `kipax.kd.sources.base.fit_pictures`.
    """

    space: ImageSpace
    stretch: bool = False
    size: int | None = None
    name: str = "shaders"

    def images(self, index: np.ndarray, *, seed: int) -> np.ndarray:
        """See `kipax.kd.sources.Source`."""
        out = np.zeros((len(index), *self.space.shape), np.float32)
        names = list(FIELDS)
        for number in np.unique(index % len(names)):
            places = np.flatnonzero(index % len(names) == number)
            for attempt in range(_TRIES):
                if not len(places):
                    break
                pictures = self._pictures(names[number], index[places], seed, attempt)
                out[places] = fit_pictures(jnp.asarray(pictures), self.space, stretch=self.stretch)
                places = places[[_few_colours(picture) for picture in pictures]]
        return out

    def _pictures(self, name: str, index: np.ndarray, seed: int, attempt: int) -> np.ndarray:
        parts = []
        for start in range(0, len(index), _CHUNK):
            part = index[start : start + _CHUNK]
            whole = np.pad(part, (0, _CHUNK - len(part)), mode="edge")  # compiled once
            keys = jax.vmap(jax.random.fold_in, (0, None))(
                keys_for(jnp.asarray(whole), seed), attempt
            )
            parts.append(np.asarray(_draw(name, keys, self.space.shape[:2]))[: len(part)])
        return np.concatenate(parts)

    def describe(self) -> str:
        """See `kipax.kd.sources.Source`."""
        fitted = "stretched" if self.stretch else "scaled"
        return f"pictures of {len(FIELDS)} formulae, {fitted} to the teacher's range"


def _few_colours(picture: np.ndarray) -> bool:
    """Whether a picture has two colours or fewer, at 8 bits a channel."""
    levels = np.rint(255 * picture).astype(np.int64)
    return len(np.unique(levels @ [1, 256, 65536])) <= 2
