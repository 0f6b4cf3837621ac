"""The exact kernel by displacement windows, in portable JAX (CPU, GPU, TPU).

One displacement at a time: the positions ``p`` of the first image against ``p - d`` of the
second form a slice ``(H, W, pairs)`` that convolutions and ReLUs keep to itself; a pool
adds it into a table of the next level's displacements, which is at least 16 times smaller.
Image pairs lie in the last axis, so that every shift is a shift of whole vectors. Each
slice is checkpointed: the finest level's displacements are never all in memory, forward or
backward.

The arrays of this module:

* images ``(H, W, C, n)``, a tile of pairs ``(H, W, C, pairs)``;
* `Scales`: per level and ReLU, the standard deviation ``sqrt K(p, p)`` of each image, and
  its variance at the head, if the head has ReLUs;
* state ``(k, theta)``: NNGP and NTK, theta is None while it is zero, and where only the NNGP
  is computed.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kipax.architectures import Architecture
from kipax.kernels.relu import relu_dual, safe_sqrt
from kipax.kernels.window import Level

__all__ = ["Scales", "head", "image_scales", "pair_kernel"]


class Scales(NamedTuple):
    """Per-image standard deviations: a tuple of ``(H, W, n)`` for each level; head ``(n,)``."""

    levels: tuple[tuple[jax.Array, ...], ...]
    head_variance: jax.Array


class _Rules(NamedTuple):
    """The properties of the network that a slice depends on."""

    weight_variance: float
    bias_variance: float
    ntk: bool


def _rules(architecture: Architecture, *, ntk: bool) -> _Rules:
    return _Rules(architecture.W_std**2, architecture.b_std**2, ntk)


def _materialise(state, anchor: jax.Array):
    """Keeps XLA from fusing across this point, since it would then compute box filters many times.

    XLA's CPU compiler drops optimisation barriers before it fuses, but never fuses across a
    conditional; a condition on the number `anchor` makes one that XLA does not fold and that never
    takes the first branch, not for NaN either. Measured on 32 x 32 pixels with jax 0.6.2: 4.6 times
    faster.
    """
    return lax.platform_dependent(
        state,
        cpu=lambda s: lax.cond(
            anchor < -jnp.inf, lambda v: jax.tree.map(jnp.zeros_like, v), lambda v: v, s
        ),
        default=lax.optimization_barrier,
    )


def _box_sum(k: jax.Array) -> jax.Array:
    """Returns the sum over the 3 x 3 neighbours in the first two axes, zero outside."""
    for axis in (0, 1):
        size = k.shape[axis]
        padded = jnp.pad(k, [(1, 1) if a == axis else (0, 0) for a in range(k.ndim)])
        before, here, after = (lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3))
        k = before + here + after
    return k


def _affine(k, theta, rules: _Rules, mean):
    """Applies a convolution or dense layer; `mean` averages over its receptive field."""
    k = rules.weight_variance * mean(k) + rules.bias_variance
    if not rules.ntk:
        return k, None
    return k, (k if theta is None else k + rules.weight_variance * mean(theta))


def _relu(k, theta, m, floor):
    k, slope = relu_dual(k, m, floor)
    return k, (None if theta is None else theta * slope)


def _inside(shape: tuple[int, int], dy, dx, dtype) -> jax.Array:
    """Returns 1 where ``p - d`` lies in the image, else 0: ``(..., H, W, 1)``, d ``(...)``."""
    y = jnp.arange(shape[0]) - jnp.expand_dims(dy, -1)
    x = jnp.arange(shape[1]) - jnp.expand_dims(dx, -1)
    inside_y, inside_x = (y >= 0) & (y < shape[0]), (x >= 0) & (x < shape[1])
    return (inside_y[..., :, None] & inside_x[..., None, :])[..., None].astype(dtype)


def _run_layers(state, scales, displacement, level: Level, rules: _Rules, floor, anchor):
    """Takes one slice through the layers of a level; `scales` holds (first, second) pairs."""
    k, theta = state
    scales = iter(scales)
    clean = True  # whether positions with a partner outside the image are zero
    for layer in level.layers:
        if layer == "conv":
            if not clean:
                dy, dx = displacement
                mask = _inside(level.shape, dy, dx, k.dtype)
                k, theta = k * mask, (None if theta is None else theta * mask)
            k, theta = _affine(k, theta, rules, lambda a: _box_sum(a) * (1.0 / 9.0))
            clean = False
        else:
            first, second = next(scales)
            k, theta = _relu(k, theta, first * second, floor)
            clean = True
        k, theta = _materialise((k, theta), anchor)
    return k, theta


def _pad_window(a: jax.Array, radius: tuple[int, int]) -> jax.Array:
    return jnp.pad(a, [(r, r) for r in radius] + [(0, 0)] * (a.ndim - 2))


def _shift(padded: jax.Array, level: Level, dy, dx) -> jax.Array:
    """Returns the slice ``a[p - d]`` of an array padded by the level's radius."""
    start = (level.radius[0] - dy, level.radius[1] - dx) + (np.int32(0),) * (padded.ndim - 2)
    return lax.dynamic_slice(padded, start, level.shape + padded.shape[2:])


def _displacements(radius: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[-radius[0] : radius[0] + 1, -radius[1] : radius[1] + 1]
    return y.ravel().astype(np.int32), x.ravel().astype(np.int32)


def _add_pooled(table: jax.Array, k: jax.Array, dy, dx, radius) -> jax.Array:
    """Adds one slice into the pooled table ``(2 R + 3, 2 R + 3, H / 2, W / 2, pairs)``.

    Along one axis, even positions go to ``D = ceil(d / 2)``, odd ones to ``floor(d / 2)``.
    The table has a border of one for the halves of the outermost slices that are not used.
    """
    height, width = 2 * (k.shape[0] // 2), 2 * (k.shape[1] // 2)
    for odd_y in (0, 1):
        row = (dy + 1 - odd_y) // 2 + radius[0] + 1
        for odd_x in (0, 1):
            column = (dx + 1 - odd_x) // 2 + radius[1] + 1
            part = k[odd_y:height:2, odd_x:width:2] * (1.0 / 16.0)
            table = table.at[row, column].add(part, mode="promise_in_bounds")
    return table


def _level_slices(source, scales1, scales2, level: Level, rules: _Rules, same, anchor):
    """Returns ``slice(index) -> (k, theta)`` after the level's layers, and its indices.

    Slices are checkpointed. `source` is either a pair of image tiles (finest level) or a table
    ``(k, theta)`` of slices from the level below.
    """
    padded = [_pad_window(s, level.radius) for s in scales2]

    def run(x):
        dy, dx, state = x
        k, theta = state if state is not None else (_input_slice(dy, dx), None)
        floor = jnp.where((dy == 0) & (dx == 0) & same, 1.0, -1.0).astype(k.dtype)
        seconds = (_shift(p, level, dy, dx) for p in padded)
        scales = list(zip(scales1, seconds, strict=True))
        k, theta = _materialise((k, theta), anchor)
        return _run_layers((k, theta), scales, (dy, dx), level, rules, floor, anchor)

    def _input_slice(dy, dx):
        x1, x2 = images
        return jnp.sum(x1 * _shift(x2, level, dy, dx), axis=2) * (1.0 / x1.shape[2])

    dy, dx = _displacements(level.radius)
    if isinstance(source, _Images):
        images = (source.x1, _pad_window(source.x2, level.radius))
        return jax.checkpoint(run), (dy, dx, None)
    return jax.checkpoint(run), (dy, dx, source)


class _Images(NamedTuple):
    x1: jax.Array
    x2: jax.Array


def _pool(slices, level: Level, below: Level, rules: _Rules, pairs: int, dtype):
    """Runs all slices of a level and pools them: the next level's table ``(n, H, W, pairs)``."""
    run, indices = slices
    shape = (2 * below.radius[0] + 3, 2 * below.radius[1] + 3, *below.shape, pairs)
    # A theta that is still zero before the first affine layer stays None.
    has_theta = rules.ntk and ("conv" in level.layers or _carries_theta(indices))

    def step(tables, x):
        parts = run(x)[: len(tables)]
        dy, dx, _ = x
        added = [
            _add_pooled(t, p, dy, dx, below.radius) for t, p in zip(tables, parts, strict=True)
        ]
        return tuple(added), None

    zeros = tuple(jnp.zeros(shape, dtype) for _ in range(2 if has_theta else 1))
    bordered, _ = lax.scan(step, zeros, indices)
    mask = _inside(below.shape, *_displacements(below.radius), dtype)
    tables = [t[1:-1, 1:-1].reshape((-1, *shape[2:])) * mask for t in bordered]
    return tables[0], (tables[1] if has_theta else None)


def _carries_theta(indices) -> bool:
    return indices[2] is not None and indices[2][1] is not None


def _read_out(slices, level: Level, architecture: Architecture, pairs: int, dtype):
    """Returns the mean over equal positions (flatten) or over all pairs of positions."""
    run, indices = slices
    positions = level.shape[0] * level.shape[1]
    if architecture.readout == "flatten":
        state = run(jax.tree.map(lambda a: a[0], indices))
        return jax.tree.map(lambda a: jnp.mean(a, axis=(0, 1)), state)

    def step(total, x):
        mask = _inside(level.shape, x[0], x[1], dtype)
        parts = jax.tree.map(lambda a: jnp.sum(a * mask, axis=(0, 1)), run(x))
        return jax.tree.map(jnp.add, total, parts), None

    first = jax.tree.map(lambda a: a[0], indices)
    zeros = jax.tree.map(lambda _: jnp.zeros((pairs,), dtype), jax.eval_shape(run, first))
    total, _ = lax.scan(step, zeros, indices)
    return jax.tree.map(lambda a: a / positions**2, total)


def head(state, architecture: Architecture, variances, floor, *, ntk: bool):
    """Applies the layers after the readout: a dot-product kernel, elementwise for any shape.

    Args:
        state: ``(k, theta)`` after the readout.
        architecture: the network, whose `head_layers` are applied.
        variances: ``k`` of each image with itself after the readout, broadcastable to ``k``.
        floor: see `kipax.kernels.relu.relu_dual`.
        ntk: True for the NTK, False for the NNGP alone.
    """
    rules = _rules(architecture, ntk=ntk)
    k, theta = state
    first, second = variances
    for layer in architecture.head_layers:
        if layer == "dense":
            k, theta = _affine(k, theta, rules, lambda a: a)
            first, second = (_affine(q, None, rules, lambda a: a)[0] for q in (first, second))
        else:
            k, theta = _relu(k, theta, safe_sqrt(first) * safe_sqrt(second), floor)
            first, second = first / 2, second / 2
    return k, theta


def pair_kernel(
    x1: jax.Array,
    x2: jax.Array,
    scales: tuple[Scales, Scales],
    same: jax.Array,
    *,
    architecture: Architecture,
    levels: tuple[Level, ...],
    ntk: bool,
) -> jax.Array:
    """Returns the kernel of each pair of a tile.

    Args:
        x1: tile of first images ``(H, W, C, pairs)``.
        x2: tile of second images ``(H, W, C, pairs)``.
        scales: `image_scales` of both tiles.
        same: whether the two images of a pair are identical, bool ``(pairs,)``.
        architecture: the network.
        levels: levels of the network by `kipax.kernels.window.plan_levels`.
        ntk: True for the NTK, False for the NNGP.

    Returns:
        The kernel of each pair ``(pairs,)``.
    """
    rules, pairs, anchor = _rules(architecture, ntk=ntk), x1.shape[-1], x1[0, 0, 0, 0]
    source: object = _Images(x1, x2)
    for i, level in enumerate(levels):
        of_level = (scales[0].levels[i], scales[1].levels[i])
        slices = _level_slices(source, *of_level, level, rules, same, anchor)
        if i + 1 < len(levels):
            source = _pool(slices, level, levels[i + 1], rules, pairs, x1.dtype)
    state = _read_out(slices, levels[-1], architecture, pairs, x1.dtype)
    floor = jnp.where(same, 1.0, -1.0).astype(x1.dtype)
    variances = (scales[0].head_variance, scales[1].head_variance)
    k, theta = head(state, architecture, variances, floor, ntk=ntk)
    if not ntk:
        return k
    assert theta is not None  # the last layer is dense
    return theta


def image_scales(x: jax.Array, *, architecture: Architecture, levels: tuple[Level, ...]) -> Scales:
    """Returns the standard deviations that the ReLUs of `pair_kernel` divide by, per image.

    The same recursion on ``(x, x)`` with its own, smaller windows; at displacement zero the
    correlation is 1 and a ReLU halves the variance.

    Args:
        x: images ``(H, W, C, n)``.
        architecture: the network.
        levels: levels of the network, as in `pair_kernel`.
    """
    rules, n, anchor = _rules(architecture, ntk=False), x.shape[-1], x[0, 0, 0, 0]
    same = jnp.ones((n,), bool)
    source: object = _Images(x, x)
    variance = jnp.mean(x * x, axis=2)
    collected: list[tuple[jax.Array, ...]] = []
    head_variance = jnp.zeros((n,), x.dtype)
    for i, level in enumerate(levels):
        if level.self_radius is None:
            collected.append(())
            continue
        scales = _own_scales(variance, level, rules)
        collected.append(scales)
        own = dataclasses.replace(level, radius=level.self_radius)
        slices = _level_slices(source, scales, scales, own, rules, same, anchor)
        below = levels[i + 1] if i + 1 < len(levels) else None
        if below is None and "relu" in architecture.head_layers:
            head_variance = _read_out(slices, own, architecture, n, x.dtype)[0]
        elif below is not None and below.self_radius is not None:
            below = dataclasses.replace(below, radius=below.self_radius)
            table = _pool(slices, own, below, rules, n, x.dtype)
            source, variance = table, table[0][below.displacements // 2]
    return Scales(tuple(collected), head_variance)


def _own_scales(variance: jax.Array, level: Level, rules: _Rules) -> tuple[jax.Array, ...]:
    """Returns standard deviations before each ReLU of a level, from the variances at its input."""
    scales = []
    for layer in level.layers:
        if layer == "conv":
            variance = _affine(variance, None, rules, lambda a: _box_sum(a) * (1.0 / 9.0))[0]
        else:
            scales.append(safe_sqrt(variance))
            variance = variance / 2
    return tuple(scales)
