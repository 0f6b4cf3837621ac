"""Objectives: the losses that networks are trained with."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kipax.errors import UsageError
from kipax.students import Outputs
from kipax.training.batches import Batch

__all__ = ["CrossEntropy", "MeanSquare", "Objective", "Sum"]


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

    def __add__(self, other: Objective) -> Sum:
        """Adds another objective: the loss is then the sum of both losses; see `Sum`."""
        return Sum(_terms(self) + _terms(other))

    def __rmul__(self, weight: float) -> Sum:
        """Multiplies the objective by a number: its loss is then that multiple; see `Sum`."""
        return Sum(tuple((weight * own, term) for own, term in _terms(self)))


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Sum) else ((1.0, objective),)


@dataclasses.dataclass(frozen=True)
class Sum(Objective):
    """A weighted sum of objectives, written ``CrossEntropy() + 0.5 * MeanSquare()``.

    Each term has its own parameters and state. The metrics of all terms are reported, and the loss
    of each as ``loss_<name of its class>``; of two terms of one name the later one is reported.

    Attributes:
        terms: weights and objectives.

    Raises:
        UsageError: there is no term, a weight is not finite, or terms want averaged copies of
            different momenta.

    Example:
        >>> (CrossEntropy() + 0.5 * MeanSquare()).terms
        ((1.0, CrossEntropy(smoothing=0.0)), (0.5, MeanSquare()))
    """

    terms: tuple[tuple[float, Objective], ...]

    def __post_init__(self) -> None:
        if not self.terms or not all(math.isfinite(weight) for weight, _ in self.terms):
            raise UsageError(f"a sum has terms with finite weights; got {self.terms}.")
        momenta = {term.averaging for _, term in self.terms} - {None}
        if len(momenta) > 1:
            raise UsageError(f"terms share one averaged copy; got the momenta {momenta}.")

    @property
    def averaging(self) -> float | None:
        """The momentum of the averaged copy that a term wants; None for no copy."""
        return next((t.averaging for _, t in self.terms if t.averaging is not None), None)

    def init(self, key, student, teacher):
        """Draws the first parameters and states of every term, by the position of the term."""
        keys = jax.random.split(key, len(self.terms))
        made = [
            term.init(k, student, teacher) for k, (_, term) in zip(keys, self.terms, strict=True)
        ]
        aux = {str(i): one for i, (one, _) in enumerate(made)}
        return aux, {str(i): one for i, (_, one) in enumerate(made)}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the weighted sum of the terms' losses, their metrics and their next states."""
        total = jnp.zeros(())
        metrics: dict[str, jax.Array] = {}
        after: dict[str, Any] = {}
        for position, (weight, term) in enumerate(self.terms):
            place = str(position)
            loss, more, after[place] = term(
                aux[place], state[place], student, teacher, batch, averaged
            )
            total += weight * loss
            metrics |= {**more, f"loss_{type(term).__name__}": loss}
        return total, metrics, after


@dataclasses.dataclass(frozen=True)
class MeanSquare(Objective):
    """Half the mean square over images and classes: ``mean((logits - y)^2) / 2``."""

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns half the mean squared difference between logits and labels."""
        return 0.5 * jnp.mean((student.logits - batch.y) ** 2), {}, state


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Objective):
    """Softmax cross-entropy with the class of the largest label, a mean over images.

    Attributes:
        smoothing: e; the class has the target 1 - e + e / classes, every other e / classes.
    """

    smoothing: float = 0.0

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the mean cross-entropy of the logits with the smoothed classes."""
        hard = jax.nn.one_hot(jnp.argmax(batch.y, axis=1), batch.y.shape[1])
        labels = optax.smooth_labels(hard, self.smoothing)
        return jnp.mean(optax.softmax_cross_entropy(student.logits, labels)), {}, state
