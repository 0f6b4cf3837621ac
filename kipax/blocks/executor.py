"""The interface of an executor of kernel blocks: it is sent indices of targets, not pixels.

An executor is made with the targets (`TargetSource`) and a `BlockPlan`. It holds one
support set at a time and returns sums over blocks, added in plan order. It knows neither
the optimiser nor the loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import jax
import numpy as np

from kipax.blocks.plan import BlockPlan
from kipax.kernels import KernelSpec

__all__ = ["BlockExecutor", "TargetPass", "TargetRows", "TargetSource"]


@dataclasses.dataclass(frozen=True, eq=False)
class TargetRows:
    """Which training images are a step's targets.

    Attributes:
        indices: positions in the training images, int ``(n,)``.
        step: the step that they belong to; augmentation keys fold it in.
        augmentation_seed: None for no augmentation.
    """

    indices: np.ndarray
    step: int = 0
    augmentation_seed: int | None = None

    def __len__(self) -> int:
        return len(self.indices)


class TargetSource(Protocol):
    """What an executor needs of a data set: preprocessed images and labels, by index."""

    num_classes: int

    def images(self, rows: TargetRows) -> np.ndarray | jax.Array:
        """Returns preprocessed images ``(n, H, W, C)`` float32."""
        ...

    def labels(self, rows: TargetRows) -> np.ndarray:
        """Returns centred one-hot labels ``(n, classes)`` float64."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class TargetPass:
    """What `BlockExecutor.target_pass` returns.

    Attributes:
        loss: of these rows' part of the batch.
        d_x_support: its gradient through ``k_ts`` at fixed ``alpha``, float64 ``(s, H, W, C)``.
        d_alpha: its gradient with respect to ``alpha``, float64 ``(s, classes)``.
        correct: how many targets were classified correctly.
    """

    loss: float
    d_x_support: np.ndarray
    d_alpha: np.ndarray
    correct: int


class BlockExecutor(Protocol):
    """Computes kernels, their pullbacks and sums over blocks, wherever that may be."""

    plan: BlockPlan

    def set_support(self, x_support: np.ndarray, *, version: int) -> None:
        """Replaces the support images ``(s, H, W, C)``; `version` grows with every change."""
        ...

    def support_kernel(self, *, kernel: KernelSpec) -> np.ndarray:
        """Computes ``k_ss`` ``(s, s)``, float64."""
        ...

    def support_vjp(self, cotangent: np.ndarray, *, kernel: KernelSpec) -> np.ndarray:
        """Pulls a cotangent of ``k_ss`` ``(s, s)`` back to ``x_support``, float64."""
        ...

    def target_pass(
        self, rows: TargetRows, alpha: np.ndarray, *, kernel: KernelSpec, loss: str, count: int
    ) -> TargetPass:
        """Computes the loss of ``k_ts alpha`` against the labels, and both gradients, in one pass.

        `count` is the whole batch's number of targets, so that parts add up; `loss` names a
        loss of `kipax.ridge`.
        """
        ...

    def gram_parts(
        self, rows: TargetRows, *, kernel: KernelSpec, skip: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Computes the terms of Label Solve's sums ``k_ts^T k_ts`` and ``k_ts^T y_t``, float64.

        One pair a block of the plan, in its order, without the first `skip`.
        """
        ...

    def status(self) -> str:
        """Gives a few words for a progress line; empty where there is nothing to say."""
        ...
