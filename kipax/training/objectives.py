"""Objectives: the losses that networks are trained with."""

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
    """The base of objectives, which are frozen, so that equal ones share a compilation.

    An objective may have parameters of its own (``aux``: a projector, a connector), which are
    trained with the network and not kept, and a state (a queue, a memory bank), which each call
    returns updated. Both are trees of arrays, saved with the training.

    `averaging` is the momentum m of an averaged copy of the student, ``a <- m a + (1 - m) p``
    after each step, whose outputs are passed as `averaged`; None for no copy.
    """

    @property
    def averaging(self) -> float | None:
        """The momentum of the averaged copy; None for no copy."""
        return None

    def init(
        self, key: jax.Array, student: Outputs, teacher: Outputs | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the first `aux` and `state`.

        Args:
            key: JAX key of their draw.
            student: the student's outputs for one batch, as `jax.ShapeDtypeStruct`.
            teacher: the teacher's outputs in the same form; None without a teacher.
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
            aux: the objective's own parameters.
            state: the objective's state after the last step.
            student: the student's outputs for ``batch.x``, in training mode.
            teacher: the teacher's outputs for the same batch, constant; None without a teacher.
            batch: the batch of the step.
            averaged: outputs of the averaged copy, constant; None without one.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class MeanSquare(Objective):
    """Half the mean square over images and classes: ``mean((logits - y)^2) / 2``."""

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns half the mean square."""
        return 0.5 * jnp.mean((student.logits - batch.y) ** 2), {}, state


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Objective):
    """Softmax cross-entropy with the class of the largest label, a mean over images.

    Attributes:
        smoothing: e; the class has the target 1 - e + e / classes, every other e / classes.
    """

    smoothing: float = 0.0

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the cross-entropy."""
        hard = jax.nn.one_hot(jnp.argmax(batch.y, axis=1), batch.y.shape[1])
        labels = optax.smooth_labels(hard, self.smoothing)
        return jnp.mean(optax.softmax_cross_entropy(student.logits, labels)), {}, state
