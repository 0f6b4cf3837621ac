"""`Sides`: the arguments of the fused kernel's calls, on CPUs and GPUs."""

from __future__ import annotations

from typing import NamedTuple

import jax

__all__ = ["Sides"]


class Sides(NamedTuple):
    """Two sets of images with their scales, and which pairs are identical images.

    Attributes:
        x1, x2: images ``(n, H, W, C)`` float32.
        s1, s2: standard deviations before every ReLU ``(n, P)``.
        same: 1 where two images are identical, uint8 ``(n1, n2)``; without a type where these are
            cotangents.
    """

    x1: jax.Array
    x2: jax.Array
    s1: jax.Array
    s2: jax.Array
    same: jax.Array

    def turned(self) -> Sides:
        """Returns the sides with first and second swapped."""
        return Sides(self.x2, self.x1, self.s2, self.s1, self.same.T)
