"""`FeedForward`: a `kipax.Architecture` as a finite network."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax.architectures import Architecture
from kipax.pixels import check_preprocessed
from kipax.students.layers import Conv, Dense, Outputs, normalise

__all__ = ["FeedForward"]


class FeedForward(nn.Module):
    """The network whose infinite width is the architecture's kernel.

    Attributes:
        architecture: the layers; its `W_std` and `b_std` are used.
        classes: number of outputs.
        width: channels of every hidden layer; with `doubling`, of those before the first pool.
        parameterisation: see `kipax.students.layers`; the paper trains ``standard``, the exact
            kernel belongs to ``ntk``.
        normalisation: ``none``, ``layer``, ``instance`` or ``batch``, before each relu, except
            in the stem: the [conv, relu] that ConvNet and Myrtle put before their blocks.
        first_padding: zero padding of the first convolution.
        doubling: whether channels double after each pool.

    Features: ``hidden1``, ``hidden2``, ... after each relu.

    Source: Nguyen et al. 2021, appendix A; arXiv:2107.13034.
    """

    architecture: Architecture
    classes: int
    width: int = 1024
    parameterisation: str = "standard"
    normalisation: str = "none"
    first_padding: int = 1
    doubling: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of preprocessed images ``(n, H, W, C)``."""
        check_preprocessed(x, "a student")
        layers = self.architecture.layers
        width, penultimate = self.width, x
        features: dict[str, jax.Array] = {}
        for position, layer in enumerate(layers):
            if layer == "conv":
                padding = self.first_padding if position == 0 else 1
                x = Conv(width, padding=padding, name=f"conv{position}", **self._scales)(x)
            elif layer == "dense":
                penultimate, last = x, position == len(layers) - 1
                size = self.classes if last else width
                x = Dense(size, name=f"dense{position}", **self._scales)(x)
            elif layer == "relu":
                number = len(features) + 1
                if position != self._stem:
                    name = f"norm{number}"
                    x = normalise(x, self.normalisation, name=name, train=train)
                x = nn.relu(x)
                features[f"hidden{number}"] = x
            elif layer == "avg_pool":
                x = nn.avg_pool(x, (2, 2), (2, 2))
                width *= 2 if self.doubling else 1
            elif layer == "flatten":
                x = x.reshape(len(x), -1)
            else:
                x = jnp.mean(x, axis=(1, 2))
        return Outputs(x, penultimate, features)

    @property
    def _scales(self) -> dict:
        net = self.architecture
        return {
            "parameterisation": self.parameterisation,
            "W_std": net.W_std,
            "b_std": net.b_std,
        }

    @property
    def _stem(self) -> int:
        """Position of the relu that is not normalised, or -1."""
        layers = self.architecture.layers
        return 1 if layers[:3] == ("conv", "relu", "conv") and "avg_pool" in layers else -1
