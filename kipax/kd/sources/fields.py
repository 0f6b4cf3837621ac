"""Analytic formulae as in shaders: scalar fields of position and time.

Each takes coordinates `u` and `v` ``(n, H, W)`` (about -1 to 1, turned and zoomed), a time `t`
``(n, 1, 1)`` and numbers `p` ``(8, n, 1, 1)`` from 0 to 1 that are drawn for each picture, and
gives a field of about 0 to 1. They are in NumPy, since compiling them takes longer than drawing
with them. They are our own: the programs of Frank & Davis 2025 are not online and not free to copy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["FIELDS"]

Field = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
_TAU = 2 * np.pi


def _wave(x):
    return 0.5 + 0.5 * np.sin(x)


def _fract(x):
    return x - np.floor(x)


def _hash(x, y, seed=0.0):
    """Returns a number from 0 to 1 for each lattice point."""
    return _fract(np.sin(x * 127.1 + y * 311.7 + seed * 74.7) * 43758.5453)


def _value_noise(x, y, seed):
    i, j = np.floor(x), np.floor(y)
    a, b = x - i, y - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    top = _hash(i, j, seed) * (1 - a) + _hash(i + 1, j, seed) * a
    bottom = _hash(i, j + 1, seed) * (1 - a) + _hash(i + 1, j + 1, seed) * a
    return top * (1 - b) + bottom * b


def _fbm(x, y, seed, octaves=4):
    total, weight = np.zeros_like(x), 0.5
    for octave in range(octaves):
        total = total + weight * _value_noise(x, y, seed + octave)
        x, y, weight = 2.03 * x + 1.7, 2.03 * y - 0.9, weight / 2
    return total / (1 - 2.0**-octaves)


def _polar(u, v):
    return np.sqrt(u * u + v * v + 1e-6), np.arctan2(v, u + 1e-6)


def _petals(p, most=8):
    return np.floor(2 + most * p)


def plasma(u, v, t, p):
    r, _ = _polar(u, v)
    k = 2 + 6 * p
    return _wave(np.sin(k[0] * u + t) + np.sin(k[1] * v - t) + np.sin(k[2] * (u + v)) + k[3] * r)


def rings(u, v, t, p):
    r, _ = _polar(u + p[0] - 0.5, v + p[1] - 0.5)
    return _wave((4 + 20 * p[2]) * r - t)


def spokes(u, v, t, p):
    _, angle = _polar(u, v)
    return _wave(_petals(p[0], 14) * angle + t)


def spiral(u, v, t, p):
    r, angle = _polar(u, v)
    return _wave(_petals(p[0]) * angle + (4 + 10 * p[1]) * np.log(r + 0.05) + t)


def checker(u, v, t, p):
    k = 3 + 9 * p[0]
    return 0.5 + 0.5 * np.tanh(8 * np.sin(k * u + t) * np.sin(k * v + p[1]))


def stripes(u, v, t, p):
    return _wave((3 + 20 * p[0]) * u + (10 * p[1] - 5) * v + t)


def moire(u, v, t, p):
    one, _ = _polar(u - p[0], v - p[1])
    two, _ = _polar(u + p[2], v + p[3])
    k = 8 + 20 * p[4]
    return 0.5 + 0.5 * np.sin(k * one) * np.sin(k * two + t)


def balls(u, v, t, p):
    total = np.zeros_like(u)
    for n in range(4):
        x, y = np.sin(t + 5 * p[n]), np.cos(1.3 * t + 7 * p[n + 4])
        total = total + 0.06 / ((u - x) ** 2 + (v - y) ** 2 + 0.02)
    return np.tanh(total)


def _cells(u, v, t, p):
    """Returns the two smallest distances to jittered lattice points."""
    k = 2 + 4 * p[0]
    x, y = k * u, k * v
    i, j = np.floor(x), np.floor(y)
    first, second = np.full_like(u, 9.0), np.full_like(u, 9.0)
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            moved_x = i + a + 0.5 + 0.45 * np.sin(t + _TAU * _hash(i + a, j + b, p[1]))
            moved_y = j + b + 0.5 + 0.45 * np.cos(t + _TAU * _hash(i + a, j + b, p[2] + 9))
            d = np.sqrt((x - moved_x) ** 2 + (y - moved_y) ** 2 + 1e-6)
            second = np.minimum(second, np.maximum(first, d))
            first = np.minimum(first, d)
    return first, second


def cells(u, v, t, p):
    return np.clip(_cells(u, v, t, p)[0], 0, 1)


def cracks(u, v, t, p):
    first, second = _cells(u, v, t, p)
    return np.clip(2 * (second - first), 0, 1)


def clouds(u, v, t, p):
    k = 1.5 + 3 * p[0]
    return _fbm(k * u + t, k * v, 10 * p[1])


def ridges(u, v, t, p):
    k = 1.5 + 3 * p[0]
    return 1 - np.abs(2 * _fbm(k * u, k * v + t, 10 * p[1]) - 1)


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
    count = np.zeros_like(x)
    for _ in range(steps):
        if fold:
            x, y = np.abs(x), np.abs(y)
        x, y = x * x - y * y + a, 2 * x * y + b
        x, y = np.clip(x, -8, 8), np.clip(y, -8, 8)
        count = count + (x * x + y * y < 4)
    return count / steps


def mandelbrot(u, v, t, p):
    zoom = 0.3 + p[0]
    return _escape(0 * u, 0 * v, zoom * u - 0.9 * p[1] - 0.1, zoom * v + 0.8 * p[2] - 0.4)


def julia(u, v, t, p):
    angle = _TAU * p[0]
    return _escape(1.2 * u, 1.2 * v, 0.75 * np.cos(angle), 0.75 * np.sin(angle))


def ship(u, v, t, p):
    zoom = 0.4 + p[0]
    return _escape(0 * u, 0 * v, zoom * u - 1.5 * p[1], zoom * v - 0.6 * p[2], fold=True)


def truchet(u, v, t, p):
    k = 3 + 4 * p[0]
    x, y = k * u, k * v
    i, j = np.floor(x), np.floor(y)
    a, b = x - i, y - j
    a = np.where(_hash(i, j, p[1]) < 0.5, a, 1 - a)
    near = np.minimum(np.abs(np.hypot(a, b) - 0.5), np.abs(np.hypot(1 - a, 1 - b) - 0.5))
    return np.clip(1.5 - 8 * near, 0, 1)


def hexagons(u, v, t, p):
    k = 2 + 4 * p[0]
    x, y = k * u, k * v
    waves = [np.cos(x * np.cos(a) + y * np.sin(a)) for a in (0.0, 2.0944, 4.18879)]
    return _wave(2 * sum(waves) + t)


def tunnel(u, v, t, p):
    r, angle = _polar(u, v)
    return 0.5 + 0.5 * np.sin((1 + 2 * p[0]) / r + t) * np.sin(_petals(p[1]) * angle)


def kaleidoscope(u, v, t, p):
    r, angle = _polar(u, v)
    n = _petals(p[0])
    folded = np.abs(_fract(angle * n / _TAU) - 0.5) * _TAU / n
    return plasma(r * np.cos(folded), r * np.sin(folded), t, p)


def dots(u, v, t, p):
    k = 2 + 5 * p[0]
    a, b = _fract(k * u + 0.1 * t) - 0.5, _fract(k * v) - 0.5
    return np.clip(4 * (0.15 + 0.3 * p[1] - np.hypot(a, b)) + 0.5, 0, 1)


def boxes(u, v, t, p):
    k = 1.5 + 4 * p[0]
    a, b = np.abs(_fract(k * u) - 0.5), np.abs(_fract(k * v + 0.1 * t) - 0.5)
    return np.clip(6 * (0.15 + 0.3 * p[1] - np.maximum(a, b)) + 0.5, 0, 1)


def rose(u, v, t, p):
    r, angle = _polar(u, v)
    return np.exp(-6 * np.abs(r - 0.8 * np.abs(np.cos(_petals(p[0], 5) * angle + t))))


def scribble(u, v, t, p):
    nearest = np.full_like(u, 9.0)
    for n in range(24):
        s = _TAU * n / 24
        x, y = np.sin(_petals(p[0], 3) * s + t), np.sin(_petals(p[1], 3) * s + 6 * p[2])
        nearest = np.minimum(nearest, (u - 0.8 * x) ** 2 + (v - 0.8 * y) ** 2)
    return np.exp(-30 * nearest)


def quasicrystal(u, v, t, p):
    n, k, total = 5 + 2 * (p[0] > 0.5), 6 + 14 * p[1], np.zeros_like(u)
    for m in range(7):
        a = np.pi * m / n
        total = total + (m < n) * np.cos(k * (u * np.cos(a) + v * np.sin(a)) + t)
    return _wave(total)


def gyroid(u, v, t, p):
    k = 3 + 5 * p[0]
    x, y, z = k * u, k * v, t + 5 * p[1]
    value = np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)
    return 0.5 + 0.5 * np.tanh(2 * value)


def sphere(u, v, t, p):
    x, y = 1.2 * u - 0.4 * (p[0] - 0.5), 1.2 * v - 0.4 * (p[1] - 0.5)
    inside = 1 - x * x - y * y
    z = np.sqrt(np.maximum(inside, 0))
    light = np.cos(_TAU * p[2]) * 0.6 * x + np.sin(_TAU * p[2]) * 0.6 * y + 0.5 * z
    texture = 0.75 + 0.25 * np.sin(8 * p[3] * np.arctan2(x, z + 0.1) + t)
    return np.where(inside > 0, np.clip(light, 0, 1) * texture, 0.1 * _wave(5 * v))


def floor_and_sky(u, v, t, p):
    horizon = v - 0.6 * (p[0] - 0.5)
    depth = 1 / (np.abs(horizon) + 0.08)
    k = 1 + 3 * p[1]
    tiles = 0.5 + 0.5 * np.tanh(4 * np.sin(k * depth * u) * np.sin(k * depth + t))
    return np.where(horizon > 0, tiles, _fbm(2 * u, 3 * v, 10 * p[2]))


def flow(u, v, t, p):
    x, y = u, v
    for n in range(4):
        x = x + 0.4 * np.sin((1.5 + n) * y + t + 6 * p[n])
        y = y + 0.4 * np.cos((1.5 + n) * x + 6 * p[n + 4])
    return _wave(2 * x + 2 * y)


def star(u, v, t, p):
    r, angle = _polar(u, v)
    rays = np.abs(np.sin(_petals(p[0], 6) * angle + t)) ** (1 + 3 * p[1])
    return np.clip(0.25 * (0.5 + rays) / (r + 0.15), 0, 1)


def bricks(u, v, t, p):
    k = 2 + 4 * p[0]
    row = np.floor(2 * k * v)
    a, b = _fract(k * u + 0.5 * (row % 2)), _fract(2 * k * v)
    joint = (np.minimum(a, 1 - a) < 0.06) | (np.minimum(b, 1 - b) < 0.1)
    column = np.floor(k * u + 0.5 * (row % 2))
    return np.where(joint, 0.05, 0.35 + 0.6 * _hash(row, column, p[1]))


def triangles(u, v, t, p):
    k = 2 + 4 * p[0]
    x, y = k * (u + v / 1.732), k * v * 1.155
    side = (_fract(x) + _fract(y) > 1).astype(u.dtype)
    return _hash(np.floor(x), np.floor(y) + 0.5 * side, p[1])


def blocks(u, v, t, p):
    k, total = 1 + 2 * p[0], np.zeros_like(u)
    for n in range(3):
        total = total + _hash(np.floor(k * 2**n * u), np.floor(k * 2**n * v), n + p[1]) / 3
    return total


def waves_on_water(u, v, t, p):
    total = np.zeros_like(u)
    for n in range(5):
        a, k = _TAU * _fract(p[n] + 0.37 * n), 3 + 9 * _fract(p[n] * 7.3)
        total = total + np.exp(np.sin(k * (u * np.cos(a) + v * np.sin(a)) + t) - 1)
    return np.clip(total / 3, 0, 1)


def swirl(u, v, t, p):
    r, angle = _polar(u, v)
    turned = angle + (3 * p[0] + 0.5) * np.exp(-2 * r) * 4
    return checker(r * np.cos(turned), r * np.sin(turned), t, p)


def contours(u, v, t, p):
    height = _fbm((1 + 2 * p[0]) * u, (1 + 2 * p[0]) * v + t, 10 * p[1])
    return np.clip(6 * np.abs(_fract((6 + 6 * p[2]) * height) - 0.5) - 0.5, 0, 1)


FIELDS: dict[str, Field] = {
    f.__name__: f
    for f in (
        plasma, rings, spokes, spiral, checker, stripes, moire, balls, cells, cracks, clouds,
        ridges, folds, marble, wood, mandelbrot, julia, ship, truchet, hexagons, tunnel,
        kaleidoscope, dots, boxes, rose, scribble, quasicrystal, gyroid, sphere, floor_and_sky,
        flow, star, bricks, triangles, blocks, waves_on_water, swirl, contours,
    )
}  # fmt: skip
