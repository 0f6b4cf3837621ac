"""The executor of one process: blocks one after another on its default device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from kipax import ridge
from kipax.blocks.executor import TargetPass, TargetRows, TargetSource
from kipax.blocks.plan import Block, BlockPlan
from kipax.kernels import KernelSpec

__all__ = ["LocalExecutor"]


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


class LocalExecutor:
    """Computes every block in this process; see `kipax.blocks.executor.BlockExecutor`.

    Kernels and pullbacks run in JAX in float32; residuals, sums and everything else of the
    size of a kernel matrix in float64 NumPy: a block's forward pass and its pullback are two
    compiled programs, and the pullback's data stays on the device during the small round
    trip in between.

    Args:
        targets: where target images and labels come from.
        plan: the block sizes.
    """

    def __init__(self, targets: TargetSource, plan: BlockPlan):
        self.plan = plan
        self._targets = targets
        self._x_support: jax.Array | None = None
        self.version = -1

    def set_support(self, x_support: np.ndarray, *, version: int) -> None:
        self._x_support = jnp.asarray(x_support, jnp.float32)
        self.version = version

    @property
    def _support(self) -> jax.Array:
        if self._x_support is None:
            raise RuntimeError("set_support comes before any block.")
        return self._x_support

    def kernel(self, rows: TargetRows | None, *, kernel: KernelSpec) -> np.ndarray:
        kernel_fn = kernel.make()
        size = len(self._support)
        if rows is not None:
            parts = [
                np.asarray(kernel_fn(x, self._support), np.float64)[:count]
                for x, _, count in self._target_blocks(rows)
            ]
            return np.concatenate(parts) if parts else np.zeros((0, size))
        k_ss = np.zeros((size, size))
        for block in self.plan.support_blocks(size):
            rows_, columns = slice(*block.rows), slice(*block.columns)
            args = self._block_images(block)
            k_ss[rows_, columns] = np.asarray(kernel_fn(*args), np.float64)
            k_ss[columns, rows_] = k_ss[rows_, columns].T
        return k_ss

    def vjp(
        self, rows: TargetRows | None, cotangent: np.ndarray, *, kernel: KernelSpec
    ) -> np.ndarray:
        if rows is None:
            return self._support_vjp(kernel, cotangent)
        total = np.zeros(self._support.shape)
        for x, span, count in self._target_blocks(rows):
            _, pullback = _jitted(kernel)["columns"](x, self._support)
            total += self._pull_rows(pullback, cotangent[span], len(x), count)
        return total

    def target_pass(
        self, rows: TargetRows, alpha: np.ndarray, *, kernel: KernelSpec, loss: str, count: int
    ) -> TargetPass:
        loss_fn = ridge.loss_by_name(loss)
        labels = self._targets.labels(rows)
        total, correct = 0.0, 0
        d_x, d_alpha = np.zeros(self._support.shape), np.zeros(alpha.shape)
        for x, span, used in self._target_blocks(rows):
            k_block, pullback = _jitted(kernel)["columns"](x, self._support)
            k_ts = np.asarray(k_block, np.float64)[:used]
            scores = ridge.predict(k_ts, alpha)
            part, d_scores = loss_fn(scores, labels[span], count)
            total += part
            correct += int(np.sum(np.argmax(scores, 1) == np.argmax(labels[span], 1)))
            d_alpha += k_ts.T @ d_scores
            d_x += self._pull_rows(pullback, d_scores @ alpha.T, len(x), used)
        return TargetPass(total, d_x, d_alpha, correct)

    def gram(self, rows: TargetRows, *, kernel: KernelSpec) -> tuple[np.ndarray, np.ndarray]:
        kernel_fn, labels = kernel.make(), self._targets.labels(rows)
        size = len(self._support)
        gram, cross = np.zeros((size, size)), np.zeros((size, labels.shape[1]))
        for x, span, used in self._target_blocks(rows):
            k_ts = np.asarray(kernel_fn(x, self._support), np.float64)[:used]
            gram += k_ts.T @ k_ts
            cross += k_ts.T @ labels[span]
        return gram, cross

    def _target_blocks(self, rows: TargetRows) -> Iterator[tuple[jax.Array, slice, int]]:
        """Each block's images, its place among the rows and how many images are not padding.

        A short last block repeats its last image, so that every block has one shape and
        compiles once.
        """
        height = min(self.plan.target_rows, len(rows)) if len(rows) else 1
        for start, stop in self.plan.target_blocks(len(rows)):
            indices = np.pad(rows.indices[start:stop], (0, height - (stop - start)), mode="edge")
            block = TargetRows(indices, rows.step, rows.augmentation_seed)
            yield jnp.asarray(self._targets.images(block)), slice(start, stop), stop - start

    def _pull_rows(self, pullback, cotangent: np.ndarray, height: int, used: int) -> np.ndarray:
        padded = np.zeros((height, cotangent.shape[1]), np.float32)
        padded[:used] = cotangent
        return np.asarray(_pull(pullback, jnp.asarray(padded))[0], np.float64)

    def _block_images(self, block: Block) -> tuple[jax.Array, ...]:
        rows, columns = slice(*block.rows), slice(*block.columns)
        if block.rows == block.columns:
            return (self._support[rows],)
        return self._support[rows], self._support[columns]

    def _support_vjp(self, kernel: KernelSpec, cotangent: np.ndarray) -> np.ndarray:
        symmetric = 0.5 * (cotangent + cotangent.T)
        total = np.zeros(self._support.shape)
        for block in self.plan.support_blocks(len(self._support)):
            rows, columns = slice(*block.rows), slice(*block.columns)
            args = self._block_images(block)
            on_diagonal = len(args) == 1
            forward = _jitted(kernel)["symmetric" if on_diagonal else "both"]
            _, pullback = forward(*args)
            weight = 1.0 if on_diagonal else 2.0  # the mirrored block is not computed
            part = jnp.asarray(weight * symmetric[rows, columns], jnp.float32)
            pulled = _pull(pullback, part)
            total[rows] += np.asarray(pulled[0], np.float64)
            if not on_diagonal:
                total[columns] += np.asarray(pulled[1], np.float64)
        return total
