"""Targets for accelerators: kept on the device, or prepared one block ahead.

A GPU computes a block of kernels in less time than the host takes to whiten its targets, so
the targets are not preprocessed on the host in every step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from kipax.augment import augment_there
from kipax.blocks.executor import TargetRows, TargetSource
from kipax.blocks.memory import available_bytes
from kipax.blocks.targets import DatasetTargets
from kipax.blocks.tasks import Task
from kipax.data.on_device import device_preprocessing

__all__ = ["ResidentTargets", "keep_on", "prepared_ahead"]

_IMAGES_AT_ONCE = 5000  # bounds the memory that the host needs for them


class ResidentTargets:
    """The targets of a data set on one device, preprocessed once.

    Blocks that are not augmented are rows of what the host preprocessed, with the host's
    values; the others are augmented (to the same pixels) and preprocessed on the device, to
    float32's rounding.

    Args:
        targets: the source of the targets on the host.
        device: the device that keeps them.
    """

    def __init__(self, targets: DatasetTargets, device: jax.Device):
        self.num_classes = targets.num_classes
        self.labels = targets.labels
        self._targets = targets
        x = targets.dataset.x_train
        apply = targets.preprocessor.apply
        with jax.default_device(device):
            parts = [
                jax.device_put(apply(x[start : start + _IMAGES_AT_ONCE]), device)
                for start in range(0, len(x), _IMAGES_AT_ONCE)
            ]
            self._kept = jax.numpy.concatenate(parts)
        if targets.augment_fraction > 0:
            self._raw = jax.device_put(x, device)
            made = device_preprocessing(targets.preprocessor)
            assert made is not None
            self._constants = jax.device_put(made[0], device)
            self._preprocess = made[1]

    def images(self, rows: TargetRows) -> jax.Array:
        """Returns the preprocessed images ``(n, H, W, C)`` float32, on the device."""
        if not self._targets.augments(rows):
            return _take(self._kept, rows.indices)
        assert rows.augmentation_seed is not None
        x = augment_there(
            _take(self._raw, rows.indices),
            rows.indices,
            seed=rows.augmentation_seed,
            step=rows.step,
            fraction=self._targets.augment_fraction,
        )
        return _preprocessed(self._preprocess, self._constants, x)


@jax.jit
def _take(x: jax.Array, indices: jax.Array) -> jax.Array:
    return x[indices]


@functools.partial(jax.jit, static_argnums=0)
def _preprocessed(function: Callable, constants: dict[str, Any], x: jax.Array) -> jax.Array:
    return function(constants, x)


def keep_on(
    device: jax.Device, targets: TargetSource, keep_bytes: int | None
) -> ResidentTargets | None:
    """Returns the targets kept on a device, or None.

    None where `keep_bytes` is None, where they do not fit, and where they cannot be kept.

    Args:
        device: the device that keeps them.
        targets: the source of the targets on the host.
        keep_bytes: how many bytes they may take, the raw images that augmentation needs included,
            and at most half of what the device has left; None keeps none.
    """
    if keep_bytes is None or not isinstance(targets, DatasetTargets):
        return None
    x, augmented = targets.dataset.x_train, targets.augment_fraction > 0
    if augmented and device_preprocessing(targets.preprocessor) is None:
        return None
    needed, left = 4 * x.size + (x.nbytes if augmented else 0), available_bytes(device)
    fits = needed <= keep_bytes and (left is None or 2 * needed <= left)
    return ResidentTargets(targets, device) if fits else None


@dataclasses.dataclass(eq=False)
class _Ahead:
    """A `TargetSource` for blocks in a known order: when asked for one, it prepares the next."""

    source: TargetSource
    blocks: Iterator[TargetRows]
    pool: ThreadPoolExecutor
    num_classes: int
    _next: tuple[TargetRows, Future] | None = None

    def images(self, rows: TargetRows) -> np.ndarray | jax.Array:
        if self._next is None:
            self._begin()
        assert self._next is not None
        expected, waiting = self._next
        if not np.array_equal(expected.indices, rows.indices):
            raise RuntimeError("blocks were asked for in another order than was said.")
        images = waiting.result()
        self._begin()
        return images

    def labels(self, rows: TargetRows) -> np.ndarray:
        return self.source.labels(rows)

    def _begin(self) -> None:
        rows = next(self.blocks, None)
        if rows is not None:
            self._next = rows, self.pool.submit(self.source.images, rows)


@contextlib.contextmanager
def prepared_ahead(source: TargetSource, tasks: Sequence[Task]) -> Iterator[TargetSource]:
    """Yields a source for tasks in this order; a thread prepares one block ahead."""
    pool = ThreadPoolExecutor(1)
    try:
        blocks = (rows for task in tasks for rows in task.target_blocks())
        yield _Ahead(source, blocks, pool, source.num_classes)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
