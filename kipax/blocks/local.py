"""The executor of one process: blocks over its devices."""

from __future__ import annotations

import concurrent.futures
import queue
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np

from kipax.blocks.executor import TargetSource
from kipax.blocks.plan import BlockPlan
from kipax.blocks.resident import keep_on, prepared_ahead
from kipax.blocks.sums import SummingExecutor
from kipax.blocks.tasks import Parts, Task, compute

__all__ = ["LocalExecutor"]


class LocalExecutor(SummingExecutor):
    """Computes every block in this process; see `kipax.blocks.executor.BlockExecutor`.

    With several devices each takes the next block when it is free, with a thread of this
    process; results are added in plan order, so they are those of one device up to the
    devices' rounding.

    Args:
        targets: where target images and labels come from.
        plan: the block sizes.
        devices: which to use; all of this process's by default.
        keep_bytes: for accelerators. Preprocessed targets are kept on each device while they
            take no more than this, and no more than half of what it has left; beyond, or where
            the preprocessing is not known to `kipax.data.on_device` and targets are augmented,
            a thread prepares each block while the one before it is computed. None prepares a
            block when it is its turn.
    """

    def __init__(
        self,
        targets: TargetSource,
        plan: BlockPlan,
        *,
        devices: Sequence[jax.Device] | None = None,
        keep_bytes: int | None = None,
    ):
        super().__init__(plan, targets.num_classes)
        self.devices = tuple(devices or jax.local_devices())
        kept = {d: keep_on(d, targets, keep_bytes) for d in self.devices}
        self._sources = {d: targets if source is None else source for d, source in kept.items()}
        self._ahead = keep_bytes is not None and None in kept.values()
        self._supports: dict[jax.Device, jax.Array] = {}

    def _hold_support(self, x_support: np.ndarray) -> None:
        self._supports = {device: jax.device_put(x_support, device) for device in self.devices}

    def _compute(self, task: Task, device: jax.Device) -> Parts:
        return compute(task, self._sources[device], self._supports[device])

    def _run(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        """Every device works on one block at a time."""
        if len(self.devices) == 1:
            yield from self._run_in_turn(tasks, self.devices[0])
            return
        # Where several devices take turns, one's preparing hides behind another's computing.
        free: queue.SimpleQueue[jax.Device] = queue.SimpleQueue()
        for device in self.devices:
            free.put(device)

        def run(task: Task) -> Parts:
            device = free.get()
            try:
                return self._compute(task, device)
            finally:
                free.put(device)

        with concurrent.futures.ThreadPoolExecutor(len(self.devices)) as pool:
            yield from pool.map(run, tasks)

    def _run_in_turn(self, tasks: Iterable[Task], device: jax.Device) -> Iterator[Parts]:
        """One device: task after task, its blocks prepared one ahead if so asked."""
        if not self._ahead:
            for task in tasks:
                yield self._compute(task, device)
            return
        tasks = list(tasks)
        with prepared_ahead(self._sources[device], tasks) as source:
            for task in tasks:
                yield compute(task, source, self._supports[device])
