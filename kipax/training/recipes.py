"""How a network is trained: by names that a table can hold, and by optax's objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import optax

from kipax.augment import AUGMENTATIONS
from kipax.errors import UsageError, check_choice
from kipax.training.objectives import CrossEntropy, MeanSquare, Objective

__all__ = ["LOSSES", "OPTIMIZERS", "SCHEDULES", "Descent", "Recipe", "Setting"]

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
    """Which way, how far and how often parameters move, in optax's words.

    A step is ``params - learning_rate * schedule(step) * direction(gradient)``, so that one
    compilation serves every learning rate and schedule.

    Attributes:
        direction: an optax transformation without a learning rate, as `optax.scale_by_adam`,
            `optax.trace`, or a chain of them, such as
            ``optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.01))`` (AdamW).
            Hand the same object in again: another one, though equal, is compiled again.
        schedule: factor of the learning rate by step, from 0 on; any optax schedule.
        steps: number of updates.
    """

    direction: optax.GradientTransformation
    schedule: optax.Schedule
    steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a student is trained on labels, but for its learning rate, L2 and draw.

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
    def objective(self) -> Objective:
        """The loss."""
        return LOSSES[self.loss]

    @property
    def descent(self) -> Descent:
        """Optimiser, schedule and number of steps."""
        schedule = SCHEDULES[self.schedule](self.steps)
        return Descent(OPTIMIZERS[self.optimizer], schedule, self.steps)

    @property
    def evaluated_steps(self) -> list[int]:
        """After how many updates a network is looked at; the last is among them."""
        count = min(self.evaluations, self.steps)
        return [round(self.steps * (i + 1) / count) for i in range(count)]


class Setting(NamedTuple):
    """What differs between the points of a grid: traced numbers, no new compilation.

    Attributes:
        learning_rate: the first, before the schedule.
        l2: its half times the squared norm of all trained parameters is added to the loss.
        seed: of the network's draw, the batches and the augmentation.
    """

    learning_rate: float
    l2: float
    seed: int
