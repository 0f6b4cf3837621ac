"""The devices of a process: the targets and the support sets on each, one task at a time."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator

import jax
import numpy as np

from kipax.blocks.executor import TargetSource
from kipax.blocks.resident import keep_on
from kipax.blocks.tasks import Parts, Task

__all__ = ["TaskComputer"]

_KEPT_SUPPORTS = 2  # a block of the previous step may still be running


class TaskComputer:
    """Computes tasks on all devices of this process; thread-safe.

    Args:
        targets: the target images and labels of the run.
        keep_bytes: how many bytes of preprocessed targets may stay on a device, see
            `LocalExecutor`; None keeps none there.
    """

    def __init__(self, targets: TargetSource, *, keep_bytes: int | None = None):
        self.devices = tuple(jax.local_devices())
        kept = {d: keep_on(d, targets, keep_bytes) for d in self.devices}
        self.keeps_targets = None not in kept.values()
        self._sources = {d: targets if source is None else source for d, source in kept.items()}
        self._supports: dict[int, dict[jax.Device, jax.Array]] = {}
        self._free: queue.SimpleQueue[jax.Device] = queue.SimpleQueue()
        for device in self.devices:
            self._free.put(device)

    def has_support(self, version: int) -> bool:
        """Returns whether the support set of a version is here."""
        return version in self._supports

    def set_support(self, x_support: np.ndarray, version: int) -> None:
        """Puts a support set on all devices; the last two versions stay."""
        self._supports[version] = {d: jax.device_put(x_support, d) for d in self.devices}
        for old in list(self._supports)[:-_KEPT_SUPPORTS]:
            del self._supports[old]

    def source(self, device: jax.Device) -> TargetSource:
        """Returns the source of the targets for a device."""
        return self._sources[device]

    def compute(self, task: Task) -> Parts:
        """Computes a task whose support set is here, on the next device that is free."""
        with self._checkout() as device:
            return self._compute(task, self._sources[device], device)

    def compute_from(self, source: TargetSource, task: Task) -> Parts:
        """Computes as `compute` does, with the targets of another source."""
        with self._checkout() as device:
            return self._compute(task, source, device)

    def _compute(self, task: Task, source: TargetSource, device: jax.Device) -> Parts:
        return task.compute(source, self._supports[task.version][device])

    @contextlib.contextmanager
    def _checkout(self) -> Iterator[jax.Device]:
        """Waits for a free device and reserves it while the block runs."""
        device = self._free.get()
        try:
            yield device
        finally:
            self._free.put(device)
