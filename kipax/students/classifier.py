"""Reads and replaces the last dense layer of any student."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kipax.errors import UsageError
from kipax.students.feedforward import FeedForward
from kipax.students.layers import affine_scales
from kipax.students.zoo import Planar

__all__ = ["classifier_of", "classifier_path", "with_classifier", "without_classifier"]


def classifier_path(network: nn.Module) -> tuple[str, ...]:
    """Returns the path of a student's last dense layer in its parameters.

    Args:
        network: a student of `kipax.students`.

    Returns:
        Keys from the outside in, such as ``("head",)``.
    """
    if isinstance(network, FeedForward):
        return (f"dense{len(network.architecture.layers) - 1}",)
    return ("classifier", "head") if isinstance(network, Planar) else ("head",)


def classifier_of(network: nn.Module, variables: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """Returns the kernel and the bias of a student's last dense layer.

    A student's logits are ``penultimate @ kernel + bias``.

    Args:
        network: a student of `kipax.students`.
        variables: its variables.

    Returns:
        Kernel ``(features, classes)`` and bias ``(classes,)``, with the scales of the NTK
        parameterisation in them.

    Example:
        >>> from kipax.students import StudentSpec, init_variables
        >>> network = StudentSpec(name="fc1", width=8).build(3, (4, 4, 1))
        >>> variables = init_variables(network, jax.random.key(0), (4, 4, 1))
        >>> kernel, bias = classifier_of(network, variables)
        >>> kernel.shape, bias.shape
        ((8, 3), (3,))
    """
    layer = variables["params"]
    for key in classifier_path(network):
        layer = layer[key]
    of_kernel, of_bias = _scales(network, len(layer["kernel"]))
    return layer["kernel"] * of_kernel, layer["bias"] * of_bias


def with_classifier(
    network: nn.Module, variables: dict[str, Any], kernel: Any, bias: Any
) -> dict[str, Any]:
    """Returns variables with another last dense layer, of any number of classes.

    Args:
        network: a student of `kipax.students`; its own number of classes does not matter.
        variables: its variables, which stay as they are.
        kernel: ``(features, classes)``, as `classifier_of` returns it.
        bias: ``(classes,)``.

    Returns:
        Variables of the same student with that number of classes.

    Raises:
        UsageError: the kernel and the bias do not fit the features.
    """
    features = len(classifier_of(network, variables)[0])
    if jnp.ndim(kernel) != 2 or jnp.shape(kernel) != (features, jnp.size(bias)):
        raise UsageError(
            f"this network's last layer is a kernel ({features}, classes) and a bias; got the "
            f"shapes {jnp.shape(kernel)} and {jnp.shape(bias)}."
        )
    of_kernel, of_bias = _scales(network, features)
    layer = {
        "kernel": jnp.asarray(kernel, jnp.float32) / of_kernel,
        "bias": jnp.asarray(bias, jnp.float32) / of_bias,
    }
    params = _replaced(variables["params"], classifier_path(network), layer)
    return {**variables, "params": params}


def without_classifier(network: nn.Module, variables: dict[str, Any]) -> dict[str, Any]:
    """Returns variables whose last dense layer is zero, for a network that learned no classes.

    Args:
        network: a student of `kipax.students`.
        variables: its variables.
    """
    kernel, bias = classifier_of(network, variables)
    return with_classifier(network, variables, 0 * kernel, 0 * bias)


def _replaced(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {**tree, first: _replaced(tree[first], tuple(rest), value) if rest else value}


def _scales(network: nn.Module, features: int) -> tuple[float, float]:
    """Returns the factors of a last layer's kernel and bias in the forward pass."""
    if not isinstance(network, FeedForward):
        return 1.0, 1.0
    net = network.architecture
    return affine_scales(network.parameterisation, features, net.W_std, net.b_std)
