"""`Distil`: the objective of a student, which is to give the teacher's answer to each image."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from kipax.config import check_share
from kipax.errors import UsageError, check_choice
from kipax.training import Objective

__all__ = ["LOSSES", "SIGNALS", "Distil", "KnownLabels", "teacher_probabilities"]

LOSSES = ("kl", "l1", "l2", "hard")
SIGNALS = ("full", "top_k", "argmax", "smoothed", "standardised")


def teacher_probabilities(logits: jax.Array, signal: Distil) -> jax.Array:
    """Returns the part of a teacher's logits that is passed on, as probabilities at tau.

    * ``full``: ``softmax(logits / tau)``;
    * ``top_k``: ``softmax`` of the k largest logits alone;
    * ``argmax``: 1 for the largest logit;
    * ``smoothed``: 1 - e for the largest logit, plus e shared by all classes;
    * ``standardised``: ``softmax`` of logits brought to mean 0 and deviation 1, image by image.

    Args:
        logits: ``(n, classes)``.
        signal: gives `signal`, `temperature` (tau), `top_k` (k) and `smoothing` (e).
    """
    classes = logits.shape[-1]
    best = jax.nn.one_hot(jnp.argmax(logits, axis=-1), classes)
    if signal.signal == "argmax":
        return best
    if signal.signal == "smoothed":
        return (1 - signal.smoothing) * best + signal.smoothing / classes
    if signal.signal == "top_k":
        kept = jax.lax.top_k(logits, min(signal.top_k, classes))[1]  # of equal ones the first
        told = jnp.sum(jax.nn.one_hot(kept, classes), axis=-2) > 0
        logits = jnp.where(told, logits, -jnp.inf)
    if signal.signal == "standardised":
        logits = _standardise(logits)
    return jax.nn.softmax(logits / signal.temperature)


def _standardise(logits: jax.Array) -> jax.Array:
    centred = logits - jnp.mean(logits, axis=-1, keepdims=True)
    return centred / (jnp.std(logits, axis=-1, keepdims=True) + 1e-7)


@dataclasses.dataclass(frozen=True)
class Distil(Objective):
    """The distance of the student's outputs from the teacher's.

    * ``kl``: forward ``KL(p_teacher || p_student)`` at the temperature tau, mean over images;
    * ``l1``, ``l2``: mean absolute or square difference of ``logits / tau``;
    * ``hard``: cross-entropy with the teacher's class.

    The metric ``agreement`` is the share of images that both assign to the same class.

    Attributes:
        loss: one of `LOSSES`.
        temperature: tau.
        scale: factor of the loss: tau^2 keeps gradients the same size at any tau, as Hinton et
            al. 2015 advise; papers differ.
        signal: the part of the teacher's logits that is used, see `teacher_probabilities`; for
            ``kl`` alone.
        top_k: k, the number of logits of the signal ``top_k``.
        smoothing: e, the share that the signal ``smoothed`` divides among all classes.

    Raises:
        UsageError: an unknown name, or a number out of range.
    """

    loss: str = "kl"
    temperature: float = 4.0
    scale: float = 1.0
    signal: str = "full"
    top_k: int = 5
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, LOSSES)
        check_choice("signal", self.signal, SIGNALS)
        if not self.temperature > 0:
            raise UsageError(f"temperature must be positive; got {self.temperature}.")
        if self.top_k < 1:
            raise UsageError(f"top_k must be at least 1; got {self.top_k}.")
        check_share(self, "smoothing")
        if self.loss != "kl" and self.signal != "full":
            raise UsageError(
                f"signal has no effect on {self.loss}; got {self.signal}: leave it out, or take kl."
            )

    @property
    def needed(self) -> int | None:
        """The number of likeliest classes whose logits the objective uses; None for all classes."""
        if self.loss == "hard" or self.signal in ("argmax", "smoothed"):
            return 1
        return self.top_k if self.signal == "top_k" else None

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the distance of the student's outputs from the teacher's, and the agreement."""
        same = jnp.argmax(student.logits, axis=-1) == jnp.argmax(teacher.logits, axis=-1)
        metrics = {"agreement": jnp.mean(same)}
        return self.scale * self.distance(student.logits, teacher.logits), metrics, state

    def distance(self, student: jax.Array, teacher: jax.Array) -> jax.Array:
        """Compares a student's logits ``(n, classes)`` with a teacher's; `scale` is not applied."""
        if self.loss == "hard":
            chosen = jnp.argmax(teacher, axis=-1)[:, None]
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(student), chosen, axis=-1))
        if self.loss == "kl":
            p = teacher_probabilities(teacher, self)
            log_q = jax.nn.log_softmax(student / self.temperature)
            return jnp.mean(optax.kl_divergence(log_q, p))
        gap = (student - teacher) / self.temperature
        return jnp.mean(jnp.abs(gap) if self.loss == "l1" else gap**2)


@dataclasses.dataclass(frozen=True)
class KnownLabels(Objective):
    """Softmax cross-entropy with the labels that are known.

    A row of zeros in ``batch.y`` is an image without a label. The loss is the mean over the
    labelled images of a batch, and 0 in a batch without any.
    """

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the mean cross-entropy of the labelled images."""
        each = -jnp.sum(batch.y * jax.nn.log_softmax(student.logits), axis=-1)
        labelled = jnp.sum(jnp.any(batch.y != 0, axis=-1))
        return jnp.sum(each) / jnp.maximum(labelled, 1), {}, state
