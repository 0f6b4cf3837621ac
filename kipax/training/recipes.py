"""The settings of a training: by names, as in a table, and by optax's objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import optax

from kipax.augment import AUGMENTATIONS
from kipax.errors import UsageError, check_choice
from kipax.training.objectives import CrossEntropy, MeanSquare, Objective

__all__ = ["LOSSES", "OPTIMIZERS", "SCHEDULES", "Descent", "Recipe", "Setting", "evenly_spaced"]

LOSSES: dict[str, Objective] = {"mse": MeanSquare(), "xent": CrossEntropy()}
OPTIMIZERS: dict[str, optax.GradientTransformation] = {
    "momentum": optax.trace(decay=0.9),
    "adam": optax.scale_by_adam(),
}


def _drop(steps: int) -> optax.Schedule:
    return optax.piecewise_constant_schedule(1.0, {steps // 2 + 1: 0.1})


def _warmup_cosine(steps: int) -> optax.Schedule:
    warmup = min(500, steps // 2)
    cosine = optax.cosine_decay_schedule(1.0, steps - warmup, alpha=0.01)
    if not warmup:
        return cosine
    rising = optax.linear_schedule(1 / warmup, 1 + 1 / warmup, warmup)
    return optax.join_schedules([rising, cosine], [warmup])


SCHEDULES: dict[str, Callable[[int], optax.Schedule]] = {
    "constant": lambda steps: optax.constant_schedule(1.0),
    "cosine": lambda steps: optax.cosine_decay_schedule(1.0, steps),
    "drop": _drop,
    "warmup_cosine": _warmup_cosine,
}


@dataclasses.dataclass(frozen=True)
class Descent:
    """The direction, size and number of parameter updates, by optax's objects.

    A step is ``params - learning_rate * schedule(step) * direction(gradient)``, so that one
    compilation serves every learning rate and schedule.

    Attributes:
        direction: an optax transformation without a learning rate, such as `optax.scale_by_adam`,
            `optax.trace`, or a chain, such as
            ``optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.01))`` (AdamW).
            Pass the same object each time: an equal copy is compiled again.
        schedule: factor of the learning rate by step, from 0 on; any optax schedule.
        steps: number of updates.
    """

    direction: optax.GradientTransformation
    schedule: optax.Schedule
    steps: int


def evenly_spaced(steps: int, count: int) -> list[int]:
    """Returns at most `count` evenly spaced numbers of updates, of which the last is `steps`.

    Example:
        >>> evenly_spaced(100, 4), evenly_spaced(2, 4)
        ([25, 50, 75, 100], [1, 2])
    """
    count = min(count, steps)
    return [round(steps * (i + 1) / count) for i in range(count)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training of a student on labels, except its learning rate, L2 and seed.

    Attributes:
        loss: ``mse``, half the mean over images and classes; ``xent``, softmax cross-entropy
            with the largest label as the class.
        steps: number of updates.
        batch_size: number of images of a step; a set that is not larger is used whole.
        optimizer: ``momentum`` (0.9) or ``adam``.
        schedule: schedule of the learning rate: ``cosine`` to 0; ``drop`` to a tenth after half;
            ``warmup_cosine``, linear over 500 steps (at most half), then to 1 %; ``constant``.
        augmentation: see `kipax.augment.batches`.
        evaluations: number of evenly spaced evaluations of validation accuracy and finiteness.

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
    def objective(self) -> Objective:
        """The objective of `loss`."""
        return LOSSES[self.loss]

    @property
    def descent(self) -> Descent:
        """Optimiser, schedule and number of steps."""
        schedule = SCHEDULES[self.schedule](self.steps)
        return Descent(OPTIMIZERS[self.optimizer], schedule, self.steps)

    @property
    def evaluated_steps(self) -> list[int]:
        """The numbers of updates after which a network is evaluated, the last included."""
        return evenly_spaced(self.steps, self.evaluations)


class Setting(NamedTuple):
    """The numbers that differ between the points of a grid; they need no new compilation.

    Attributes:
        learning_rate: the learning rate before the schedule.
        l2: ``l2 / 2`` times the squared norm of all trained parameters is added to the loss.
        seed: seed of the initial parameters, the batches and the augmentation.
    """

    learning_rate: float
    l2: float
    seed: int
