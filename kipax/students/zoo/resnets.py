"""Residual networks: for small images and for ImageNet's, and pre-activation ones."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax.pixels import check_preprocessed
from kipax.students.layers import Dense, Outputs, conv_before, normalise

__all__ = ["ResNet", "WideResNet"]

_dense = functools.partial(Dense, parameterisation="uniform")


class ResNet(nn.Module):
    """Residual network, with a stem for small images (3x3, no pool) or ImageNet's.

    Attributes:
        classes: number of outputs.
        width: channels of the first stage, doubled from stage to stage.
        normalisation: see `kipax.students.layers`.
        blocks: number of blocks of each stage; (2, 2, 2, 2) is ResNet-18.
        bottleneck: whether a block is [1x1, 3x3, 1x1] with four times the channels at its end
            (ResNet-50 and deeper), instead of two 3x3 convolutions.
        stem: ``small``, or ``imagenet``: 7x7 with stride 2, and a max pool.

    Features: ``stage1``, ``stage2``, ... after each stage.

    Source: He et al. 2016, arXiv:1512.03385; strides of a bottleneck are in its 3x3 convolution.
    """

    classes: int
    width: int = 64
    normalisation: str = "instance"
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    stem: str = "small"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        conv = conv_before(self.normalisation)
        norm = functools.partial(normalise, kind=self.normalisation, train=train)
        features: dict[str, jax.Array] = {}
        if self.stem == "small":
            x = nn.relu(norm(conv(self.width, name="stem")(x), name="stem_norm"))
        else:
            x = conv(self.width, size=7, stride=2, padding=3, name="stem")(x)
            x = nn.relu(norm(x, name="stem_norm"))
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, count in enumerate(self.blocks):
            for block in range(count):
                name, stride = f"s{stage}b{block}", 2 if stage and not block else 1
                y = self._branch(x, stage, stride, name, norm)
                if y.shape != x.shape:
                    channels = y.shape[-1]
                    x = conv(channels, size=1, stride=stride, padding=0, name=f"{name}_short")(x)
                    x = norm(x, name=f"{name}_short_norm")
                x = nn.relu(x + y)
            features[f"stage{stage + 1}"] = x
        penultimate = jnp.mean(x, axis=(1, 2))
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)

    def _branch(self, x: jax.Array, stage: int, stride: int, name: str, norm) -> jax.Array:
        """Returns the branch of a block that is added to its input."""
        conv = conv_before(self.normalisation)
        channels = self.width * 2**stage
        if not self.bottleneck:
            x = conv(channels, stride=stride, name=f"{name}_conv1")(x)
            x = nn.relu(norm(x, name=f"{name}_norm1"))
            return norm(conv(channels, name=f"{name}_conv2")(x), name=f"{name}_norm2")
        pointwise = functools.partial(conv, size=1, padding=0)
        x = nn.relu(norm(pointwise(channels, name=f"{name}_conv1")(x), name=f"{name}_norm1"))
        x = conv(channels, stride=stride, name=f"{name}_conv2")(x)
        x = nn.relu(norm(x, name=f"{name}_norm2"))
        return norm(pointwise(4 * channels, name=f"{name}_conv3")(x), name=f"{name}_norm3")


class WideResNet(nn.Module):
    """WRN-`depth`-`widen`: three stages of pre-activation blocks.

    Attributes:
        classes: number of outputs.
        depth: number of layers, 6 n + 4: 10, 16, 22, 28, 40.
        widen: factor of the channels 16, 32 and 64.
        normalisation: see `kipax.students.layers`; ``batch`` in its paper.

    Features: ``stage1`` to ``stage3``.

    Source: Zagoruyko & Komodakis 2016, arXiv:1605.07146.
    """

    classes: int
    depth: int = 16
    widen: int = 4
    normalisation: str = "batch"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        conv = conv_before(self.normalisation)
        norm = functools.partial(normalise, kind=self.normalisation, train=train)
        features: dict[str, jax.Array] = {}
        x = conv(16, name="stem")(x)
        for stage in range(3):
            for block in range((self.depth - 4) // 6):
                name, stride = f"s{stage}b{block}", 2 if stage and not block else 1
                channels = 16 * 2**stage * self.widen
                y = nn.relu(norm(x, name=f"{name}_norm1"))
                if channels != x.shape[-1] or stride > 1:
                    x = conv(channels, size=1, stride=stride, padding=0, name=f"{name}_short")(y)
                y = conv(channels, stride=stride, name=f"{name}_conv1")(y)
                y = nn.relu(norm(y, name=f"{name}_norm2"))
                x = x + conv(channels, name=f"{name}_conv2")(y)
            features[f"stage{stage + 1}"] = x
        penultimate = jnp.mean(nn.relu(norm(x, name="last_norm")), axis=(1, 2))
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)
