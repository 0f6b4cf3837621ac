"""Batches whose images are mixed with each other: MixUp and CutMix.

Labels, if any, are mixed by the same shares. Distillation needs none: the teacher classifies the
mixed images themselves.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kipax.augment.occlusion import rectangle

__all__ = ["cutmix", "mixup"]


def _draw(
    key: jax.Array, n: int, alpha: float, *, per_example: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws partners ``(n,)`` and shares ``(n,)``; returns them and a key for more."""
    of_partner, of_share, rest = jax.random.split(key, 3)
    share = jax.random.beta(of_share, alpha, alpha, (n if per_example else 1,))
    return jax.random.permutation(of_partner, n), jnp.broadcast_to(share, (n,)), rest


def _mix_labels(y: jax.Array | None, partner: jax.Array, share: jax.Array) -> jax.Array | None:
    if y is None:
        return None
    return share[:, None] * y + (1 - share[:, None]) * y[partner]


def mixup(
    key: jax.Array,
    x: jax.Array,
    y: jax.Array | None = None,
    *,
    alpha: float = 1.0,
    per_example: bool = False,
) -> tuple[jax.Array, jax.Array | None]:
    """Returns ``share * x + (1 - share) * partner`` with the share drawn from Beta(alpha, alpha).

    Args:
        key: a JAX key.
        x: images ``(n, H, W, C)``; partners are a random order of the same batch.
        y: labels ``(n, classes)``; None without labels.
        alpha: parameter of Beta(alpha, alpha); 1 draws shares evenly.
        per_example: True for a share for each image, False for one for the batch.

    Returns:
        Mixed images and labels.

    Source: Zhang et al. 2018, arXiv:1710.09412.
    """
    x = jnp.asarray(x)
    partner, share, _ = _draw(key, len(x), alpha, per_example=per_example)
    weight = share[:, None, None, None]
    return weight * x + (1 - weight) * x[partner], _mix_labels(y, partner, share)


def cutmix(
    key: jax.Array,
    x: jax.Array,
    y: jax.Array | None = None,
    *,
    alpha: float = 1.0,
    per_example: bool = False,
) -> tuple[jax.Array, jax.Array | None]:
    """Replaces a box of each image by that of its partner.

    The box has ``sqrt(1 - share)`` of each side, in whole pixels, about a random pixel, cut off at
    the border; labels are mixed by the remaining area. Shares are drawn from Beta(alpha, alpha).

    Args:
        key: a JAX key.
        x: images ``(n, H, W, C)``; partners are a random order of the same batch.
        y: labels ``(n, classes)``; None without labels.
        alpha: parameter of Beta(alpha, alpha); 1 draws shares evenly.
        per_example: True for a box for each image, False for one for the batch.

    Returns:
        Mixed images and labels.

    Source: Yun et al. 2019, arXiv:1905.04899, and the authors' code (MIT).
    """
    x = jnp.asarray(x)
    partner, share, of_place = _draw(key, len(x), alpha, per_example=per_example)
    sides = jnp.array(x.shape[1:3])
    size = jnp.floor(sides * jnp.sqrt(1 - share)[:, None])
    places = (len(x) if per_example else 1, 2)
    centre = jnp.floor(jax.random.uniform(of_place, places) * sides)
    corner = jnp.broadcast_to(centre, size.shape) - jnp.floor(size / 2)
    taken = jax.vmap(lambda c, s: rectangle((x.shape[1], x.shape[2]), c, s))(corner, size)
    mixed = jnp.where(taken[..., None], x[partner], x)
    return mixed, _mix_labels(y, partner, 1 - jnp.mean(taken, axis=(1, 2)))
