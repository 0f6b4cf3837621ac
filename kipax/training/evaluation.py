"""The accuracy of trained networks."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kipax.errors import UsageError
from kipax.students import predict
from kipax.students.prediction import EVALUATION_BATCH, equal_parts

__all__ = ["accuracies", "accuracy", "check_classes", "share_right"]


@functools.partial(jax.jit, static_argnums=0)
def _stacked_logits(network: nn.Module, variables: Any, x: jax.Array) -> jax.Array:
    def logits(one: Any) -> jax.Array:
        out: Any = network.apply(one, x)
        return out.logits

    return jax.vmap(logits)(variables)


def share_right(logits: np.ndarray, classes: np.ndarray) -> float:
    """Returns the share of images that logits ``(n, classes)`` classify as `classes` ``(n,)``.

    An image whose logits are not finite counts as wrong.
    """
    finite = np.all(np.isfinite(logits), axis=-1)
    return float(np.mean((np.argmax(logits, axis=-1) == classes) & finite))


def accuracy(
    network: nn.Module, variables: dict[str, Any], x: np.ndarray, classes: np.ndarray
) -> float:
    """Returns the fraction of preprocessed images ``(n, H, W, C)`` that are classified correctly.

    Images are evaluated 500 at a time. An image whose logits are not finite counts as wrong.

    Args:
        network: a student.
        variables: its parameters and, if it has any, `batch_stats`.
        x: preprocessed images.
        classes: integers ``(n,)``.

    Raises:
        UsageError: there are no images, or the classes have another shape.
    """
    check_classes(x, classes)
    logits = np.asarray(predict(network, variables, x).logits)
    return share_right(logits, np.asarray(classes))


def accuracies(
    network: nn.Module, variables: dict[str, Any], x: np.ndarray, classes: np.ndarray, count: int
) -> list[float]:
    """Returns `accuracy` of `count` networks with stacked variables (not stacked for one)."""
    if count == 1:
        return [accuracy(network, variables, x, classes)]
    check_classes(x, classes)
    size = max(1, EVALUATION_BATCH // count)  # all hold one batch's activations at once
    logits = [
        np.asarray(_stacked_logits(network, variables, part))[:, :rows]
        for part, rows in equal_parts(x, size)
    ]
    return [share_right(one, np.asarray(classes)) for one in np.concatenate(logits, axis=1)]


def check_classes(x: np.ndarray, classes: np.ndarray) -> None:
    """Raises a `UsageError` unless there is one class for each of one or more images."""
    if not len(x) or np.shape(classes) != (len(x),):
        raise UsageError(
            f"accuracy needs images and a class for each; got {len(x)} images and classes of the "
            f"shape {np.shape(classes)}."
        )
