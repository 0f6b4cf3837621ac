"""The base of every executor: turns a call into tasks and adds their parts in plan order."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from kipax.blocks.executor import TargetPass, TargetRows
from kipax.blocks.plan import MOST_TASKS, Block, BlockPlan
from kipax.blocks.tasks import (
    GramTask,
    Parts,
    SupportKernelTask,
    SupportVJPTask,
    TargetPassTask,
    Task,
)
from kipax.errors import check_choice
from kipax.kernels import KernelSpec
from kipax.ridge import LOSSES

__all__ = ["SummingExecutor"]


class SummingExecutor(abc.ABC):
    """The base of `kipax.blocks.executor.BlockExecutor`s; a subclass computes the tasks.

    Parts are added in plan order, in float64, so that the sum does not depend on which worker
    computed them, or when.

    Args:
        plan: the block sizes.
        num_classes: number of classes of the targets.
    """

    def __init__(self, plan: BlockPlan, num_classes: int):
        self.plan = plan
        self.version = -1
        self._num_classes = num_classes
        self._shape: tuple[int, ...] = ()

    @abc.abstractmethod
    def _hold_support(self, x_support: np.ndarray) -> None:
        """Keeps a new support set, as float32, for the tasks."""

    @abc.abstractmethod
    def _run(self, tasks: Iterable[Task]) -> Iterator[Parts]:
        """Yields the parts of each task, in the order of the tasks."""

    def status(self) -> str:
        return ""

    def set_support(self, x_support: np.ndarray, *, version: int) -> None:
        x = np.asarray(x_support, np.float32)
        self.version = version
        self._shape = x.shape
        self._hold_support(x)

    def support_kernel(self, *, kernel: KernelSpec) -> np.ndarray:
        size = self._size
        tasks = [
            SupportKernelTask(position=position, version=self.version, kernel=kernel, block=block)
            for position, block in enumerate(self.plan.support_blocks(size))
        ]
        k_ss = np.zeros((size, size))
        for task, part in zip(tasks, self._run(tasks), strict=True):
            rows, columns = slice(*task.block.rows), slice(*task.block.columns)
            k_ss[rows, columns] = part["k"]
            k_ss[columns, rows] = part["k"].T
        return k_ss

    def support_vjp(self, cotangent: np.ndarray, *, kernel: KernelSpec) -> np.ndarray:
        total, symmetric = self._zeros(), 0.5 * (cotangent + cotangent.T)
        tasks = [
            SupportVJPTask(
                position=position,
                version=self.version,
                kernel=kernel,
                block=block,
                cotangent=_cut(symmetric, block),
            )
            for position, block in enumerate(self.plan.support_blocks(self._size))
        ]
        for task, part in zip(tasks, self._run(tasks), strict=True):
            total[slice(*task.block.rows)] += part["d_rows"]
            if "d_columns" in part:
                total[slice(*task.block.columns)] += part["d_columns"]
        return total

    def target_pass(
        self, rows: TargetRows, alpha: np.ndarray, *, kernel: KernelSpec, loss: str, count: int
    ) -> TargetPass:
        """See `BlockExecutor`; beyond `MOST_TASKS` blocks, consecutive ones share a task."""
        check_choice("loss", loss, LOSSES)
        alpha = np.asarray(alpha, np.float64)
        blocks = len(self.plan.target_blocks(len(rows)))
        tasks = [
            TargetPassTask(
                position=position,
                version=self.version,
                kernel=kernel,
                rows=part,
                used=used,
                height=self._height(rows),
                alpha=alpha,
                loss=loss,
                count=count,
            )
            for position, (part, used) in enumerate(
                self._target_parts(rows, blocks_each=max(1, -(-blocks // MOST_TASKS)))
            )
        ]
        total, correct, d_x, d_alpha = 0.0, 0, self._zeros(), np.zeros(alpha.shape)
        for part in self._run(tasks):
            total, correct = total + float(part["loss"]), correct + int(part["correct"])
            d_x += part["d_x"]
            d_alpha += part["d_alpha"]
        return TargetPass(total, d_x, d_alpha, correct)

    def gram_parts(
        self, rows: TargetRows, *, kernel: KernelSpec, skip: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        tasks = [
            GramTask(position=position, version=self.version, kernel=kernel, rows=part, used=used)
            for position, (part, used) in enumerate(self._target_parts(rows, blocks_each=1))
        ]
        for part in self._run(tasks[skip:]):
            yield part["gram"], part["cross"]

    # -- tasks ---------------------------------------------------------------------------

    @property
    def _size(self) -> int:
        if not self._shape:
            raise RuntimeError("set_support comes before any block.")
        return self._shape[0]

    def _zeros(self) -> np.ndarray:
        return np.zeros((self._size, *self._shape[1:]))

    def _height(self, rows: TargetRows) -> int:
        """Returns the height of every block of these targets."""
        return max(1, min(self.plan.target_rows, len(rows)))

    def _target_parts(self, rows: TargetRows, *, blocks_each: int) -> list[tuple[TargetRows, int]]:
        """Cuts targets into parts of `blocks_each` blocks, each with its count without padding.

        All blocks have one height: a short last one repeats its last image, so that no second
        program is compiled.
        """
        _ = self._size
        height, blocks = self._height(rows), self.plan.target_blocks(len(rows))
        parts = []
        for first in range(0, len(blocks), blocks_each):
            shared = blocks[first : first + blocks_each]
            start, stop = shared[0][0], shared[-1][1]
            padding = -(stop - start) % height
            indices = np.pad(rows.indices[start:stop], (0, padding), mode="edge")
            parts.append((dataclasses.replace(rows, indices=indices), stop - start))
        return parts


def _cut(symmetric: np.ndarray, block: Block) -> np.ndarray:
    """Returns the cotangent of a block of ``k_ss``.

    A block above the diagonal stands for its mirror image too.
    """
    weight = 1.0 if block.rows == block.columns else 2.0
    part = weight * symmetric[slice(*block.rows), slice(*block.columns)]
    return part.astype(np.float32)
