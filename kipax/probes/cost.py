"""Measures what a network costs: its parameters, its operations and its time."""

from __future__ import annotations

import statistics
import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Cost", "cost"]

_REPEATS = 5


class Cost(NamedTuple):
    """The cost of a network's forward pass.

    Attributes:
        parameters: number of parameters that are trained.
        flops: floating-point operations of an image, as XLA counts them; None where it does not.
        seconds: seconds of an image, in batches; the median of five.
    """

    parameters: int
    flops: float | None
    seconds: float


def cost(
    network: nn.Module,
    variables: dict[str, Any],
    image_shape: tuple[int, int, int],
    *,
    batch: int = 64,
) -> Cost:
    """Measures a network's forward pass in evaluation mode, on the device at hand.

    Args:
        network: a student.
        variables: its parameters and, if it has any, `batch_stats`.
        image_shape: height, width, channels.
        batch: number of images at once.
    """

    def logits(variables: Any, x: jax.Array) -> jax.Array:
        out: Any = network.apply(variables, x)
        return out.logits

    x = jnp.zeros((batch, *image_shape))
    compiled = jax.jit(logits).lower(variables, x).compile()
    counted: Any = compiled.cost_analysis() or {}
    flops = (counted[0] if isinstance(counted, list) else counted).get("flops")
    times = []
    jax.block_until_ready(compiled(variables, x))
    for _ in range(_REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(compiled(variables, x))
        times.append(time.perf_counter() - began)
    parameters = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(variables["params"]))
    return Cost(
        parameters,
        None if flops is None else float(flops) / batch,
        statistics.median(times) / batch,
    )
