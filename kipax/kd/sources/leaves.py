"""Leaves: pictures covered by shapes of random colour, many small and few large ones."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["draw_leaves"]

_SMALLEST = 0.03  # radius of the smallest leaf, as a share of the longer side
_MOST = 5000  # leaves of a picture
_TOGETHER = 64  # leaves between two looks at whether everything is covered


class _Leaves(NamedTuple):
    """Shapes: the points p with ``|p - centre| <= radius``, ``normals @ (p - centre) <= offsets``.

    Attributes:
        centre: ``(n, 2)``, column and row.
        radius: ``(n,)``; infinite for polygons.
        normals: ``(n, 4, 2)``.
        offsets: ``(n, 4)``; infinite where a leaf has fewer sides.
        colour: ``(n, 3)``, from 0 to 1.
    """

    centre: jax.Array
    radius: jax.Array
    normals: jax.Array
    offsets: jax.Array
    colour: jax.Array


def draw_leaves(keys: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Draws pictures ``(n, H, W, 3)`` from 0 to 1 of leaves that hide one another.

    A leaf is a circle, a square, a turned square, a rectangle, a triangle or a quadrilateral; its
    centre is anywhere, its radius has the density ``r^-3`` from 0.03 to 1 times the longer side.
    Leaves are laid below each other until every pixel is covered, 5,000 at most.

    Args:
        keys: a key for each picture ``(n,)``.
        shape: height and width.

    Source: Baradad et al. 2021, arXiv:2106.05963 (dead leaves, all shapes mixed), as used by
    Frank & Davis 2025.
    """
    return _draw(keys, shape)


@functools.partial(jax.jit, static_argnums=1)
def _draw(keys: jax.Array, shape: tuple[int, int]) -> jax.Array:
    return jax.lax.map(lambda key: _picture(key, shape), keys)  # one by one: each has its own end


def _picture(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    height, width = shape
    columns = jnp.arange(width, dtype=jnp.float32) + 0.5
    rows = jnp.arange(height, dtype=jnp.float32) + 0.5
    numbers = jnp.arange(_TOGETHER)[:, None, None]

    def more(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple:
        picture, bare, laid = state
        leaves = _draw_leaves(jax.random.fold_in(key, laid), shape)
        inside = _inside(leaves, columns, rows)
        first = jnp.min(jnp.where(inside, numbers, _TOGETHER), axis=0)  # the leaf on top
        colours = leaves.colour[jnp.minimum(first, _TOGETHER - 1)]
        new = bare & (first < _TOGETHER)
        return jnp.where(new[..., None], colours, picture), bare & ~new, laid + _TOGETHER

    start = jnp.zeros((height, width, 3)), jnp.ones(shape, bool), jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(lambda s: jnp.any(s[1]) & (s[2] < _MOST), more, start)[0]


def _inside(leaves: _Leaves, columns: jax.Array, rows: jax.Array) -> jax.Array:
    """Returns for each leaf and pixel whether the pixel lies in the leaf ``(n, H, W)``."""
    x = columns[None, None, :] - leaves.centre[:, 0, None, None]
    y = rows[None, :, None] - leaves.centre[:, 1, None, None]
    beyond = x**2 + y**2 - leaves.radius[:, None, None] ** 2
    for side in range(4):
        normal = leaves.normals[:, side, :, None, None]
        distance = normal[:, 0] * x + normal[:, 1] * y - leaves.offsets[:, side, None, None]
        beyond = jnp.maximum(beyond, distance)  # faster than conjunctions
    return beyond <= 0


def _draw_leaves(key: jax.Array, shape: tuple[int, int]) -> _Leaves:
    """Draws the next 64 leaves of one picture: places, sizes, shapes and colours."""
    height, width = shape
    longer = max(height, width)
    of_centre, of_radius, of_kind, of_angles, of_colour, of_aspect = jax.random.split(key, 6)
    centre = jax.random.uniform(of_centre, (_TOGETHER, 2)) * jnp.array([width, height])
    # The inverse of the distribution function of r^-3 between the smallest and the longer side.
    low, high = (_SMALLEST * longer) ** -2, float(longer) ** -2
    share = jax.random.uniform(of_radius, (_TOGETHER,))
    radius = (low - share * (low - high)) ** -0.5
    kind = jax.random.randint(of_kind, (_TOGETHER,), 0, 6)
    draws = jax.random.uniform(of_angles, (_TOGETHER, 4))
    angles = 2 * jnp.pi * _corners(kind, draws, jax.random.uniform(of_aspect, (_TOGETHER,)))
    corners = radius[:, None, None] * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    after = jnp.roll(corners, -1, axis=1)
    normals = jnp.stack([after[..., 1] - corners[..., 1], corners[..., 0] - after[..., 0]], -1)
    offsets = jnp.sum(normals * corners, axis=-1)
    circle = kind == 0
    return _Leaves(
        centre,
        jnp.where(circle, radius, jnp.inf),
        normals,
        jnp.where(circle[:, None], jnp.inf, offsets),
        jax.random.uniform(of_colour, (_TOGETHER, 3)),
    )


def _corners(kind: jax.Array, draws: jax.Array, aspect: jax.Array) -> jax.Array:
    """Returns the corners of leaves as angles ``(n, 4)``, in rising order, as shares of a turn.

    A triangle's last two corners are the same.

    Args:
        kind: 1 square, 2 turned square, 3 rectangle, 4 triangle, 5 quadrilateral ``(n,)``.
        draws: from 0 to 1 ``(n, 4)``.
        aspect: from 0 to 1 ``(n,)``, for rectangles.
    """
    quarters = jnp.array([0.125, 0.375, 0.625, 0.875])
    half = 0.25 * aspect[:, None]  # half of the angle that a side of the rectangle takes
    rectangle = jnp.concatenate([-half, half, 0.5 - half, 0.5 + half], axis=1)
    turned = quarters + draws[:, :1]
    ordered = jnp.sort(draws, axis=1)
    triangle = jnp.sort(draws[:, :3], axis=1)[:, jnp.array([0, 1, 2, 2])]
    choices = [jnp.broadcast_to(quarters, draws.shape)] * 2
    choices += [turned, rectangle + draws[:, :1], triangle, ordered]
    return jnp.select([kind[:, None] == i for i in range(6)], choices)
