"""Linear probes: linear classifiers of features, by gradient descent and in closed form."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

from kipax import ridge
from kipax.errors import UsageError
from kipax.probes.features import count_classes, standardise
from kipax.students import Outputs, predict
from kipax.training import CrossEntropy, Descent, Hook, LabelledBatches, Setting, TrainState, fit

__all__ = ["LINEAR_RULE", "Linear", "LinearRule", "linear_probe", "ridge_probe", "tenths"]


class LinearRule(NamedTuple):
    """The constants of `linear_probe`."""

    epochs: int = 40
    batch_size: int = 256
    learning_rate: float = 0.01
    weight_decay: float = 1e-4

    def steps(self, images: int) -> int:
        """Returns the number of steps that all epochs over this number of images take."""
        return self.epochs * math.ceil(images / self.batch_size)


LINEAR_RULE = LinearRule()  # Koohpayegani et al. 2020


class Linear(nn.Module):
    """A linear classifier of features, as a Flax network.

    Attributes:
        classes: number of outputs.
    """

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> Outputs:
        """Returns the `Outputs` of features ``(n, 1, 1, d)``."""
        flat = x.reshape(len(x), -1)
        return Outputs(nn.Dense(self.classes)(flat), flat, {})


@functools.cache
def _direction() -> optax.GradientTransformation:
    """Returns the same optax object each time, so that a training step is compiled once."""
    decay = optax.add_decayed_weights(LINEAR_RULE.weight_decay)
    return optax.chain(decay, optax.trace(decay=0.9))


def tenths(steps: int) -> optax.Schedule:
    """Returns a schedule: 1, a tenth after 15/40 of the steps, a hundredth after 30/40."""
    drops = {round(share * steps): 0.1 for share in (15 / 40, 30 / 40)}
    return optax.piecewise_constant_schedule(1.0, drops)


class _Last(Hook):
    """Keeps the parameters after the last step of a training."""

    variables: dict[str, Any]

    def end(self, step: int, state: TrainState) -> None:
        self.variables = {"params": state.params}


def linear_probe(
    train: np.ndarray,
    train_classes: np.ndarray,
    test: np.ndarray,
    test_classes: np.ndarray,
    *,
    epochs: int = LINEAR_RULE.epochs,
    learning_rate: float = LINEAR_RULE.learning_rate,
    seed: int = 0,
) -> float:
    """Trains a linear classifier on training features; returns its accuracy on test features.

    Features are scaled to length 1 and standardised. SGD with momentum 0.9, weight decay 1e-4,
    batches of 256, the rate a tenth after 15/40 and 30/40 of the epochs. Images are not augmented,
    unlike in the paper.

    Args:
        train: features of training images ``(n, d)``.
        train_classes: their classes ``(n,)``.
        test: features of test images ``(m, d)``.
        test_classes: their classes ``(m,)``.
        epochs: number of passes over the training images.
        learning_rate: the first rate.
        seed: seed of initial weights and order.

    Raises:
        UsageError: features and classes do not fit each other, or a number is not positive.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, and the authors' code.
    """
    classes = count_classes(train, train_classes, test, test_classes)
    if epochs < 1 or not learning_rate > 0:
        given = f"{epochs} and {learning_rate}"
        raise UsageError(f"epochs and learning_rate must be positive; got {given}.")
    x, x_test = (part[:, None, None, :] for part in standardise(train, test))
    rule = LINEAR_RULE._replace(epochs=epochs)
    steps = rule.steps(len(x))
    network, last = Linear(classes), _Last()
    labels = ridge.one_hot(train_classes, classes)
    fit(
        network,
        LabelledBatches(x, labels, size=rule.batch_size, seed=seed),
        objective=CrossEntropy(),
        descent=Descent(_direction(), tenths(steps), steps),
        settings=[Setting(learning_rate, 0.0, seed)],
        hooks=[last],
    )
    logits = predict(network, last.variables, x_test).logits
    return float(np.mean(np.argmax(logits, axis=1) == test_classes))


def ridge_probe(
    train: np.ndarray,
    train_classes: np.ndarray,
    test: np.ndarray,
    test_classes: np.ndarray,
    *,
    ridges: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
) -> float:
    """Fits ridge regression to training features; returns its accuracy on test features.

    Features are scaled to length 1 and standardised, with a constant beside them. The ridge, a
    multiple of the mean eigenvalue of ``x^T x``, is the one of least leave-one-out square error,
    in float64.

    Args:
        train: features of training images ``(n, d)``.
        train_classes: their classes ``(n,)``.
        test: features of test images ``(m, d)``.
        test_classes: their classes ``(m,)``.
        ridges: the ridges to choose from.

    Cost: ``n d^2 + d^3``.

    Raises:
        UsageError: features and classes do not fit each other.
    """
    classes = count_classes(train, train_classes, test, test_classes)
    x, x_test = (_with_constant(part) for part in standardise(train, test))
    y = ridge.one_hot(np.asarray(train_classes), classes).astype(np.float64)
    values, vectors = np.linalg.eigh(x.T @ x)
    rotated, projected = x @ vectors, vectors.T @ (x.T @ y)
    best: tuple[float, np.ndarray] | None = None
    for share in ridges:
        weights = 1 / (np.maximum(values, 0.0) + share * values.mean())
        solution = weights[:, None] * projected
        leverage = np.sum(rotated**2 * weights, axis=1, keepdims=True)
        error = float(np.mean(((y - rotated @ solution) / np.maximum(1 - leverage, 1e-9)) ** 2))
        if best is None or error < best[0]:
            best = error, vectors @ solution
    assert best is not None
    return float(np.mean(np.argmax(x_test @ best[1], axis=1) == test_classes))


def _with_constant(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1).astype(np.float64)
