"""The executor of one process: blocks over its devices."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from kipax.blocks.computer import TaskComputer
from kipax.blocks.executor import TargetSource
from kipax.blocks.plan import BlockPlan
from kipax.blocks.resident import prepared_ahead
from kipax.blocks.sums import SummingExecutor
from kipax.blocks.tasks import Parts, Task

__all__ = ["LocalExecutor"]


class LocalExecutor(SummingExecutor):
    """Computes every block in this process; see `kipax.blocks.executor.BlockExecutor`.

    With several devices each takes the next block when it is free, with a thread of this
    process; results are added in plan order, so they are those of one device up to the
    devices' rounding.

    Args:
        targets: where target images and labels come from.
        plan: the block sizes.
        keep_bytes: for accelerators. Preprocessed targets are kept on each device while they
            take no more than this, and no more than half of what it has left; beyond, or where
            the preprocessing is not known to `kipax.data.on_device` and targets are augmented,
            a thread prepares each block while the one before it is computed. None prepares
            each block just before it is computed.
    """

    def __init__(
        self,
        targets: TargetSource,
        plan: BlockPlan,
        *,
        keep_bytes: int | None = None,
    ):
        super().__init__(plan, targets.num_classes)
        self._computer = TaskComputer(targets, keep_bytes=keep_bytes)
        self.devices = self._computer.devices
        self._ahead = keep_bytes is not None and not self._computer.keeps_targets

    def _hold_support(self, x_support: np.ndarray) -> None:
        self._computer.set_support(x_support, self.version)

    def _run(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        """Yields the parts of each task; every device computes one block at a time."""
        if len(self.devices) > 1:
            # With several devices, one prepares its block while another computes.
            with concurrent.futures.ThreadPoolExecutor(len(self.devices)) as pool:
                yield from pool.map(self._computer.compute, tasks)
        elif self._ahead:
            yield from self._run_ahead(list(tasks))
        else:
            yield from map(self._computer.compute, tasks)

    def _run_ahead(self, tasks: Sequence[Task]) -> Iterator[Parts]:
        """Yields the parts of each task on one device; the next block is prepared meanwhile."""
        with prepared_ahead(self._computer.source(self.devices[0]), tasks) as source:
            for task in tasks:
                yield self._computer.compute_from(source, task)
