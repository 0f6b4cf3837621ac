"""The ReLU's dual activations (arc-cosine kernels), gradient-safe at correlation one.

For a pair of Gaussians with covariance ``n`` and standard deviations of product ``m``,
``c = n / m``, the infinite-width ReLU maps the NNGP covariance to
``m * (sqrt(1 - c^2) + (pi - arccos c) c) / 2 pi`` and multiplies the NTK by
``(pi - arccos c) / 2 pi`` (Cho and Saul 2009, degrees one and zero).

``c = 1`` happens on the diagonal of ``K(X_s, X_s)``, for duplicated images and for equal
patches such as a black border. There the second factor has an infinite slope, and a
correlation that rounding left at ``1 - 1e-7`` would be wrong by 1e-4, always downwards.
Two rules avoid this: where the caller knows that both sides are the same, it says so (`floor`),
and a correlation within `SNAP` units of rounding of +-1 counts as +-1; in both cases the
derivative of ``sqrt(1 - c^2)`` and of ``arccos c`` is taken as 0.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

__all__ = ["relu_dual", "safe_sqrt"]

# Two roundings of one sum differ by a few units. With 8, ConvNet kernels of MNIST and Fashion-MNIST
# images in float32 are within 2e-6 of float64, relative to the largest entry.
SNAP = 8.0
_INV_2PI = 1.0 / (2.0 * math.pi)
# Abramowitz and Stegun 4.4.46: arccos(x) = sqrt(1 - x) * polynomial(x) on [0, 1], to 2e-8.
_ARCCOS = (
    1.5707963050,
    -0.2145988016,
    0.0889789874,
    -0.0501743046,
    0.0308918810,
    -0.0170881256,
    0.0066700901,
    -0.0012624911,
)


def safe_sqrt(x: jax.Array) -> jax.Array:
    """Returns the square root of a non-negative array with derivative 0, not infinity, at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def _arccos_over_2pi(t: jax.Array, root: jax.Array) -> jax.Array:
    """Returns ``arccos(1 - t) / 2 pi`` for t in [0, 1]; root is ``sqrt(t)``."""
    if t.dtype == jnp.float64:
        return jnp.arctan2(root * jnp.sqrt(2.0 - t), 1.0 - t) * _INV_2PI
    x = 1.0 - t
    polynomial = jnp.full_like(t, _ARCCOS[-1])
    for coefficient in _ARCCOS[-2::-1]:
        polynomial = polynomial * x + coefficient
    return root * polynomial * _INV_2PI


def _dual(n, m, floor):
    inside = m > 0
    inverse = jnp.where(inside, 1.0 / jnp.where(inside, m, 1.0), 0.0)
    c = jnp.clip(n * inverse, floor, 1.0)
    t = 1.0 - jnp.abs(c)
    t = jnp.where(t < SNAP * jnp.finfo(t.dtype).eps, 0.0, t)
    root = jnp.sqrt(t)
    angle = _arccos_over_2pi(t, root)
    slope = jnp.where(inside, jnp.where(c >= 0, 0.5 - angle, angle), 0.0)
    sine = root * jnp.sqrt(2.0 - t) * _INV_2PI  # sqrt(1 - c^2) / 2 pi
    return m * sine + slope * n, slope, c, t, sine, inverse


@jax.custom_jvp
def relu_dual(n: jax.Array, m: jax.Array, floor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the NNGP covariance after a ReLU and the factor that the NTK takes.

    With ``c = clip(n / m, floor, 1)``: ``k = m (sqrt(1 - c^2) + (pi - arccos c) c) / 2 pi``
    and ``slope = (pi - arccos c) / 2 pi``. Where ``m`` is 0 (a position outside the image,
    or no variance) both are 0.

    Args:
        n: covariance before the ReLU, any shape.
        m: product of the two standard deviations, same shape.
        floor: 1 where both sides are known to be identical, else -1; broadcasts.

    Returns:
        ``(k, slope)``, each of the shape of `n`.

    Example:
        >>> k, slope = relu_dual(jnp.float32(2.0), jnp.float32(2.0), jnp.float32(-1.0))
        >>> float(k), float(slope)
        (1.0, 0.5)

    Source: Cho and Saul 2009, equations 3 to 6; used in Nguyen et al. 2021, section 2.
    """
    return _dual(n, m, floor)[:2]


@relu_dual.defjvp
def _relu_dual_jvp(primals, tangents):
    n, m, floor = primals
    d_n, d_m, _ = tangents
    k, slope, c, t, sine, inverse = _dual(n, m, floor)
    smooth = t > 0
    bend = jnp.where(smooth, _INV_2PI**2 / jnp.where(smooth, sine, 1.0), 0.0) * inverse
    return (k, slope), (slope * d_n + sine * d_m, bend * d_n - (bend * c) * d_m)
