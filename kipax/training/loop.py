"""Training a student: one jitted step for every learning rate and L2, a Python loop around it.

A loop in Python, not `lax.scan`: on CPUs convolutions inside a scan are many times slower.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from kipax.augment import AUGMENTATIONS, augment_batch
from kipax.errors import UsageError, check_choice
from kipax.students import init_variables, largest_eigenvalue

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "Recipe",
    "Setting",
    "Trained",
    "accuracy",
    "critical_learning_rate",
    "train_student",
]

EVALUATION_BATCH = 500
_CRITICAL_POINTS = 64  # Nguyen et al. 2021, appendix A


def _mse(logits: jax.Array, y: jax.Array) -> jax.Array:
    return 0.5 * jnp.mean((logits - y) ** 2)


def _xent(logits: jax.Array, y: jax.Array) -> jax.Array:
    hard = jax.nn.one_hot(jnp.argmax(y, axis=1), y.shape[1])
    return jnp.mean(optax.softmax_cross_entropy(logits, hard))


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {"mse": _mse, "xent": _xent}
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "momentum": lambda: optax.trace(decay=0.9),
    "adam": optax.scale_by_adam,
}


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def _drop(step: int, steps: int) -> float:
    return 1.0 if step <= steps // 2 else 0.1


def _warmup_cosine(step: int, steps: int) -> float:
    warmup = min(500, steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    return 0.01 + 0.99 * _cosine(step - warmup, steps - warmup)


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda step, steps: 1.0,
    "cosine": _cosine,
    "drop": _drop,
    "warmup_cosine": _warmup_cosine,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained, but for its learning rate, L2 and draw.

    Attributes:
        loss: ``mse``, half the mean over images and classes; ``xent``, softmax cross-entropy
            with the largest label as the class.
        steps: number of updates.
        batch_size: images a step; the whole set where it is not larger.
        optimizer: ``momentum`` (0.9) or ``adam``.
        schedule: of the learning rate: ``cosine`` to 0; ``drop`` to a tenth after half;
            ``warmup_cosine``, linear over 500 steps (at most half), then to 1 %; ``constant``.
        augmentation: see `kipax.augment.batches`.
        evaluations: how often, evenly spaced, validation accuracy and finiteness are looked at.

    Raises:
        UsageError: an unknown name or a size that is not positive.
    """

    loss: str = "mse"
    steps: int = 5000
    batch_size: int = 100
    optimizer: str = "momentum"
    schedule: str = "cosine"
    augmentation: str = "none"
    evaluations: int = 10

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, LOSSES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)
        for name in ("steps", "batch_size", "evaluations"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be positive; got {getattr(self, name)}.")

    @property
    def kind(self) -> tuple[str, str, str]:
        """What is compiled into a step: loss, optimizer, augmentation."""
        return self.loss, self.optimizer, self.augmentation

    @property
    def evaluated_steps(self) -> set[int]:
        """After how many updates a network is looked at; the last is among them."""
        count = min(self.evaluations, self.steps)
        return {round(self.steps * (i + 1) / count) for i in range(count)}


class Setting(NamedTuple):
    """What differs between the points of a grid: traced numbers, no new compilation.

    Attributes:
        learning_rate: the first, before the schedule.
        l2: its half times the squared norm of all parameters is added to the loss.
        seed: of the network's draw, the batches and the augmentation.
    """

    learning_rate: float
    l2: float
    seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Attributes:
        last: variables after the last update.
        best: variables of the best validation accuracy; `last` without validation images.
        best_step: when that was.
        validation: accuracy by number of updates; empty without validation images.
        loss: of the last update, L2 included.
        diverged_at: number of updates after which the loss was seen not finite; None if never.
            A diverged network has no further updates and `best` is from before.
    """

    last: dict[str, Any]
    best: dict[str, Any]
    best_step: int
    validation: dict[int, float]
    loss: float
    diverged_at: int | None = None


class _State(NamedTuple):
    params: Any
    moving: Any  # batch statistics
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, **self.moving}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _step(network: nn.Module, kind: tuple[str, str, str], state: _State, x, y, key, rate):
    """One update; `rate` is (learning rate of this step, l2), `kind` names what is compiled."""
    loss_name, optimizer, augmentation = kind
    learning_rate, l2 = rate

    def loss_fn(params):
        variables = {"params": params, **state.moving}
        batch = augment_batch(augmentation, x, key)
        out, moving = network.apply(variables, batch, train=True, mutable=list(state.moving))
        penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return LOSSES[loss_name](out.logits, y) + 0.5 * l2 * penalty, dict(moving)

    (loss, moving), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    update, opt_state = OPTIMIZERS[optimizer]().update(gradient, state.opt_state)
    params = jax.tree.map(lambda p, u: p - learning_rate * u, state.params, update)
    return _State(params, moving, opt_state), loss


def first_state(network: nn.Module, x: np.ndarray, recipe: Recipe, seed: int) -> _State:
    """A network's draw and a fresh optimiser."""
    variables = init_variables(network, jax.random.key(seed), x.shape[1:])
    params = variables.pop("params")
    return _State(params, variables, OPTIMIZERS[recipe.optimizer]().init(params))


def _positions(count: int, size: int, seed: int) -> Iterator[np.ndarray | None]:
    """Positions of each step's images; None for all. Epochs follow each other without a gap."""
    if count <= size:
        while True:
            yield None
    rng, waiting = np.random.default_rng(seed), np.zeros(0, np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]


def batches(
    x: np.ndarray, y: np.ndarray, recipe: Recipe, seed: int
) -> Iterator[tuple[tuple[Any, Any], jax.Array, float]]:
    """Each step's images and labels, key, and factor of the learning rate."""
    positions = _positions(len(x), recipe.batch_size, seed)
    key = jax.random.fold_in(jax.random.key(seed), 1)  # the draw has the seed's own
    whole: tuple[Any, Any] = x, y
    if len(x) <= recipe.batch_size:  # sent to the device once
        whole = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    for step in range(recipe.steps):
        chosen = next(positions)
        part = whole if chosen is None else (x[chosen], y[chosen])
        own = key if recipe.augmentation == "none" else jax.random.fold_in(key, step)
        yield part, own, SCHEDULES[recipe.schedule](step, recipe.steps)


def train_student(
    network: nn.Module,
    x: np.ndarray,
    y: np.ndarray,
    *,
    recipe: Recipe,
    setting: Setting,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> Trained:
    """Trains a student, early-stopped on validation images.

    Args:
        network: a student of `kipax.students`.
        x: preprocessed images ``(n, H, W, C)``.
        y: labels ``(n, classes)``.
        recipe: what all points of a grid share.
        setting: what differs.
        validation: preprocessed images and their classes ``(m,)``.
        on_step: called after each update with the number of updates.

    Raises:
        UsageError: labels or classes are not what the images and the network need.

    Source: Nguyen et al. 2021, appendix A.
    """
    check_labels(network, x, y)
    state, looked_at = first_state(network, x, recipe, setting.seed), recipe.evaluated_steps
    seen: dict[int, float] = {}
    best, best_step, value = state.variables, 0, math.nan
    for step, (part, key, scale) in enumerate(batches(x, y, recipe, setting.seed)):
        rate = np.float32(setting.learning_rate * scale), np.float32(setting.l2)
        state, loss = _step(network, recipe.kind, state, *part, key, rate)
        on_step(step + 1)
        if step + 1 not in looked_at:
            continue
        value = float(loss)
        if not math.isfinite(value):
            return Trained(state.variables, best, best_step, seen, value, step + 1)
        if validation is not None:
            seen[step + 1] = accuracy(network, state.variables, *validation)
        if validation is None or seen[step + 1] >= max(seen.values()):
            best, best_step = state.variables, step + 1
    return Trained(state.variables, best, best_step, seen, value)


@functools.partial(jax.jit, static_argnums=0)
def _count_correct(network: nn.Module, variables, x, classes):
    out: Any = network.apply(variables, x)
    finite = jnp.all(jnp.isfinite(out.logits), axis=1)
    return jnp.sum((jnp.argmax(out.logits, axis=1) == classes) & finite)


def accuracy(
    network: nn.Module, variables: dict[str, Any], x: np.ndarray, classes: np.ndarray
) -> float:
    """Fraction of preprocessed images ``(n, H, W, C)`` put in their class, 500 at a time.

    Args:
        network: a student.
        variables: its parameters and, if it has any, batch statistics.
        x: preprocessed images.
        classes: integers ``(n,)``.

    Raises:
        UsageError: no images, or classes of another shape.
    """
    check_classes(x, classes)
    count = functools.partial(_count_correct, network, variables)
    return float(sum(count(*part) for part in parts(x, classes))) / len(x)


def check_labels(network: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Raises a `UsageError` unless there is a row of labels for each image."""
    expected = len(x), network.classes
    if np.shape(y) != expected:
        raise UsageError(
            f"labels must have the shape (images, classes), here {expected}; got {np.shape(y)}: "
            "make classes one-hot with kipax.ridge.one_hot."
        )


def check_classes(x: np.ndarray, classes: np.ndarray) -> None:
    """Raises a `UsageError` unless there is one class for each of one or more images."""
    if not len(x) or np.shape(classes) != (len(x),):
        raise UsageError(
            f"accuracy needs images and a class for each; got {len(x)} images and classes of the "
            f"shape {np.shape(classes)}."
        )


def parts(
    x: np.ndarray, classes: np.ndarray, *, size: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Equally large parts of at most 500 images, or `size`; the last is filled with class -1."""
    size = min(size or EVALUATION_BATCH, len(x))
    for start in range(0, len(x), size):
        part, labels = x[start : start + size], classes[start : start + size]
        short = size - len(part)
        padded = np.pad(part, [(0, short)] + [(0, 0)] * 3)
        yield padded, np.pad(labels, (0, short), constant_values=-1)


def critical_learning_rate(
    network: nn.Module, x: np.ndarray, classes: int, *, loss: str = "mse", seed: int
) -> float:
    """The learning rate beyond which gradient descent on the linearised network diverges.

    ``2 N C / lambda_max`` for half the mean square over N images and C classes, with
    `lambda_max` the largest eigenvalue of the empirical NTK of ``sum_k f_k / sqrt(C)`` at
    initialisation, on N = min(64, n) points. Cross-entropy is a mean over images alone, so that
    its rate is ``2 N / lambda_max`` (our reading: the paper gives one formula, for a sum; with
    C times more, most of its grid diverges).

    Args:
        network: a student.
        x: preprocessed training images ``(n, H, W, C)``; 64 of them are drawn.
        classes: C, the number of outputs.
        loss: ``mse`` or ``xent``.
        seed: of the network's draw, and of the points.

    Returns:
        NaN for a network whose outputs are not finite.

    Source: Nguyen et al. 2021, appendix A; the authors' notebook for the mean square error.
    """
    check_choice("loss", loss, LOSSES)
    variables = init_variables(network, jax.random.key(seed), x.shape[1:])
    count = min(_CRITICAL_POINTS, len(x))
    chosen = np.sort(np.random.default_rng(seed).choice(len(x), count, replace=False))
    largest = largest_eigenvalue(network, variables, jnp.asarray(x[chosen]))
    return 2.0 * count * (classes if loss == "mse" else 1) / largest
