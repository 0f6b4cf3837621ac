"""Networks without branches: VGG, AlexNet, and one whose features are points in a plane."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax.pixels import check_preprocessed
from kipax.students.layers import Conv, Dense, Outputs, normalise

__all__ = ["VGG", "VGG_STAGES", "AlexNet", "Planar", "PointClassifier"]

_conv = functools.partial(Conv, parameterisation="uniform")
_dense = functools.partial(Dense, parameterisation="uniform")

# Convolutions of each stage, which ends with a pool. Simonyan & Zisserman 2015, table 1.
VGG_STAGES = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_MULTIPLES = (1, 2, 4, 8, 8)  # channels of each stage


class VGG(nn.Module):
    """VGG with one dense layer: [conv, norm, relu] and max pools, then dense.

    Attributes:
        classes: number of outputs.
        width: channels of the first stage, 64 by default; later ones are multiples.
        normalisation: see `kipax.students.layers`.
        stages: number of convolutions of each stage.
        first_padding: zero padding of the first convolution.

    Features: ``stage1``, ``stage2``, ... after each pool.
    """

    classes: int
    width: int = 64
    normalisation: str = "instance"
    stages: tuple[int, ...] = VGG_STAGES[11]
    first_padding: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        features: dict[str, jax.Array] = {}
        position = 0  # of convolutions and pools, by which they are named
        for multiple, count in zip(_MULTIPLES, self.stages, strict=True):
            for _ in range(count):
                padding = self.first_padding if position == 0 else 1
                x = _conv(multiple * self.width, padding=padding, name=f"conv{position}")(x)
                x = normalise(x, self.normalisation, name=f"norm{position}", train=train)
                x = nn.relu(x)
                position += 1
            x = nn.max_pool(x, (2, 2), (2, 2))
            features[f"stage{len(features) + 1}"] = x
            position += 1
        penultimate = x.reshape(len(x), -1)
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)


class AlexNet(nn.Module):
    """AlexNet as torchvision has it, without dropout; images of 63 pixels or more.

    Attributes:
        classes: number of outputs.

    Features: ``conv1`` to ``conv5``.

    Source: Krizhevsky 2014, arXiv:1404.5997.
    """

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        layers = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
        features: dict[str, jax.Array] = {}
        for number, (channels, size, stride, padding) in enumerate(layers, 1):
            name = f"conv{number}"
            x = _conv(channels, size=size, stride=stride, padding=padding, name=name)(x)
            x = features[name] = nn.relu(x)
            if number in (1, 2, 5):
                x = nn.max_pool(x, (3, 3), (2, 2))
        x = _average_to(x, 6).reshape(len(x), -1)
        x = nn.relu(_dense(4096, name="dense1")(x))
        penultimate = nn.relu(_dense(4096, name="dense2")(x))
        return Outputs(_dense(self.classes, name="head")(penultimate), penultimate, features)


def _average_to(x: jax.Array, side: int) -> jax.Array:
    """Averages ``(n, H, W, C)`` over a grid of `side` by `side` cells, which may overlap."""
    for axis in (1, 2):
        length = x.shape[axis]
        bounds = [(i * length // side, -(-(i + 1) * length // side)) for i in range(side)]
        cells = [jax.lax.slice_in_dim(x, a, b, axis=axis).mean(axis) for a, b in bounds]
        x = jnp.stack(cells, axis)
    return x


class PointClassifier(nn.Module):
    """Three dense layers from points to classes.

    Attributes:
        classes: number of outputs.
        width: features of the hidden layers.
    """

    classes: int
    width: int

    @nn.compact
    def __call__(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns logits and penultimate activations of points ``(n, 2)``."""
        x = nn.relu(_dense(self.width, name="dense1")(points))
        penultimate = nn.relu(_dense(self.width, name="dense2")(x))
        return _dense(self.classes, name="head")(penultimate), penultimate


class Planar(nn.Module):
    """A network whose features are two numbers, so that images are points in a plane.

    Three convolutions, the last with two channels whose means are the point, then three dense
    layers. The paper says no more; channels, normalisation and the pool after each of the first
    two convolutions are our choice.

    Attributes:
        classes: number of outputs.
        width: channels of the first two convolutions and of the hidden dense layers.
        normalisation: see `kipax.students.layers`; of the first two convolutions.

    Features: ``point`` ``(n, 2)``.

    Source: Frank & Davis 2025, figure 2.
    """

    classes: int
    width: int = 64
    normalisation: str = "batch"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        for number in (1, 2):
            x = _conv(self.width, name=f"conv{number}")(x)
            x = nn.relu(normalise(x, self.normalisation, name=f"norm{number}", train=train))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        point = jnp.mean(_conv(2, name="conv3")(x), axis=(1, 2))
        classify = PointClassifier(self.classes, self.width, name="classifier")
        logits, penultimate = classify(point)
        return Outputs(logits, penultimate, {"point": point})
