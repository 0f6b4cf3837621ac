"""The objectives of SimCLR and MoCo, which learn from two views of each image, without labels."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from kipax.config import check_share
from kipax.errors import UsageError
from kipax.kd.anchors import enqueue
from kipax.kd.projectors import check_projection, init_projector, project, unit
from kipax.training import Batch, Objective

__all__ = ["MoCo", "NTXent"]


def _check(objective: NTXent | MoCo) -> None:
    """Raises a `UsageError` for a projection or a temperature that is out of range."""
    check_projection(objective.projector, objective.features)
    if not objective.temperature > 0:
        raise UsageError(f"temperature must be positive; got {objective.temperature}.")


@dataclasses.dataclass(frozen=True)
class NTXent(Objective):
    """Trains a network to recognise the other view of an image among the views of a batch (SimCLR).

    With projections z of length 1 of 2n views, of which i and i' are of one image:
    ``mean_i -log(exp(z_i z_i' / tau) / sum_{k != i} exp(z_i z_k / tau))``.

    ``batch.x`` holds the first views of n images and then the second ones, so that embeddings are
    ``(2n, d)``. The metric ``matched`` is the share of views whose other view is the nearest one.

    Attributes:
        temperature: tau.
        features: length of a projection.
        projector: one of `kipax.kd.projectors.PROJECTORS`; it is trained and not kept.

    Raises:
        UsageError: an unknown projector, a number that is not positive, or not two views of each
            image.

    Cost: ``(2n)^2 features`` beside the student's.

    Source: Chen et al. 2020, arXiv:2002.05709, equation 1; the projector is that of their code.

    Example:
        >>> NTXent(temperature=0.0)
        Traceback (most recent call last):
        kipax.errors.UsageError: temperature must be positive; got 0.0.
    """

    temperature: float = 0.5
    features: int = 128
    projector: str = "simclr"

    def __post_init__(self) -> None:
        _check(self)

    def init(self, key, student, teacher):
        """Draws the first parameters of the projector."""
        features = student.penultimate.shape[-1]
        return init_projector(self.projector, key, features, self.features), {}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the mean cross-entropy over all views, and ``matched``."""
        count = _count_pairs(batch, len(student.penultimate))
        z = project(aux, student.penultimate)
        # A view is not compared with itself.
        scores = jnp.where(jnp.eye(2 * count, dtype=bool), -jnp.inf, z @ z.T / self.temperature)
        other = jnp.roll(jnp.arange(2 * count), count)
        loss = optax.softmax_cross_entropy_with_integer_labels(scores, other)
        matched = jnp.mean(jnp.argmax(scores, axis=1) == other)
        return jnp.mean(loss), {"matched": matched}, state


def _count_pairs(batch: Batch, views: int) -> int:
    """Returns the number of images of which a batch holds two views each."""
    images = views / 2 if batch.index is None else len(batch.index)
    if views != 2 * images or views % 2:
        raise UsageError(
            f"NTXent takes two views of each image; got {views} views of {images:g} images."
        )
    return views // 2


@dataclasses.dataclass(frozen=True)
class MoCo(Objective):
    """Trains a network to recognise the other view of an image among earlier views (MoCo v2).

    With queries q of the student, keys k of its averaged copy for the other views, and a queue of
    keys a_j of earlier batches, all projections of length 1:
    ``mean_i -log(exp(q_i k_i / tau) / (exp(q_i k_i / tau) + sum_j exp(q_i a_j / tau)))``.
    The batch's keys replace the oldest ones afterwards.

    ``batch.x`` holds one view of n images and ``batch.x_averaged`` another one. The averaged copy
    has an averaged projector of its own. Since the training loop averages the student alone, it
    lies in this objective's state and moves at the beginning of a call: with the parameters that
    the copy of the student has too, as in the authors' code. The metric ``matched`` is the share of
    queries nearer to their own key than to every queued one.

    Batches are not shuffled between the two views, which the authors do because each of their
    devices normalises its own part: here a batch's statistics are those of the whole batch.

    Attributes:
        temperature: tau.
        queue: number of queued keys.
        momentum: m of the averaged copies, ``a <- m a + (1 - m) p``.
        features: length of a projection.
        projector: one of `kipax.kd.projectors.PROJECTORS`; it is trained and not kept.

    Raises:
        UsageError: an unknown projector, a number out of range, or no second view.

    Cost: ``n queue features`` and one forward pass of the copy, beside the student's.

    Source: He et al. 2020, arXiv:1911.05722, equation 1; Chen et al. 2020, arXiv:2003.04297
    (projector, temperature 0.2).
    """

    temperature: float = 0.2
    queue: int = 65_536
    momentum: float = 0.999
    features: int = 128
    projector: str = "mocov2"

    def __post_init__(self) -> None:
        _check(self)
        if self.queue < 1:
            raise UsageError(f"queue must be positive; got {self.queue}.")
        check_share(self, "momentum")

    @property
    def averaging(self) -> float | None:
        """The momentum of the student's averaged copy."""
        return self.momentum

    def init(self, key, student, teacher):
        """Draws the projector and random first keys, and copies the projector to be averaged."""
        of_projector, of_queue = jax.random.split(key)
        aux = init_projector(
            self.projector, of_projector, student.penultimate.shape[-1], self.features
        )
        keys = unit(jax.random.normal(of_queue, (self.queue, self.features)))
        return aux, {"place": jnp.int32(0), "keys": keys, "projector": aux}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the loss of the queries, and the queue with the batch's keys added."""
        if averaged is None or batch.x_averaged is None:
            raise UsageError("MoCo takes another view for the averaged copy; got one view alone.")
        constant = jax.lax.stop_gradient(aux)
        copy = optax.incremental_update(constant, state["projector"], 1 - self.momentum)
        q = project(aux, student.penultimate)
        k = project(copy, averaged.penultimate)
        own = jnp.sum(q * k, axis=1, keepdims=True)
        scores = jnp.concatenate([own, q @ state["keys"].T], axis=1) / self.temperature
        first = jnp.zeros(len(q), jnp.int32)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores, first))
        place = state["place"]
        after = {
            "place": (place + len(k)) % self.queue,
            "keys": enqueue(state["keys"], k, place),
            "projector": copy,
        }
        return loss, {"matched": jnp.mean(jnp.argmax(scores, axis=1) == 0)}, after
