"""The empirical NTK of a finite network, and its largest eigenvalue."""

from __future__ import annotations

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["empirical_ntk", "largest_eigenvalue"]


def _scalar(network: nn.Module, variables: dict[str, Any], x: jax.Array, *, train: bool):
    """Returns ``sum_k f_k(x) / sqrt(classes)``, ``(n,)``."""
    moving = [k for k in variables if k != "params"]
    out, _ = network.apply(variables, x, train=train, mutable=moving)
    return jnp.sum(out.logits, axis=1) / math.sqrt(out.logits.shape[1])


@functools.partial(jax.jit, static_argnums=0)
def _gradients(network: nn.Module, variables: dict[str, Any], x: jax.Array) -> jax.Array:
    """Returns each image's gradient of `_scalar` in all parameters, ``(n, parameters)``."""

    def scalar(params, image):
        return _scalar(network, variables | {"params": params}, image[None], train=False)[0]

    leaves = jax.tree.leaves(jax.vmap(jax.grad(scalar), in_axes=(None, 0))(variables["params"], x))
    return jnp.concatenate([leaf.reshape(len(x), -1) for leaf in leaves], axis=1)


@functools.partial(jax.jit, static_argnums=0)
def _product(network: nn.Module, variables: dict[str, Any], x: jax.Array, v: jax.Array):
    """Returns the product of the empirical NTK of `x` and a vector ``(n,)``."""

    def scalar(params):
        return _scalar(network, variables | {"params": params}, x, train=True)

    params = variables["params"]
    _, pull = jax.vjp(scalar, params)
    # A student has no forward mode. `pull` multiplies by the transposed Jacobian and is linear, so
    # its own pullback multiplies by the Jacobian.
    gradient, push = jax.vjp(lambda v: pull(v)[0], v)
    return push(gradient)[0]


def empirical_ntk(
    network: nn.Module, variables: dict[str, Any], x1: jax.Array, x2: jax.Array | None = None
) -> np.ndarray:
    """Returns the empirical NTK ``sum_j d_j g(x1) d_j g(x2)``, a sum over all parameters j.

    Here ``g = sum_k f_k / sqrt(classes)``, with the outputs f_k. In the NTK parameterisation it
    approaches the exact kernel as width grows.

    Args:
        network: a student without batch normalisation.
        variables: variables of the network, see `init_variables`.
        x1: images ``(n1, H, W, C)``.
        x2: images ``(n2, H, W, C)``; None for `x1`.

    Returns:
        ``(n1, n2)`` float64.

    Cost: the gradients of n1 + n2 images in memory: for tests, not for wide networks.

    Source: Nguyen et al. 2021, appendix A.
    """
    first = np.asarray(_gradients(network, variables, x1), np.float64)
    if x2 is None:
        return first @ first.T
    return first @ np.asarray(_gradients(network, variables, x2), np.float64).T


def largest_eigenvalue(
    network: nn.Module, variables: dict[str, Any], x: jax.Array, *, tolerance: float = 1e-4
) -> float:
    """Returns the largest eigenvalue of the `empirical_ntk` of `x` with itself, by power iteration.

    Only products with the Jacobian are formed, so memory is that of one training step at any
    width. Batch normalisation sees `x` as its batch, as training does.

    Args:
        network: a student.
        variables: variables of the network, see `init_variables`.
        x: images ``(n, H, W, C)``.
        tolerance: relative change of the eigenvalue between iterations at which they end.

    Returns:
        The eigenvalue; NaN where the network's outputs are not finite.
    """
    v, value = jnp.ones(len(x)) / math.sqrt(len(x)), 0.0
    for _ in range(100):
        w = _product(network, variables, x, v)
        before, value = value, float(v @ w)
        if not value > 0 or abs(value - before) <= tolerance * value:
            break
        v = w / jnp.linalg.norm(w)
    return value
