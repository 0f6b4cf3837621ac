"""Fractals: the attractors of random iterated function systems."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

__all__ = ["draw_fractals"]

_MAPS = 4
_POINTS, _STEPS, _BURNT = 128, 80, 20  # points that wander, how often, and before they count


def _picture(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    of_maps, of_norms, of_moves, of_steps, of_colours = jax.random.split(key, 5)
    matrices = jax.random.uniform(of_maps, (_MAPS, 2, 2), minval=-1.0, maxval=1.0)
    # Every map contracts, so that there is an attractor.
    norms = jnp.linalg.norm(matrices, axis=(1, 2), keepdims=True)
    sizes = jax.random.uniform(of_norms, (_MAPS, 1, 1), minval=0.5, maxval=1.1)
    matrices = matrices / norms * sizes
    moves = jax.random.uniform(of_moves, (_MAPS, 2), minval=-1.0, maxval=1.0)
    weights = jnp.log(jnp.abs(jnp.linalg.det(matrices)) + 0.01)

    def step(points: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen = jax.random.categorical(key, weights, shape=(_POINTS,))
        points = jnp.einsum("nij,nj->ni", matrices[chosen], points) + moves[chosen]
        return points, points

    keys = jax.random.split(of_steps, _STEPS)
    _, path = jax.lax.scan(step, jnp.zeros((_POINTS, 2)), keys)
    points = path[_BURNT:].reshape(-1, 2)
    low, high = jnp.min(points, axis=0), jnp.max(points, axis=0)
    places = (points - low) / jnp.maximum(high - low, 1e-6) * (jnp.array(shape) - 1)
    rows, columns = jnp.round(places).astype(jnp.int32).T
    counts = jnp.zeros(shape).at[rows, columns].add(1.0)
    field = jnp.log1p(counts) / jnp.log1p(jnp.max(counts))
    ground, colour = jax.random.uniform(of_colours, (2, 3))
    return ground + field[..., None] * (colour - ground)


@functools.partial(jax.jit, static_argnums=1)
def draw_fractals(keys: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Pictures of attractors of four random affine maps, from 0 to 1, ``(n, H, W, 3)``.

    7,680 points of the chaos game each, how many fell on a pixel in logarithms, between two random
    colours.

    Args:
        keys: one a picture.
        shape: (height, width).

    Source: Kataoka et al. 2020, arXiv:2101.08515 (FractalDB), as compared with by Asano & Saeed
    2023, table 2; our own draw of the maps.
    """
    return jax.vmap(lambda key: _picture(key, shape))(keys)
