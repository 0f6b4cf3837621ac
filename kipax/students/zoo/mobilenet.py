"""MobileNetV2: inverted residual blocks with depthwise convolutions."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax.pixels import check_preprocessed
from kipax.students.layers import Dense, Outputs, conv_before, normalise

__all__ = ["MobileNetV2"]

_dense = functools.partial(Dense, parameterisation="uniform")

# Expansion, channels at width 32, number of blocks and first stride of each stage; table 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _scaled(channels: int, width: int) -> int:
    """Returns a multiple of 8 near ``channels * width / 32``, at most a tenth below it."""
    exact = channels * width / 32
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class MobileNetV2(nn.Module):
    """MobileNetV2 with the strides of ImageNet, without dropout.

    Attributes:
        classes: number of outputs.
        width: channels of the first convolution, 32 by default; the others are in proportion.
        normalisation: see `kipax.students.layers`.

    Features: ``stage1`` to ``stage7``.

    Source: Sandler et al. 2018, arXiv:1801.04381.
    """

    classes: int
    width: int = 32
    normalisation: str = "batch"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        conv = conv_before(self.normalisation)

        def layer(x: jax.Array, channels: int, name: str, **options: Any) -> jax.Array:
            x = conv(channels, name=name, **options)(x)
            return normalise(x, self.normalisation, name=f"{name}_norm", train=train)

        x = nn.relu6(layer(x, _scaled(32, self.width), "stem", stride=2))
        features: dict[str, jax.Array] = {}
        for stage, (expansion, channels, count, first) in enumerate(_STAGES):
            out = _scaled(channels, self.width)
            for block in range(count):
                name, stride = f"s{stage}b{block}", first if block == 0 else 1
                y, hidden = x, expansion * x.shape[-1]
                if expansion > 1:
                    y = nn.relu6(layer(y, hidden, f"{name}_expand", size=1, padding=0))
                y = nn.relu6(layer(y, hidden, f"{name}_depth", stride=stride, groups=hidden))
                y = layer(y, out, f"{name}_project", size=1, padding=0)
                x = x + y if x.shape == y.shape and stride == 1 else y
            features[f"stage{stage + 1}"] = x
        last = max(1280, _scaled(1280, self.width))
        x = nn.relu6(layer(x, last, "last", size=1, padding=0))
        penultimate = jnp.mean(x, axis=(1, 2))
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)
