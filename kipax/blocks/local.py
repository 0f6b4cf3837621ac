"""The executor of one process: blocks over its devices."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import jax
import numpy as np

from kipax import ridge
from kipax.blocks.executor import TargetPass, TargetRows, TargetSource
from kipax.blocks.plan import Block, BlockPlan
from kipax.kernels import KernelSpec

__all__ = ["LocalExecutor"]

Piece = TypeVar("Piece")
Result = TypeVar("Result")


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


@dataclasses.dataclass(frozen=True, eq=False)
class _Rows:
    """A block of targets: rows with padding, their place, how many are not padding."""

    rows: TargetRows
    span: slice
    used: int


class LocalExecutor:
    """Computes every block in this process; see `kipax.blocks.executor.BlockExecutor`.

    Kernels and pullbacks run in JAX in float32; residuals, sums and everything else of the
    size of a kernel matrix in float64 NumPy: a block's forward pass and its pullback are two
    compiled programs, and the pullback's data stays on the device during the small round
    trip in between. With several devices each takes the next block when it is free, with a
    thread of this process; results are added in plan order, so they are those of one device
    up to the devices' rounding.

    Args:
        targets: where target images and labels come from.
        plan: the block sizes.
        devices: which to use; all of this process's by default.
    """

    def __init__(
        self,
        targets: TargetSource,
        plan: BlockPlan,
        *,
        devices: Sequence[jax.Device] | None = None,
    ):
        self.plan = plan
        self.devices = tuple(devices or jax.local_devices())
        self._targets = targets
        self._supports: dict[jax.Device, jax.Array] = {}
        self.version = -1

    def set_support(self, x_support: np.ndarray, *, version: int) -> None:
        x = np.asarray(x_support, np.float32)
        self._supports = {device: jax.device_put(x, device) for device in self.devices}
        self.version = version

    def _support(self, device: jax.Device) -> jax.Array:
        if not self._supports:
            raise RuntimeError("set_support comes before any block.")
        return self._supports[device]

    @property
    def _shape(self) -> tuple[int, ...]:
        return self._support(self.devices[0]).shape

    def kernel(self, rows: TargetRows | None, *, kernel: KernelSpec) -> np.ndarray:
        size, kernel_fn = self._shape[0], kernel.make()

        def compute_rows(block: _Rows, device: jax.Device) -> np.ndarray:
            x = jax.device_put(self._images(block), device)
            return np.asarray(kernel_fn(x, self._support(device)), np.float64)[: block.used]

        if rows is not None:
            parts = list(self._run(self._target_blocks(rows), compute_rows))
            return np.concatenate(parts) if parts else np.zeros((0, size))

        def compute_block(block: Block, device: jax.Device) -> np.ndarray:
            return np.asarray(kernel_fn(*self._block_images(block, device)), np.float64)

        blocks = list(self.plan.support_blocks(size))
        k_ss = np.zeros((size, size))
        for block, part in zip(blocks, self._run(blocks, compute_block), strict=True):
            rows_, columns = slice(*block.rows), slice(*block.columns)
            k_ss[rows_, columns] = part
            k_ss[columns, rows_] = part.T
        return k_ss

    def vjp(
        self, rows: TargetRows | None, cotangent: np.ndarray, *, kernel: KernelSpec
    ) -> np.ndarray:
        if rows is None:
            return self._support_vjp(kernel, cotangent)

        def pull(block: _Rows, device: jax.Device) -> np.ndarray:
            x = jax.device_put(self._images(block), device)
            _, pullback = _jitted(kernel)["columns"](x, self._support(device))
            return self._pull_rows(pullback, cotangent[block.span], block)

        return sum(self._run(self._target_blocks(rows), pull), np.zeros(self._shape))

    def target_pass(
        self, rows: TargetRows, alpha: np.ndarray, *, kernel: KernelSpec, loss: str, count: int
    ) -> TargetPass:
        loss_fn = ridge.loss_by_name(loss)
        labels = self._targets.labels(rows)

        def compute(block: _Rows, device: jax.Device) -> TargetPass:
            x = jax.device_put(self._images(block), device)
            k_block, pullback = _jitted(kernel)["columns"](x, self._support(device))
            k_ts = np.asarray(k_block, np.float64)[: block.used]
            scores, y = ridge.predict(k_ts, alpha), labels[block.span]
            part, d_scores = loss_fn(scores, y, count)
            correct = int(np.sum(np.argmax(scores, 1) == np.argmax(y, 1)))
            d_x = self._pull_rows(pullback, d_scores @ alpha.T, block)
            return TargetPass(part, d_x, k_ts.T @ d_scores, correct)

        total, correct = 0.0, 0
        d_x, d_alpha = np.zeros(self._shape), np.zeros(alpha.shape)
        for part in self._run(self._target_blocks(rows), compute):
            total, correct = total + part.loss, correct + part.correct
            d_x += part.d_x_support
            d_alpha += part.d_alpha
        return TargetPass(total, d_x, d_alpha, correct)

    def gram(self, rows: TargetRows, *, kernel: KernelSpec) -> tuple[np.ndarray, np.ndarray]:
        kernel_fn, labels = kernel.make(), self._targets.labels(rows)

        def compute(block: _Rows, device: jax.Device) -> tuple[np.ndarray, np.ndarray]:
            x = jax.device_put(self._images(block), device)
            k_ts = np.asarray(kernel_fn(x, self._support(device)), np.float64)[: block.used]
            return k_ts.T @ k_ts, k_ts.T @ labels[block.span]

        gram = np.zeros((self._shape[0],) * 2)
        cross = np.zeros((self._shape[0], labels.shape[1]))
        for part in self._run(self._target_blocks(rows), compute):
            gram += part[0]
            cross += part[1]
        return gram, cross

    # -- blocks and devices --------------------------------------------------------------

    def _run(
        self, blocks: Iterable[Piece], work: Callable[[Piece, jax.Device], Result]
    ) -> Iterator[Result]:
        """Each block's result, in order; every device works on one block at a time."""
        if len(self.devices) == 1:
            for block in blocks:
                yield work(block, self.devices[0])
            return
        free: queue.SimpleQueue[jax.Device] = queue.SimpleQueue()
        for device in self.devices:
            free.put(device)

        def run(block: Piece) -> Result:
            device = free.get()
            try:
                return work(block, device)
            finally:
                free.put(device)

        with concurrent.futures.ThreadPoolExecutor(len(self.devices)) as pool:
            yield from pool.map(run, blocks)

    def _target_blocks(self, rows: TargetRows) -> list[_Rows]:
        """Blocks of one height: a short last one repeats its last image, and compiles no more."""
        height = min(self.plan.target_rows, len(rows)) if len(rows) else 1
        blocks = []
        for start, stop in self.plan.target_blocks(len(rows)):
            indices = np.pad(rows.indices[start:stop], (0, height - (stop - start)), mode="edge")
            block = TargetRows(indices, rows.step, rows.augmentation_seed)
            blocks.append(_Rows(block, slice(start, stop), stop - start))
        return blocks

    def _images(self, block: _Rows) -> np.ndarray:
        return self._targets.images(block.rows)

    def _pull_rows(self, pullback, cotangent: np.ndarray, block: _Rows) -> np.ndarray:
        padded = np.zeros((len(block.rows), cotangent.shape[1]), np.float32)
        padded[: block.used] = cotangent
        return np.asarray(_pull(pullback, padded)[0], np.float64)

    def _block_images(self, block: Block, device: jax.Device) -> tuple[jax.Array, ...]:
        rows, columns = slice(*block.rows), slice(*block.columns)
        support = self._support(device)
        if block.rows == block.columns:
            return (support[rows],)
        return support[rows], support[columns]

    def _support_vjp(self, kernel: KernelSpec, cotangent: np.ndarray) -> np.ndarray:
        symmetric = 0.5 * (cotangent + cotangent.T)

        def pull(block: Block, device: jax.Device) -> tuple[np.ndarray, ...]:
            args = self._block_images(block, device)
            on_diagonal = len(args) == 1
            _, pullback = _jitted(kernel)["symmetric" if on_diagonal else "both"](*args)
            weight = 1.0 if on_diagonal else 2.0  # the mirrored block is not computed
            part = weight * symmetric[slice(*block.rows), slice(*block.columns)]
            return tuple(np.asarray(d, np.float64) for d in _pull(pullback, np.float32(part)))

        total = np.zeros(self._shape)
        blocks = list(self.plan.support_blocks(self._shape[0]))
        for block, pulled in zip(blocks, self._run(blocks, pull), strict=True):
            total[slice(*block.rows)] += pulled[0]
            if len(pulled) > 1:
                total[slice(*block.columns)] += pulled[1]
        return total
