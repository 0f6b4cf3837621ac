"""Tasks: the work on a block as plain data, one class for each operation, which computes it.

A task holds everything that a block needs except the targets and the support set, which the
computing process already has. Its parts are returned as named arrays, which `kipax.blocks.sums`
adds in plan order.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax
import numpy as np

from kipax import ridge
from kipax.blocks.executor import TargetRows, TargetSource
from kipax.blocks.plan import Block
from kipax.kernels import KernelSpec

__all__ = [
    "TASKS",
    "Expected",
    "GramTask",
    "Parts",
    "SupportKernelTask",
    "SupportVJPTask",
    "TargetPassTask",
    "Task",
]

Parts = dict[str, np.ndarray]
Expected = Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]]
_DEVICE, _HOST, _COUNT = ("<f4",), ("<f8",), ("<i8",)  # dtypes of parts, by what computes them


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Task(abc.ABC):
    """One block, or a few consecutive blocks, of one call to an executor.

    Kernels and pullbacks run in JAX in float32; residuals and everything else of the size of
    a kernel matrix in float64 NumPy: a block's forward pass and its pullback are two compiled
    programs, and the pullback's data stays on the device during the small round trip between.

    Attributes:
        op: name of its operation, a key of `TASKS`.
        position: its place in the call's plan, which orders the sums.
        version: version of the support set.
        kernel: the kernel to compute.
    """

    op: ClassVar[str]
    position: int
    version: int
    kernel: KernelSpec

    @property
    @abc.abstractmethod
    def extent(self) -> str:
        """The part of the kernel that it covers, for messages."""

    @abc.abstractmethod
    def compute(self, targets: TargetSource, x_support: jax.Array) -> Parts:
        """Computes its parts: float32 from the device, float64 from the host.

        Args:
            targets: where target images and labels come from.
            x_support: the support images ``(s, H, W, C)``, on the device that computes.
        """

    @abc.abstractmethod
    def expected_parts(self, support_shape: tuple[int, ...], num_classes: int) -> Expected:
        """Names each part, its possible dtypes and its shape: what an answer must look like."""

    def target_blocks(self) -> list[TargetRows]:
        """Lists the targets that `compute` asks for, in its order."""
        return []

    def describe(self) -> str:
        """Says what it is, for messages.

        Example:
            >>> from kipax import architectures
            >>> spec = KernelSpec(architectures.from_name("fc1"))
            >>> rows = TargetRows(np.arange(8))
            >>> GramTask(position=3, version=0, kernel=spec, rows=rows, used=7).describe()
            'block 3 of gram (7 targets) with the NTK of fc1'
        """
        what = f"block {self.position} of {self.op} ({self.extent})"
        return f"{what} with the {self.kernel.describe()}"


@functools.lru_cache(maxsize=64)
def _jitted(kernel: KernelSpec) -> dict[str, Callable]:
    """Compiles ``(images) -> (k, pullback)``, by what is differentiated.

    The pullback is data, a pytree that stays on the device until `_pull` takes it.
    """
    kernel_fn = kernel.make()
    return {
        "columns": jax.jit(lambda rows, columns: jax.vjp(lambda c: kernel_fn(rows, c), columns)),
        "both": jax.jit(lambda rows, columns: jax.vjp(kernel_fn, rows, columns)),
        "symmetric": jax.jit(lambda x: jax.vjp(kernel_fn, x)),
    }


@jax.jit
def _pull(pullback, cotangent):
    return pullback(cotangent)


# -- blocks of the support kernel ----------------------------------------------------------------


def _cut(x_support: jax.Array, block: Block) -> tuple[jax.Array, ...]:
    """Takes the images of a block's rows and, off the diagonal, of its columns."""
    rows, columns = slice(*block.rows), slice(*block.columns)
    if block.rows == block.columns:
        return (x_support[rows],)
    return x_support[rows], x_support[columns]


def _size(span: tuple[int, int]) -> int:
    return span[1] - span[0]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class _SupportTask(Task):
    """A task on a block of ``k_ss``.

    Attributes:
        block: its place in ``k_ss``.
    """

    block: Block

    @property
    def extent(self) -> str:
        return f"supports {self.block.rows}×{self.block.columns}"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SupportKernelTask(_SupportTask):
    """A block of ``k_ss``; its part is ``k``."""

    op = "support_kernel"

    def compute(self, targets: TargetSource, x_support: jax.Array) -> Parts:
        return {"k": np.asarray(self.kernel.make()(*_cut(x_support, self.block)))}

    def expected_parts(self, support_shape: tuple[int, ...], num_classes: int) -> Expected:
        return {"k": (_DEVICE, (_size(self.block.rows), _size(self.block.columns)))}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SupportVJPTask(_SupportTask):
    """The pullback of a block of ``k_ss``; its parts are ``d_rows`` and ``d_columns``.

    A block on the diagonal has no ``d_columns``.

    Attributes:
        cotangent: cotangent of the block, float32.
    """

    op = "support_vjp"
    cotangent: np.ndarray

    def compute(self, targets: TargetSource, x_support: jax.Array) -> Parts:
        images = _cut(x_support, self.block)
        _, pullback = _jitted(self.kernel)["symmetric" if len(images) == 1 else "both"](*images)
        pulled = _pull(pullback, self.cotangent)
        return dict(zip(("d_rows", "d_columns"), map(np.asarray, pulled), strict=False))

    def expected_parts(self, support_shape: tuple[int, ...], num_classes: int) -> Expected:
        rows, columns = self.block.rows, self.block.columns
        sides = {"d_rows": (_DEVICE, (_size(rows), *support_shape[1:]))}
        if rows != columns:
            sides["d_columns"] = (_DEVICE, (_size(columns), *support_shape[1:]))
        return sides


# -- blocks of targets ---------------------------------------------------------------------------


def _images(rows: TargetRows, targets: TargetSource, x_support: jax.Array) -> jax.Array:
    return jax.device_put(targets.images(rows), x_support.sharding)


def _summed(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float64) if dtype == np.float32 else dtype


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class _TargetTask(Task):
    """A task on blocks of targets.

    Attributes:
        rows: the targets, a short last block padded with its last image.
        used: how many of `rows` are not padding.
    """

    rows: TargetRows
    used: int

    @property
    def extent(self) -> str:
        return f"{self.used} targets"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TargetPassTask(_TargetTask):
    """A few blocks of `BlockExecutor.target_pass`; its parts are those of a `TargetPass`.

    Attributes:
        height: targets in each block of `rows`.
        alpha: float64 ``(s, classes)``.
        loss, count: see `BlockExecutor.target_pass`.
    """

    op = "target_pass"
    height: int
    alpha: np.ndarray
    loss: str
    count: int

    def compute(self, targets: TargetSource, x_support: jax.Array) -> Parts:
        """Adds its blocks; a single block's gradient stays float32, which is exact."""
        total: Parts = {}
        blocks = self.target_blocks()
        for i, rows in enumerate(blocks):
            used = min(self.used - i * self.height, self.height)
            parts = self._compute_block(rows, used, targets, x_support)
            if len(blocks) == 1:
                return parts
            for name, part in parts.items():
                if name not in total:
                    total[name] = np.zeros(part.shape, _summed(part.dtype))
                total[name] += part
        return total

    def _compute_block(
        self, rows: TargetRows, used: int, targets: TargetSource, x_support: jax.Array
    ) -> Parts:
        x = _images(rows, targets, x_support)
        k_block, pullback = _jitted(self.kernel)["columns"](x, x_support)
        k_ts = np.asarray(k_block, np.float64)[:used]
        scores, y = ridge.predict(k_ts, self.alpha), targets.labels(rows)[:used]
        loss, d_scores = ridge.loss_by_name(self.loss)(scores, y, self.count)
        correct = np.sum(np.argmax(scores, 1) == np.argmax(y, 1))
        cotangent = np.zeros((self.height, len(self.alpha)), np.float32)
        cotangent[:used] = d_scores @ self.alpha.T
        return {
            "loss": np.asarray(loss, np.float64),
            "correct": np.asarray(correct, np.int64),
            "d_x": np.asarray(_pull(pullback, cotangent)[0]),
            "d_alpha": k_ts.T @ d_scores,
        }

    def expected_parts(self, support_shape: tuple[int, ...], num_classes: int) -> Expected:
        return {
            "loss": (_HOST, ()),
            "correct": (_COUNT, ()),
            "d_x": (_DEVICE + _HOST, support_shape),
            "d_alpha": (_HOST, (support_shape[0], num_classes)),
        }

    def target_blocks(self) -> list[TargetRows]:
        indices = self.rows.indices
        cuts = range(0, len(indices), self.height)
        return [
            dataclasses.replace(self.rows, indices=indices[start : start + self.height])
            for start in cuts
        ]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class GramTask(_TargetTask):
    """One block of Label Solve's sums; its parts are ``gram`` and ``cross``."""

    op = "gram"

    def compute(self, targets: TargetSource, x_support: jax.Array) -> Parts:
        k_block = self.kernel.make()(_images(self.rows, targets, x_support), x_support)
        k_ts = np.asarray(np.asarray(k_block)[: self.used], np.float64)
        labels = targets.labels(self.rows)[: self.used]
        return {"gram": k_ts.T @ k_ts, "cross": k_ts.T @ labels}

    def expected_parts(self, support_shape: tuple[int, ...], num_classes: int) -> Expected:
        size = support_shape[0]
        return {"gram": (_HOST, (size, size)), "cross": (_HOST, (size, num_classes))}

    def target_blocks(self) -> list[TargetRows]:
        return [self.rows]


TASKS: Mapping[str, type[Task]] = {
    task.op: task for task in (SupportKernelTask, SupportVJPTask, TargetPassTask, GramTask)
}
