"""What every executor does alike: a call becomes tasks, their parts are added in plan order."""

from __future__ import annotations

import abc
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from kipax.blocks.executor import TargetPass, TargetRows
from kipax.blocks.plan import MOST_TASKS, BlockPlan
from kipax.blocks.tasks import Parts, Task
from kipax.errors import check_choice
from kipax.kernels import KernelSpec
from kipax.ridge import LOSSES

__all__ = ["SummingExecutor"]


class SummingExecutor(abc.ABC):
    """A `kipax.blocks.executor.BlockExecutor` but for where its tasks are computed.

    Parts are added in plan order, in float64, whoever computed them and when.

    Args:
        plan: the block sizes.
        num_classes: of the targets.
    """

    def __init__(self, plan: BlockPlan, num_classes: int):
        self.plan = plan
        self.version = -1
        self._num_classes = num_classes
        self._shape: tuple[int, ...] = ()

    @abc.abstractmethod
    def _hold_support(self, x_support: np.ndarray) -> None:
        """Keeps a new support set, float32, where tasks find it."""

    @abc.abstractmethod
    def _run(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        """The parts of each task, in the order of the tasks."""

    def status(self) -> str:
        return ""

    def set_support(self, x_support: np.ndarray, *, version: int) -> None:
        x = np.asarray(x_support, np.float32)
        self.version, self._shape = version, x.shape
        self._hold_support(x)

    def kernel(self, rows: TargetRows | None, *, kernel: KernelSpec) -> np.ndarray:
        size = self._size
        if rows is not None:
            parts = [p["k"] for p in self._run(self._target_tasks("kernel", rows, kernel))]
            return np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, size))
        tasks = self._support_tasks("support_kernel", kernel)
        k_ss = np.zeros((size, size))
        for task, part in zip(tasks, self._run(tasks), strict=True):
            assert task.block is not None
            rows_, columns = slice(*task.block.rows), slice(*task.block.columns)
            k_ss[rows_, columns] = part["k"]
            k_ss[columns, rows_] = part["k"].T
        return k_ss

    def vjp(
        self, rows: TargetRows | None, cotangent: np.ndarray, *, kernel: KernelSpec
    ) -> np.ndarray:
        total = self._zeros()
        if rows is not None:
            tasks = self._target_tasks("vjp", rows, kernel, cotangent=cotangent)
            for part in self._run(tasks):
                total += part["d_x"]
            return total
        tasks = self._support_tasks("support_vjp", kernel, cotangent)
        for task, part in zip(tasks, self._run(tasks), strict=True):
            assert task.block is not None
            total[slice(*task.block.rows)] += part["d_rows"]
            if "d_columns" in part:
                total[slice(*task.block.columns)] += part["d_columns"]
        return total

    def target_pass(
        self, rows: TargetRows, alpha: np.ndarray, *, kernel: KernelSpec, loss: str, count: int
    ) -> TargetPass:
        check_choice("loss", loss, LOSSES)
        alpha = np.asarray(alpha, np.float64)
        work: dict[str, Any] = {"weights": alpha, "loss": loss, "count": count}
        tasks = self._target_tasks("target_pass", rows, kernel, most=MOST_TASKS, **work)
        total, correct, d_x, d_alpha = 0.0, 0, self._zeros(), np.zeros(alpha.shape)
        for part in self._run(tasks):
            total, correct = total + float(part["loss"]), correct + int(part["correct"])
            d_x += part["d_x"]
            d_alpha += part["d_alpha"]
        return TargetPass(total, d_x, d_alpha, correct)

    def gram(self, rows: TargetRows, *, kernel: KernelSpec) -> tuple[np.ndarray, np.ndarray]:
        gram, cross = np.zeros((self._size,) * 2), np.zeros((self._size, self._num_classes))
        for part in self.gram_parts(rows, kernel=kernel):
            gram += part[0]
            cross += part[1]
        return gram, cross

    def gram_parts(
        self, rows: TargetRows, *, kernel: KernelSpec, skip: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        tasks = self._target_tasks("gram", rows, kernel)[skip:]
        for part in self._run(tasks):
            yield part["gram"], part["cross"]

    # -- tasks ---------------------------------------------------------------------------

    @property
    def _size(self) -> int:
        if not self._shape:
            raise RuntimeError("set_support comes before any block.")
        return self._shape[0]

    def _task_maker(self, op: str, kernel: KernelSpec) -> Callable[..., Task]:
        return functools.partial(Task, op=op, version=self.version, kernel=kernel)

    def _zeros(self) -> np.ndarray:
        return np.zeros((self._size, *self._shape[1:]))

    def _target_tasks(
        self,
        op: str,
        rows: TargetRows,
        kernel: KernelSpec,
        *,
        cotangent: np.ndarray | None = None,
        most: int | None = None,
        **work: Any,
    ) -> list[Task]:
        """Blocks of one height: a short last one repeats its last image, and compiles no more.

        With `most`, consecutive blocks share a task so that there are no more tasks than that.
        """
        _ = self._size
        height = min(self.plan.target_rows, len(rows)) if len(rows) else 1
        blocks = self.plan.target_blocks(len(rows))
        each = -(-len(blocks) // most) if most and blocks else 1
        make, tasks = self._task_maker(op, kernel), []
        for position, first in enumerate(range(0, len(blocks), each)):
            start, stop = blocks[first][0], blocks[min(first + each, len(blocks)) - 1][1]
            padding = -(stop - start) % height
            indices = np.pad(rows.indices[start:stop], (0, padding), mode="edge")
            if cotangent is not None:
                work["weights"] = cotangent[start:stop].astype(np.float32)
            part = TargetRows(indices, rows.step, rows.augmentation_seed)
            used = stop - start
            tasks.append(make(position=position, rows=part, height=height, used=used, **work))
        return tasks

    def _support_tasks(
        self, op: str, kernel: KernelSpec, cotangent: np.ndarray | None = None
    ) -> list[Task]:
        """Blocks on and above the diagonal; those above count twice in a pullback."""
        symmetric = None if cotangent is None else 0.5 * (cotangent + cotangent.T)
        make, tasks = self._task_maker(op, kernel), []
        for position, block in zip(itertools.count(), self.plan.support_blocks(self._size)):
            weights = None
            if symmetric is not None:
                weight = 1.0 if block.rows == block.columns else 2.0
                part = weight * symmetric[slice(*block.rows), slice(*block.columns)]
                weights = part.astype(np.float32)
            tasks.append(make(position=position, block=block, weights=weights))
        return tasks
