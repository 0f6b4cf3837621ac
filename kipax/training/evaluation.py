"""What a trained network says: its outputs in parts, and how often it is right."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kipax.errors import UsageError
from kipax.students import Outputs

__all__ = ["accuracies", "accuracy", "check_classes", "predict"]

EVALUATION_BATCH = 500


@functools.partial(jax.jit, static_argnums=(0, 1))
def _outputs(network: nn.Module, features: tuple[str, ...], variables: Any, x: jax.Array):
    out: Any = network.apply(variables, x)
    return Outputs(out.logits, out.penultimate, {name: out.features[name] for name in features})


@functools.partial(jax.jit, static_argnums=0)
def _stacked_logits(network: nn.Module, variables: Any, x: jax.Array) -> jax.Array:
    return jax.vmap(lambda v: _outputs(network, (), v, x).logits)(variables)


def _parts(x: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Equally large parts, the last filled with zeros, and how many images are in each."""
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
    """A network's outputs for any number of images, in evaluation mode.

    Args:
        network: a student.
        variables: its parameters and, if it has any, batch statistics.
        x: preprocessed images ``(n, H, W, C)``.
        features: names of the intermediate activations to give; they may be large.
        size: images at once.

    Returns:
        `Outputs` of NumPy arrays.

    Raises:
        UsageError: no images.

    Example:
        >>> from kipax.students import StudentSpec, init_variables
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
        for part, count in _parts(x, size)
    ]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _share_right(logits: np.ndarray, classes: np.ndarray) -> float:
    finite = np.all(np.isfinite(logits), axis=-1)
    return float(np.mean((np.argmax(logits, axis=-1) == classes) & finite))


def accuracy(
    network: nn.Module, variables: dict[str, Any], x: np.ndarray, classes: np.ndarray
) -> float:
    """Fraction of preprocessed images ``(n, H, W, C)`` put in their class, 500 at a time.

    An image whose logits are not finite counts as wrong.

    Args:
        network: a student.
        variables: its parameters and, if it has any, batch statistics.
        x: preprocessed images.
        classes: integers ``(n,)``.

    Raises:
        UsageError: no images, or classes of another shape.
    """
    check_classes(x, classes)
    logits = np.asarray(predict(network, variables, x).logits)
    return _share_right(logits, np.asarray(classes))


def accuracies(
    network: nn.Module, variables: dict[str, Any], x: np.ndarray, classes: np.ndarray, count: int
) -> list[float]:
    """`accuracy` of `count` networks whose variables are stacked (of one: as they are)."""
    if count == 1:
        return [accuracy(network, variables, x, classes)]
    check_classes(x, classes)
    size = max(1, EVALUATION_BATCH // count)  # all hold one batch's activations at once
    logits = [
        np.asarray(_stacked_logits(network, variables, part))[:, :rows]
        for part, rows in _parts(x, size)
    ]
    return [_share_right(one, np.asarray(classes)) for one in np.concatenate(logits, axis=1)]


def check_classes(x: np.ndarray, classes: np.ndarray) -> None:
    """Raises a `UsageError` unless there is one class for each of one or more images."""
    if not len(x) or np.shape(classes) != (len(x),):
        raise UsageError(
            f"accuracy needs images and a class for each; got {len(x)} images and classes of the "
            f"shape {np.shape(classes)}."
        )
