"""A block's work as plain data, and the one place that computes it.

A `Task` names everything that a block needs besides the targets and the support set, which
whoever computes already holds. Its parts go back as named arrays, to be added by
`kipax.blocks.sums` in plan order.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kipax import ridge
from kipax.blocks.executor import TargetRows, TargetSource
from kipax.blocks.plan import Block
from kipax.kernels import KernelSpec

__all__ = ["OPS", "Parts", "Task", "compute", "expected_parts"]

OPS = ("kernel", "vjp", "target_pass", "gram", "support_kernel", "support_vjp")
Parts = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """One block, or a few consecutive ones, of one call to an executor.

    Attributes:
        op: one of `OPS`.
        position: its place in the call's plan; sums go by it.
        version: of the support set.
        kernel: which kernel.
        rows: the targets, a short last block padded with its last image; None for a block of
            the support kernel.
        height: targets in each block of `rows`.
        used: how many of `rows` are no padding.
        block: its place in the support kernel; None for targets.
        weights: the cotangent of the block's kernel (vjp), float32; `alpha` (target_pass),
            float64; None for the others.
        loss, count: of target_pass, see `BlockExecutor.target_pass`.
    """

    op: str
    position: int
    version: int
    kernel: KernelSpec
    rows: TargetRows | None = None
    height: int = 0
    used: int = 0
    block: Block | None = None
    weights: np.ndarray | None = None
    loss: str = ""
    count: int = 0

    def describe(self) -> str:
        """What it is, for messages.

        Example:
            >>> from kipax import architectures
            >>> spec = KernelSpec(architectures.from_name("fc1"))
            >>> Task(op="gram", position=3, version=0, kernel=spec, used=7).describe()
            'block 3 of gram (7 targets) with the ntk of fc1'
        """
        block = self.block
        what = f"{self.used} targets" if block is None else f"supports {block.rows}×{block.columns}"
        name = self.kernel.architecture.name
        return f"block {self.position} of {self.op} ({what}) with the {self.kernel.kind} of {name}"


def compute(task: Task, targets: TargetSource, x_support: jax.Array) -> Parts:
    """The parts of a task: float32 from the device, float64 from the host.

    Kernels and pullbacks run in JAX in float32; residuals and everything else of the size of
    a kernel matrix in float64 NumPy: a block's forward pass and its pullback are two compiled
    programs, and the pullback's data stays on the device during the small round trip between.

    Args:
        task: what to compute.
        targets: where target images and labels come from.
        x_support: the support images ``(s, H, W, C)``, on the device that computes.
    """
    return _COMPUTE[task.op](task, targets, x_support)


def expected_parts(
    task: Task, support_shape: tuple[int, ...], num_classes: int
) -> Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Name, possible dtypes and shape of each part of a task: what an answer must look like."""
    size, device, host = support_shape[0], ("<f4",), ("<f8",)
    if task.block is not None:
        rows, columns = (stop - start for start, stop in (task.block.rows, task.block.columns))
        if task.op == "support_kernel":
            return {"k": (device, (rows, columns))}
        sides = {"d_rows": (device, (rows, *support_shape[1:]))}
        if task.block.rows != task.block.columns:
            sides["d_columns"] = (device, (columns, *support_shape[1:]))
        return sides
    if task.op == "kernel":
        return {"k": (device, (task.used, size))}
    if task.op == "vjp":
        return {"d_x": (device, support_shape)}
    if task.op == "gram":
        return {"gram": (host, (size, size)), "cross": (host, (size, num_classes))}
    return {
        "loss": (host, ()),
        "correct": (("<i8",), ()),
        "d_x": (("<f4", "<f8"), support_shape),
        "d_alpha": (host, (size, num_classes)),
    }


@functools.lru_cache(maxsize=64)
def _jitted(kernel: KernelSpec) -> dict[str, Callable]:
    """Compiled ``(images) -> (k, pullback)``, by what is differentiated.

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


def _images(rows: TargetRows, targets: TargetSource, x_support: jax.Array) -> jax.Array:
    return jax.device_put(targets.images(rows), x_support.sharding)


def _pull_rows(pullback, cotangent: np.ndarray, height: int) -> np.ndarray:
    padded = np.zeros((height, cotangent.shape[1]), np.float32)
    padded[: len(cotangent)] = cotangent
    return np.asarray(_pull(pullback, padded)[0])


# -- blocks of targets ---------------------------------------------------------------------------


def _target_kernel(task: Task, targets: TargetSource, x_support: jax.Array) -> Parts:
    assert task.rows is not None
    k = task.kernel.make()(_images(task.rows, targets, x_support), x_support)
    return {"k": np.asarray(k)[: task.used]}


def _target_vjp(task: Task, targets: TargetSource, x_support: jax.Array) -> Parts:
    assert task.rows is not None and task.weights is not None
    x = _images(task.rows, targets, x_support)
    _, pullback = _jitted(task.kernel)["columns"](x, x_support)
    return {"d_x": _pull_rows(pullback, task.weights, task.height)}


def _gram(task: Task, targets: TargetSource, x_support: jax.Array) -> Parts:
    assert task.rows is not None
    k_ts = np.asarray(_target_kernel(task, targets, x_support)["k"], np.float64)
    labels = targets.labels(task.rows)[: task.used]
    return {"gram": k_ts.T @ k_ts, "cross": k_ts.T @ labels}


def _target_pass(task: Task, targets: TargetSource, x_support: jax.Array) -> Parts:
    """Blocks one after the other; a single block's gradient stays float32, which is exact."""
    assert task.rows is not None
    first = _one_pass(task, slice(0, task.height), targets, x_support)
    if len(task.rows) == task.height:
        return first
    total = {name: np.zeros(part.shape, _summed(part.dtype)) for name, part in first.items()}
    for start in range(0, len(task.rows), task.height):
        span = slice(start, start + task.height)
        parts = _one_pass(task, span, targets, x_support) if start else first
        for name, part in parts.items():
            total[name] += part
    return total


def _summed(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float64) if dtype == np.float32 else dtype


def _one_pass(task: Task, span: slice, targets: TargetSource, x_support: jax.Array) -> Parts:
    assert task.rows is not None and task.weights is not None
    rows, alpha = dataclasses.replace(task.rows, indices=task.rows.indices[span]), task.weights
    used = min(task.used - span.start, task.height)
    x = _images(rows, targets, x_support)
    k_block, pullback = _jitted(task.kernel)["columns"](x, x_support)
    k_ts = np.asarray(k_block, np.float64)[:used]
    scores, y = ridge.predict(k_ts, alpha), targets.labels(rows)[:used]
    loss, d_scores = ridge.loss_by_name(task.loss)(scores, y, task.count)
    correct = np.sum(np.argmax(scores, 1) == np.argmax(y, 1))
    return {
        "loss": np.asarray(loss, np.float64),
        "correct": np.asarray(correct, np.int64),
        "d_x": _pull_rows(pullback, d_scores @ alpha.T, task.height),
        "d_alpha": k_ts.T @ d_scores,
    }


# -- blocks of the support kernel ----------------------------------------------------------------


def _block_images(block: Block, x_support: jax.Array) -> tuple[jax.Array, ...]:
    rows, columns = slice(*block.rows), slice(*block.columns)
    if block.rows == block.columns:
        return (x_support[rows],)
    return x_support[rows], x_support[columns]


def _support_kernel(task: Task, targets: TargetSource, x_support: jax.Array) -> Parts:
    assert task.block is not None
    return {"k": np.asarray(task.kernel.make()(*_block_images(task.block, x_support)))}


def _support_vjp(task: Task, targets: TargetSource, x_support: jax.Array) -> Parts:
    assert task.block is not None
    images = _block_images(task.block, x_support)
    _, pullback = _jitted(task.kernel)["symmetric" if len(images) == 1 else "both"](*images)
    pulled = _pull(pullback, task.weights)
    return dict(zip(("d_rows", "d_columns"), map(np.asarray, pulled), strict=False))


_COMPUTE: dict[str, Callable[[Task, Any, jax.Array], Parts]] = {
    "kernel": _target_kernel,
    "vjp": _target_vjp,
    "target_pass": _target_pass,
    "gram": _gram,
    "support_kernel": _support_kernel,
    "support_vjp": _support_vjp,
}
