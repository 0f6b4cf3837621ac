"""Projectors: small networks between an embedding and a loss, not kept after training."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from kipax.errors import UsageError, check_choice
from kipax.students import Outputs

__all__ = [
    "PROJECTORS",
    "apply_linear",
    "check_projection",
    "draw_rows",
    "init_linear",
    "init_projector",
    "init_sides",
    "project",
    "standardise",
    "unit",
]

PROJECTORS = ("linear", "mocov2", "simclr", "simclr_plain")
_EPSILON = 1e-5


def check_projection(projector: str, features: int) -> None:
    """Raises a `UsageError` for an unknown projector, or a length that is not positive.

    Args:
        projector: should be one of `PROJECTORS`.
        features: the length of a projection.
    """
    check_choice("projector", projector, PROJECTORS)
    if features < 1:
        raise UsageError(f"features must be positive; got {features}.")


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
        layer = init_linear(jax.random.fold_in(key, number), rows, columns)
        if kind == "simclr":
            del layer["bias"]  # batch normalisation would take it away
            layer |= {"scale": jnp.ones(columns), "shift": jnp.zeros(columns)}
        layers[f"layer{number}"] = layer
    return layers


def init_sides(
    kind: str, key: jax.Array, student: Outputs, teacher: Outputs, out: int
) -> dict[str, dict[str, Any]]:
    """Draws a projector for the student's embedding and one for the teacher's.

    Args:
        kind: one of `PROJECTORS`.
        key: JAX key of the draw.
        student: the student's outputs, or their shapes.
        teacher: the teacher's outputs, or their shapes.
        out: length of a projection.
    """
    of_student, of_teacher = jax.random.split(key)
    sides = {"student": (of_student, student), "teacher": (of_teacher, teacher)}
    return {
        side: init_projector(kind, k, outputs.penultimate.shape[-1], out)
        for side, (k, outputs) in sides.items()
    }


def draw_rows(key: jax.Array, count: int, features: int) -> jax.Array:
    """Draws the first rows of a queue or a memory ``(count, features)``; each is about 1 long.

    Source: the authors' code of CRD and CompRess.
    """
    bound = (features / 3) ** -0.5
    return jax.random.uniform(key, (count, features), minval=-bound, maxval=bound)


def init_linear(key: jax.Array, features: int, out: int) -> dict[str, jax.Array]:
    """Draws a linear map, a kernel ``(features, out)`` and a bias, as PyTorch does by default."""
    of_kernel, of_bias = jax.random.split(key)
    bound = features**-0.5
    return {
        "kernel": jax.random.uniform(of_kernel, (features, out), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(of_bias, (out,), minval=-bound, maxval=bound),
    }


def apply_linear(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Returns the linear map of embeddings ``(n, features)``; see `init_linear`."""
    return x @ layer["kernel"] + layer.get("bias", 0.0)


def standardise(x: jax.Array) -> jax.Array:
    """Returns embeddings ``(n, d)`` with mean 0 and deviation 1 over the batch, in each column."""
    centred = x - jnp.mean(x, axis=0)
    return centred / jnp.sqrt(jnp.mean(centred**2, axis=0) + _EPSILON)


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
        x = apply_linear(layer, x)
        if "scale" in layer:
            x = standardise(x) * layer["scale"] + layer["shift"]
        if number < last:
            x = jax.nn.relu(x)
    return unit(x)


def unit(x: jax.Array) -> jax.Array:
    """Returns rows ``(n, d)`` of length 1; a row of zeros stays, with a finite gradient."""
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
