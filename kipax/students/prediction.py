"""A network's outputs for any number of images, in parts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kipax.errors import UsageError
from kipax.students.layers import Outputs

__all__ = ["EVALUATION_BATCH", "equal_parts", "predict"]

EVALUATION_BATCH = 500


@functools.partial(jax.jit, static_argnums=(0, 1))
def _outputs(network: nn.Module, features: tuple[str, ...], variables: Any, x: jax.Array):
    out: Any = network.apply(variables, x)
    return Outputs(out.logits, out.penultimate, {name: out.features[name] for name in features})


def equal_parts(x: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields equally large parts, the last filled with zeros, each with its number of images."""
    size = max(1, min(size, len(x)))
    for start in range(0, len(x), size):
        part = x[start : start + size]
        yield np.pad(part, [(0, size - len(part))] + [(0, 0)] * (x.ndim - 1)), len(part)


def predict(
    network: nn.Module,
    variables: dict[str, Any],
    x: np.ndarray,
    *,
    features: Sequence[str] = (),
    size: int = EVALUATION_BATCH,
) -> Outputs:
    """Returns a network's outputs for any number of images, in evaluation mode.

    Args:
        network: a student.
        variables: its parameters and, if it has any, its `batch_stats`.
        x: preprocessed images ``(n, H, W, C)``.
        features: names of the intermediate activations to return; they may be large.
        size: number of images at once.

    Returns:
        `Outputs` of NumPy arrays.

    Raises:
        UsageError: there are no images.

    Example:
        >>> from kipax.students.registry import StudentSpec, init_variables
        >>> network = StudentSpec(name="fc1", width=8).build(3, (4, 4, 1))
        >>> variables = init_variables(network, jax.random.key(0), (4, 4, 1))
        >>> predict(network, variables, np.zeros((5, 4, 4, 1))).logits.shape
        (5, 3)
    """
    if not len(x):
        raise UsageError("a prediction needs one image or more; got none.")
    parts = [
        jax.tree.map(
            lambda a, n=count: np.asarray(a)[:n],
            _outputs(network, tuple(features), variables, part),
        )
        for part, count in equal_parts(x, size)
    ]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
