"""Objectives: what a network is trained for."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kipax.students import Outputs
from kipax.training.batches import Batch

__all__ = ["CrossEntropy", "MeanSquare", "Objective"]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The base of objectives: frozen, so that one compilation serves equal ones.

    An objective may have parameters of its own (``aux``: a projector, a connector), which are
    trained along and left behind afterwards, and a state (a queue, a memory bank), which it
    returns changed. Both are trees of arrays, saved with the training.

    `averaging` is the momentum m of an averaged copy of the student, ``a <- m a + (1 - m) p``
    after each step, whose outputs are handed in as `averaged`; None where there is none.
    """

    @property
    def averaging(self) -> float | None:
        """The momentum of the averaged copy; None for no copy."""
        return None

    def init(
        self, key: jax.Array, student: Outputs, teacher: Outputs | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """First `aux` and `state`.

        Args:
            key: of their draw.
            student: outputs of one batch, as `jax.ShapeDtypeStruct`.
            teacher: likewise; None without a teacher.
        """
        return {}, {}

    def __call__(
        self,
        aux: dict[str, Any],
        state: dict[str, Any],
        student: Outputs,
        teacher: Outputs | None,
        batch: Batch,
        averaged: Outputs | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array], dict[str, Any]]:
        """Returns the loss to minimise, further numbers to report, and the next state.

        Args:
            aux: parameters of its own.
            state: as the last step left it.
            student: outputs for ``batch.x``, in training mode.
            teacher: outputs for the same batch, constant; None without a teacher.
            batch: what was seen.
            averaged: outputs of the averaged copy, constant; None without one.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class MeanSquare(Objective):
    """Half the mean square over images and classes: ``mean((logits - y)^2) / 2``."""

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """See `Objective`."""
        return 0.5 * jnp.mean((student.logits - batch.y) ** 2), {}, state


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Objective):
    """Softmax cross-entropy with the class of the largest label, a mean over images.

    Attributes:
        smoothing: e: the class counts 1 - e + e / classes, every other e / classes.
    """

    smoothing: float = 0.0

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """See `Objective`."""
        hard = jax.nn.one_hot(jnp.argmax(batch.y, axis=1), batch.y.shape[1])
        labels = optax.smooth_labels(hard, self.smoothing)
        return jnp.mean(optax.softmax_cross_entropy(student.logits, labels)), {}, state
