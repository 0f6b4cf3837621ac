"""Further networks to evaluate distilled sets on: ResNet, VGG, WideResNet.

No maintained Flax package has them for small images. Weights are drawn as PyTorch draws them by
default, since the published tables were made with PyTorch.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax.pixels import check_preprocessed
from kipax.students.layers import Conv, Dense, Outputs, normalise

__all__ = ["VGG", "VGG11", "ResNet", "WideResNet"]

_conv = functools.partial(Conv, parameterisation="uniform")
_dense = functools.partial(Dense, parameterisation="uniform")

# Channels of each convolution; "pool" halves the image. Simonyan & Zisserman 2015, table 1 (A).
VGG11 = (1, "pool", 2, "pool", 4, 4, "pool", 8, 8, "pool", 8, 8, "pool")


class VGG(nn.Module):
    """VGG with one dense layer: [conv, norm, relu] and max pools, then dense.

    Attributes:
        classes: number of outputs.
        width: channels of the first convolution, 64 by default; later ones are multiples.
        normalisation: see `kipax.students.layers`.
        plan: multiples of `width` and ``"pool"``, in order.
        first_padding: zero padding of the first convolution.

    Features: ``stage1``, ``stage2``, ... after each pool.
    """

    classes: int
    width: int = 64
    normalisation: str = "instance"
    plan: tuple = VGG11
    first_padding: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        features: dict[str, jax.Array] = {}
        for position, entry in enumerate(self.plan):
            if entry == "pool":
                x = nn.max_pool(x, (2, 2), (2, 2))
                features[f"stage{len(features) + 1}"] = x
                continue
            padding = self.first_padding if position == 0 else 1
            x = _conv(entry * self.width, padding=padding, name=f"conv{position}")(x)
            x = normalise(x, self.normalisation, name=f"norm{position}", train=train)
            x = nn.relu(x)
        penultimate = x.reshape(len(x), -1)
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)


class ResNet(nn.Module):
    """Residual network with basic blocks and a stem for small images (3x3, no pool).

    Attributes:
        classes: number of outputs.
        width: channels of the first stage, doubled from stage to stage.
        normalisation: see `kipax.students.layers`.
        blocks: number of blocks of each stage; (2, 2, 2, 2) is ResNet-18.

    Features: ``stage1``, ``stage2``, ... after each stage.

    Source: He et al. 2016, arXiv:1512.03385, with the stem usual on CIFAR.
    """

    classes: int
    width: int = 64
    normalisation: str = "instance"
    blocks: tuple[int, ...] = (2, 2, 2, 2)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        norm = functools.partial(normalise, kind=self.normalisation, train=train)
        features: dict[str, jax.Array] = {}
        x = nn.relu(norm(_conv(self.width, name="stem")(x), name="stem_norm"))
        for stage, count in enumerate(self.blocks):
            for block in range(count):
                name, stride = f"s{stage}b{block}", 2 if stage and not block else 1
                channels = self.width * 2**stage
                y = _conv(channels, stride=stride, name=f"{name}_conv1")(x)
                y = nn.relu(norm(y, name=f"{name}_norm1"))
                y = norm(_conv(channels, name=f"{name}_conv2")(y), name=f"{name}_norm2")
                if y.shape != x.shape:
                    x = _conv(channels, size=1, stride=stride, padding=0, name=f"{name}_short")(x)
                    x = norm(x, name=f"{name}_short_norm")
                x = nn.relu(x + y)
            features[f"stage{stage + 1}"] = x
        penultimate = jnp.mean(x, axis=(1, 2))
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)


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
        norm = functools.partial(normalise, kind=self.normalisation, train=train)
        features: dict[str, jax.Array] = {}
        x = _conv(16, name="stem")(x)
        for stage in range(3):
            for block in range((self.depth - 4) // 6):
                name, stride = f"s{stage}b{block}", 2 if stage and not block else 1
                channels = 16 * 2**stage * self.widen
                y = nn.relu(norm(x, name=f"{name}_norm1"))
                if channels != x.shape[-1] or stride > 1:
                    x = _conv(channels, size=1, stride=stride, padding=0, name=f"{name}_short")(y)
                y = _conv(channels, stride=stride, name=f"{name}_conv1")(y)
                y = nn.relu(norm(y, name=f"{name}_norm2"))
                x = x + _conv(channels, name=f"{name}_conv2")(y)
            features[f"stage{stage + 1}"] = x
        penultimate = jnp.mean(nn.relu(norm(x, name="last_norm")), axis=(1, 2))
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)
