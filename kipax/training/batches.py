"""The batches of a training, each a function of the number of its step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kipax.augment import augment_batch
from kipax.errors import UsageError

__all__ = ["Batch", "Batches", "Epochs", "LabelledBatches"]


class Batch(NamedTuple):
    """The images of one step after augmentation and mixing, so that all networks see the same.

    Attributes:
        x: inputs of the student, preprocessed, ``(n, H, W, C)``. Several views of the same n
            images follow each other, ``(views * n, H, W, C)``.
        y: labels ``(n, classes)``; None without labels.
        index: each image's position in its data set ``(n,)``; None without one.
        x_teacher: inputs of the teacher; None for `x`.
        x_averaged: inputs of the averaged copy of the student; None for `x`.
    """

    x: Any
    y: Any = None
    index: Any = None
    x_teacher: Any = None
    x_averaged: Any = None


Batches = Callable[[int], Batch]
"""A function of the step alone (from 0), so that a resumed training sees what it would have."""


class Epochs:
    """Shuffled epochs that follow each other without a gap, one part for each step.

    Args:
        count: number of images.
        size: number of images of a step, at most `count`.
        seed: seed of the order.

    Example:
        >>> epochs = Epochs(6, 4, seed=0)
        >>> np.bincount(np.concatenate([epochs(0), epochs(1), epochs(2)])).tolist()
        [2, 2, 2, 2, 2, 2]
    """

    def __init__(self, count: int, size: int, *, seed: int):
        self._count, self._size, self._seed = count, min(size, count), seed
        self._rng = np.random.default_rng(seed)
        self._drawn = 0
        self._orders: dict[int, np.ndarray] = {}  # of the last two epochs drawn

    def __call__(self, step: int) -> np.ndarray:
        """Returns the positions ``(size,)`` of a step, independent of earlier calls."""
        start = step * self._size
        first, last = start // self._count, (start + self._size - 1) // self._count
        row = np.concatenate([self._epoch(number) for number in range(first, last + 1)])
        return row[start - first * self._count :][: self._size]

    def _epoch(self, number: int) -> np.ndarray:
        """Returns an epoch's order; one generator draws the orders one after the other."""
        if number not in self._orders:
            if number < self._drawn:  # an earlier one: from the beginning
                self._rng, self._drawn = np.random.default_rng(self._seed), 0
            for drawn in range(self._drawn, number + 1):
                before = {drawn - 1: self._orders[drawn - 1]} if drawn - 1 in self._orders else {}
                self._orders = before | {drawn: self._rng.permutation(self._count)}
            self._drawn = number + 1
        return self._orders[number]


class LabelledBatches:
    """Batches of arrays: shuffled epochs that follow each other without a gap.

    Args:
        x: preprocessed images ``(n, H, W, C)``.
        y: labels ``(n, classes)``.
        size: number of images of a step; a set that is not larger is used whole, in its order.
        seed: seed of the order and of the augmentation.
        augmentation: see `kipax.augment.batches`.

    Example:
        >>> batches = LabelledBatches(np.zeros((6, 4, 4, 1)), np.eye(6), size=4, seed=0)
        >>> batches(3).x.shape, batches(3).index.shape
        ((4, 4, 4, 1), (4,))
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        size: int,
        seed: int,
        augmentation: str = "none",
    ):
        if not len(x) or len(x) != len(y):
            raise UsageError(
                "training needs images and a row of labels for each; got "
                f"{len(x)} images and {len(y)} rows."
            )
        self._x, self._y = x, y
        self._augmentation = augmentation
        self._key = jax.random.fold_in(jax.random.key(seed), 1)  # the draw has the seed's own
        self._epochs = Epochs(len(x), size, seed=seed)
        self._whole: Batch | None = None
        if len(x) <= size:  # sent to the device once
            index = np.arange(len(x))
            self._whole = Batch(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), index)

    def __call__(self, step: int) -> Batch:
        """Returns the batch of a step; steps count from 0."""
        batch = self._whole
        if batch is None:
            index = self._epochs(step)
            batch = Batch(self._x[index], self._y[index], index)
        if self._augmentation == "none":
            return batch
        key = jax.random.fold_in(self._key, step)
        return batch._replace(x=_augment(self._augmentation, batch.x, key))


_augment = jax.jit(augment_batch, static_argnums=0)
