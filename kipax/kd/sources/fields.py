"""Analytic formulae of the plane, such as shaders use: scalar fields of position and time.

Each takes coordinates `u` and `v` (about -1 to 1, turned and zoomed), a time `t` and eight numbers
`p` from 0 to 1 that are drawn for each picture, and gives a field of about 0 to 1. They are our
own; the programs that Frank & Davis 2025 use are offline and not ours to copy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = ["FIELDS"]

Field = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
_TAU = 2 * jnp.pi


def _wave(x):
    return 0.5 + 0.5 * jnp.sin(x)


def _fract(x):
    return x - jnp.floor(x)


def _hash(x, y, seed=0.0):
    """A number from 0 to 1 for each lattice point."""
    return _fract(jnp.sin(x * 127.1 + y * 311.7 + seed * 74.7) * 43758.5453)


def _value_noise(x, y, seed):
    i, j = jnp.floor(x), jnp.floor(y)
    a, b = x - i, y - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    top = _hash(i, j, seed) * (1 - a) + _hash(i + 1, j, seed) * a
    bottom = _hash(i, j + 1, seed) * (1 - a) + _hash(i + 1, j + 1, seed) * a
    return top * (1 - b) + bottom * b


def _fbm(x, y, seed, octaves=4):
    total, weight = jnp.zeros_like(x), 0.5
    for octave in range(octaves):
        total = total + weight * _value_noise(x, y, seed + octave)
        x, y, weight = 2.03 * x + 1.7, 2.03 * y - 0.9, weight / 2
    return total / (1 - 2.0**-octaves)


def _polar(u, v):
    return jnp.sqrt(u * u + v * v + 1e-6), jnp.arctan2(v, u + 1e-6)


def _petals(p, most=8):
    return jnp.floor(2 + most * p)


def plasma(u, v, t, p):
    r, _ = _polar(u, v)
    k = 2 + 6 * p
    return _wave(jnp.sin(k[0] * u + t) + jnp.sin(k[1] * v - t) + jnp.sin(k[2] * (u + v)) + k[3] * r)


def rings(u, v, t, p):
    r, _ = _polar(u + p[0] - 0.5, v + p[1] - 0.5)
    return _wave((4 + 20 * p[2]) * r - t)


def spokes(u, v, t, p):
    _, angle = _polar(u, v)
    return _wave(_petals(p[0], 14) * angle + t)


def spiral(u, v, t, p):
    r, angle = _polar(u, v)
    return _wave(_petals(p[0]) * angle + (4 + 10 * p[1]) * jnp.log(r + 0.05) + t)


def checker(u, v, t, p):
    k = 3 + 9 * p[0]
    return 0.5 + 0.5 * jnp.tanh(8 * jnp.sin(k * u + t) * jnp.sin(k * v + p[1]))


def stripes(u, v, t, p):
    return _wave((3 + 20 * p[0]) * u + (10 * p[1] - 5) * v + t)


def moire(u, v, t, p):
    one, _ = _polar(u - p[0], v - p[1])
    two, _ = _polar(u + p[2], v + p[3])
    k = 8 + 20 * p[4]
    return 0.5 + 0.5 * jnp.sin(k * one) * jnp.sin(k * two + t)


def balls(u, v, t, p):
    total = jnp.zeros_like(u)
    for n in range(4):
        x, y = jnp.sin(t + 5 * p[n]), jnp.cos(1.3 * t + 7 * p[n + 4])
        total = total + 0.06 / ((u - x) ** 2 + (v - y) ** 2 + 0.02)
    return jnp.tanh(total)


def _cells(u, v, t, p):
    """The two smallest distances to jittered lattice points."""
    k = 2 + 4 * p[0]
    x, y = k * u, k * v
    i, j = jnp.floor(x), jnp.floor(y)
    first, second = jnp.full_like(u, 9.0), jnp.full_like(u, 9.0)
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            moved_x = i + a + 0.5 + 0.45 * jnp.sin(t + _TAU * _hash(i + a, j + b, p[1]))
            moved_y = j + b + 0.5 + 0.45 * jnp.cos(t + _TAU * _hash(i + a, j + b, p[2] + 9))
            d = jnp.sqrt((x - moved_x) ** 2 + (y - moved_y) ** 2 + 1e-6)
            second = jnp.minimum(second, jnp.maximum(first, d))
            first = jnp.minimum(first, d)
    return first, second


def cells(u, v, t, p):
    return jnp.clip(_cells(u, v, t, p)[0], 0, 1)


def cracks(u, v, t, p):
    first, second = _cells(u, v, t, p)
    return jnp.clip(2 * (second - first), 0, 1)


def clouds(u, v, t, p):
    k = 1.5 + 3 * p[0]
    return _fbm(k * u + t, k * v, 10 * p[1])


def ridges(u, v, t, p):
    k = 1.5 + 3 * p[0]
    return 1 - jnp.abs(2 * _fbm(k * u, k * v + t, 10 * p[1]) - 1)


def folds(u, v, t, p):
    k = 1 + 2 * p[0]
    a, b = _fbm(k * u, k * v, 3 * p[1]), _fbm(k * u + 5.2, k * v + 1.3, 3 * p[2])
    return _fbm(k * u + 4 * a + t, k * v + 4 * b, 3 * p[3])


def marble(u, v, t, p):
    return _wave((3 + 5 * p[0]) * u + 8 * _fbm(2 * u, 2 * v, 10 * p[1]) + t)


def wood(u, v, t, p):
    r, _ = _polar(u + p[0], v + p[1])
    return _fract((3 + 6 * p[2]) * r + 0.4 * _fbm(3 * u + t, 3 * v, 10 * p[3]))


def _escape(x, y, a, b, *, fold=False, steps=16):
    count = jnp.zeros_like(x)
    for _ in range(steps):
        if fold:
            x, y = jnp.abs(x), jnp.abs(y)
        x, y = x * x - y * y + a, 2 * x * y + b
        x, y = jnp.clip(x, -8, 8), jnp.clip(y, -8, 8)
        count = count + (x * x + y * y < 4)
    return count / steps


def mandelbrot(u, v, t, p):
    zoom = 0.3 + p[0]
    return _escape(0 * u, 0 * v, zoom * u - 0.9 * p[1] - 0.1, zoom * v + 0.8 * p[2] - 0.4)


def julia(u, v, t, p):
    angle = _TAU * p[0]
    return _escape(1.2 * u, 1.2 * v, 0.75 * jnp.cos(angle), 0.75 * jnp.sin(angle))


def ship(u, v, t, p):
    zoom = 0.4 + p[0]
    return _escape(0 * u, 0 * v, zoom * u - 1.5 * p[1], zoom * v - 0.6 * p[2], fold=True)


def truchet(u, v, t, p):
    k = 3 + 4 * p[0]
    x, y = k * u, k * v
    i, j = jnp.floor(x), jnp.floor(y)
    a, b = x - i, y - j
    a = jnp.where(_hash(i, j, p[1]) < 0.5, a, 1 - a)
    near = jnp.minimum(jnp.abs(jnp.hypot(a, b) - 0.5), jnp.abs(jnp.hypot(1 - a, 1 - b) - 0.5))
    return jnp.clip(1.5 - 8 * near, 0, 1)


def hexagons(u, v, t, p):
    k = 2 + 4 * p[0]
    x, y = k * u, k * v
    waves = [jnp.cos(x * jnp.cos(a) + y * jnp.sin(a)) for a in (0.0, 2.0944, 4.18879)]
    return _wave(2 * sum(waves) + t)


def tunnel(u, v, t, p):
    r, angle = _polar(u, v)
    return 0.5 + 0.5 * jnp.sin((1 + 2 * p[0]) / r + t) * jnp.sin(_petals(p[1]) * angle)


def kaleidoscope(u, v, t, p):
    r, angle = _polar(u, v)
    n = _petals(p[0])
    folded = jnp.abs(_fract(angle * n / _TAU) - 0.5) * _TAU / n
    return plasma(r * jnp.cos(folded), r * jnp.sin(folded), t, p)


def dots(u, v, t, p):
    k = 2 + 5 * p[0]
    a, b = _fract(k * u + 0.1 * t) - 0.5, _fract(k * v) - 0.5
    return jnp.clip(4 * (0.15 + 0.3 * p[1] - jnp.hypot(a, b)) + 0.5, 0, 1)


def boxes(u, v, t, p):
    k = 1.5 + 4 * p[0]
    a, b = jnp.abs(_fract(k * u) - 0.5), jnp.abs(_fract(k * v + 0.1 * t) - 0.5)
    return jnp.clip(6 * (0.15 + 0.3 * p[1] - jnp.maximum(a, b)) + 0.5, 0, 1)


def rose(u, v, t, p):
    r, angle = _polar(u, v)
    return jnp.exp(-6 * jnp.abs(r - 0.8 * jnp.abs(jnp.cos(_petals(p[0], 5) * angle + t))))


def scribble(u, v, t, p):
    nearest = jnp.full_like(u, 9.0)
    for n in range(24):
        s = _TAU * n / 24
        x, y = jnp.sin(_petals(p[0], 3) * s + t), jnp.sin(_petals(p[1], 3) * s + 6 * p[2])
        nearest = jnp.minimum(nearest, (u - 0.8 * x) ** 2 + (v - 0.8 * y) ** 2)
    return jnp.exp(-30 * nearest)


def quasicrystal(u, v, t, p):
    n, k, total = 5 + 2 * (p[0] > 0.5), 6 + 14 * p[1], jnp.zeros_like(u)
    for m in range(7):
        a = jnp.pi * m / n
        total = total + (m < n) * jnp.cos(k * (u * jnp.cos(a) + v * jnp.sin(a)) + t)
    return _wave(total)


def gyroid(u, v, t, p):
    k = 3 + 5 * p[0]
    x, y, z = k * u, k * v, t + 5 * p[1]
    value = jnp.sin(x) * jnp.cos(y) + jnp.sin(y) * jnp.cos(z) + jnp.sin(z) * jnp.cos(x)
    return 0.5 + 0.5 * jnp.tanh(2 * value)


def sphere(u, v, t, p):
    x, y = 1.2 * u - 0.4 * (p[0] - 0.5), 1.2 * v - 0.4 * (p[1] - 0.5)
    inside = 1 - x * x - y * y
    z = jnp.sqrt(jnp.maximum(inside, 0))
    light = jnp.cos(_TAU * p[2]) * 0.6 * x + jnp.sin(_TAU * p[2]) * 0.6 * y + 0.5 * z
    texture = 0.75 + 0.25 * jnp.sin(8 * p[3] * jnp.arctan2(x, z + 0.1) + t)
    return jnp.where(inside > 0, jnp.clip(light, 0, 1) * texture, 0.1 * _wave(5 * v))


def floor_and_sky(u, v, t, p):
    horizon = v - 0.6 * (p[0] - 0.5)
    depth = 1 / (jnp.abs(horizon) + 0.08)
    k = 1 + 3 * p[1]
    tiles = 0.5 + 0.5 * jnp.tanh(4 * jnp.sin(k * depth * u) * jnp.sin(k * depth + t))
    return jnp.where(horizon > 0, tiles, _fbm(2 * u, 3 * v, 10 * p[2]))


def flow(u, v, t, p):
    x, y = u, v
    for n in range(4):
        x = x + 0.4 * jnp.sin((1.5 + n) * y + t + 6 * p[n])
        y = y + 0.4 * jnp.cos((1.5 + n) * x + 6 * p[n + 4])
    return _wave(2 * x + 2 * y)


def star(u, v, t, p):
    r, angle = _polar(u, v)
    rays = jnp.abs(jnp.sin(_petals(p[0], 6) * angle + t)) ** (1 + 3 * p[1])
    return jnp.clip(0.25 * (0.5 + rays) / (r + 0.15), 0, 1)


def bricks(u, v, t, p):
    k = 2 + 4 * p[0]
    row = jnp.floor(2 * k * v)
    a, b = _fract(k * u + 0.5 * (row % 2)), _fract(2 * k * v)
    joint = (jnp.minimum(a, 1 - a) < 0.06) | (jnp.minimum(b, 1 - b) < 0.1)
    column = jnp.floor(k * u + 0.5 * (row % 2))
    return jnp.where(joint, 0.05, 0.35 + 0.6 * _hash(row, column, p[1]))


def triangles(u, v, t, p):
    k = 2 + 4 * p[0]
    x, y = k * (u + v / 1.732), k * v * 1.155
    side = (_fract(x) + _fract(y) > 1).astype(u.dtype)
    return _hash(jnp.floor(x), jnp.floor(y) + 0.5 * side, p[1])


def blocks(u, v, t, p):
    k, total = 1 + 2 * p[0], jnp.zeros_like(u)
    for n in range(3):
        total = total + _hash(jnp.floor(k * 2**n * u), jnp.floor(k * 2**n * v), n + p[1]) / 3
    return total


def waves_on_water(u, v, t, p):
    total = jnp.zeros_like(u)
    for n in range(5):
        a, k = _TAU * _fract(p[n] + 0.37 * n), 3 + 9 * _fract(p[n] * 7.3)
        total = total + jnp.exp(jnp.sin(k * (u * jnp.cos(a) + v * jnp.sin(a)) + t) - 1)
    return jnp.clip(total / 3, 0, 1)


def swirl(u, v, t, p):
    r, angle = _polar(u, v)
    turned = angle + (3 * p[0] + 0.5) * jnp.exp(-2 * r) * 4
    return checker(r * jnp.cos(turned), r * jnp.sin(turned), t, p)


def contours(u, v, t, p):
    height = _fbm((1 + 2 * p[0]) * u, (1 + 2 * p[0]) * v + t, 10 * p[1])
    return jnp.clip(6 * jnp.abs(_fract((6 + 6 * p[2]) * height) - 0.5) - 0.5, 0, 1)


FIELDS: dict[str, Field] = {
    f.__name__: functools.partial(f)
    for f in (
        plasma, rings, spokes, spiral, checker, stripes, moire, balls, cells, cracks, clouds,
        ridges, folds, marble, wood, mandelbrot, julia, ship, truchet, hexagons, tunnel,
        kaleidoscope, dots, boxes, rose, scribble, quasicrystal, gyroid, sphere, floor_and_sky,
        flow, star, bricks, triangles, blocks, waves_on_water, swirl, contours,
    )
}  # fmt: skip
