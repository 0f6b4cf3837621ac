"""Projectors: small networks between an embedding and a loss, discarded after training."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from kipax.errors import check_choice

__all__ = ["PROJECTORS", "init_projector", "project"]

PROJECTORS = ("linear", "mocov2", "simclr", "simclr_plain")
_EPSILON = 1e-5


def init_projector(kind: str, key: jax.Array, features: int, out: int) -> dict[str, Any]:
    """Draws the parameters of a projector, as PyTorch draws them by default.

    * ``linear``: one layer;
    * ``mocov2``: features, relu, `out`;
    * ``simclr``: as mocov2, with batch normalisation after each layer, without bias;
    * ``simclr_plain``: features, relu, features, relu, `out`.

    Args:
        kind: one of `PROJECTORS`.
        key: JAX key of the draw.
        features: length of an embedding.
        out: length of a projection.

    Source: Farhat & Chen 2023 (DAPT) and the authors' code.
    """
    check_choice("projector", kind, PROJECTORS)
    widths = {
        "linear": (features, out),
        "mocov2": (features, features, out),
        "simclr": (features, features, out),
        "simclr_plain": (features, features, features, out),
    }[kind]
    layers = {}
    for number, (rows, columns) in enumerate(itertools.pairwise(widths)):
        of_kernel, of_bias = jax.random.split(jax.random.fold_in(key, number))
        layer = {"kernel": _uniform(of_kernel, (rows, columns), rows**-0.5)}
        if kind == "simclr":
            layer |= {"scale": jnp.ones(columns), "shift": jnp.zeros(columns)}
        else:
            layer["bias"] = _uniform(of_bias, (columns,), rows**-0.5)
        layers[f"layer{number}"] = layer
    return layers


def _uniform(key: jax.Array, shape: tuple[int, ...], bound: float) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def project(params: dict[str, Any], x: jax.Array) -> jax.Array:
    """Returns projections of length 1, ``(n, out)``, of embeddings ``(n, features)``.

    Batch normalisation, if there is any, takes the statistics of the batch.

    Args:
        params: the result of `init_projector`.
        x: embeddings.
    """
    last = len(params) - 1
    for number in range(len(params)):
        layer = params[f"layer{number}"]
        x = x @ layer["kernel"]
        if "bias" in layer:
            x = x + layer["bias"]
        else:
            centred = x - jnp.mean(x, axis=0)
            deviation = jnp.sqrt(jnp.mean(centred**2, axis=0) + _EPSILON)
            x = centred / deviation * layer["scale"] + layer["shift"]
        if number < last:
            x = jax.nn.relu(x)
    return unit(x)


def unit(x: jax.Array) -> jax.Array:
    """Returns rows ``(n, d)`` of length 1; a row of zeros stays, with a finite gradient."""
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
