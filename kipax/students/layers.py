"""The layers of every student: affine maps with a choice of parameterisation, normalisations."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax.students.convolution import convolve

__all__ = [
    "NORMALISATIONS",
    "PARAMETERISATIONS",
    "Conv",
    "Dense",
    "Outputs",
    "affine_scales",
    "conv_before",
    "normalise",
]

NORMALISATIONS = ("none", "layer", "instance", "batch")
PARAMETERISATIONS = ("standard", "ntk", "uniform", "lecun")


class Outputs(NamedTuple):
    """The outputs of a network for one batch, as arrays of JAX or of NumPy.

    Attributes:
        logits: ``(n, classes)``.
        penultimate: inputs of the last dense layer, ``(n, features)``.
        features: intermediate activations by name, in order of depth.
    """

    logits: Any
    penultimate: Any
    features: dict[str, Any]


def _initialisers(
    parameterisation: str, fan_in: int, W_std: float, b_std: float
) -> tuple[Callable, Callable]:
    if parameterisation == "ntk":
        return nn.initializers.normal(1.0), nn.initializers.normal(1.0)
    if parameterisation == "standard":
        return nn.initializers.normal(W_std / math.sqrt(fan_in)), nn.initializers.normal(b_std)
    if parameterisation == "lecun":
        return nn.initializers.lecun_normal(), nn.initializers.zeros
    bound = 1.0 / math.sqrt(fan_in)

    def uniform(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return uniform, uniform


def affine_scales(
    parameterisation: str, fan_in: int, W_std: float, b_std: float
) -> tuple[float, float]:
    """Returns the factors of weights and biases in the forward pass: 1 except for ``ntk``."""
    return (W_std / math.sqrt(fan_in), b_std) if parameterisation == "ntk" else (1.0, 1.0)


class _Affine(nn.Module):
    """Weights and biases of a linear map.

    Attributes:
        features: number of output channels.
        parameterisation: ``standard`` draws weights with std ``W_std / sqrt(fan_in)`` and
            biases with `b_std`; ``ntk`` draws both with std 1 and multiplies by these scales
            in the forward pass; ``uniform`` (PyTorch's default) and ``lecun`` (Flax's) are
            ``standard`` with other random distributions, and ignore `W_std` and `b_std`.
        W_std, b_std: scales of weights and biases, as in the kernel.
        use_bias: whether there is a bias; before a normalisation it would have no effect.
    """

    features: int
    parameterisation: str = "standard"
    W_std: float = math.sqrt(2.0)
    b_std: float = 0.1
    use_bias: bool = True

    def _weights(self, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array | float]:
        fan_in = math.prod(shape[:-1])
        of_kernel, of_bias = _initialisers(self.parameterisation, fan_in, self.W_std, self.b_std)
        kernel = self.param("kernel", of_kernel, shape)
        bias = self.param("bias", of_bias, (self.features,)) if self.use_bias else 0.0
        if self.parameterisation == "ntk":
            scales = affine_scales("ntk", fan_in, self.W_std, self.b_std)
            return kernel * scales[0], bias * scales[1]
        return kernel, bias


class Conv(_Affine):
    """Convolution of `size` pixels (3x3), with `padding` zero pixels on each side.

    Each of the `groups` groups of output channels sees as many groups of input channels.
    """

    size: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(n, H, W, C)`` to ``(n, H', W', features)``."""
        channels = x.shape[-1] // self.groups
        kernel, bias = self._weights((self.size, self.size, channels, self.features))
        return convolve(x, kernel, self.stride, self.padding, self.groups) + bias


class Dense(_Affine):
    """Fully connected layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(n, features in)`` to ``(n, features)``."""
        kernel, bias = self._weights((x.shape[-1], self.features))
        return x @ kernel + bias


def conv_before(normalisation: str) -> Callable[..., Conv]:
    """Returns a maker of convolutions for before a normalisation, with weights as in PyTorch.

    A batch or instance normalisation subtracts any bias, so the convolutions then have none.

    Args:
        normalisation: the kind of normalisation that follows.
    """
    use_bias = normalisation not in ("batch", "instance")
    return functools.partial(Conv, parameterisation="uniform", use_bias=use_bias)


def normalise(x: jax.Array, kind: str, *, name: str, train: bool) -> jax.Array:
    """Normalises pre-activations in a compact method; scale and shift of a channel are learned.

    * ``layer``: over an image's positions and channels;
    * ``instance``: over an image's positions, each channel by itself (needs positions: on
      vectors it is ``layer``);
    * ``batch``: over batch and positions; when not `train`, by the running averages (momentum 0.9)
      in `batch_stats`.
    """
    if kind == "batch":
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, name=name)(x)
    if kind == "instance" and x.ndim == 4:
        return nn.InstanceNorm(epsilon=1e-5, name=name)(x)
    if kind in ("layer", "instance"):
        axes = tuple(range(1, x.ndim))
        return nn.LayerNorm(epsilon=1e-5, reduction_axes=axes, feature_axes=-1, name=name)(x)
    return x
