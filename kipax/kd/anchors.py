"""`Anchors`: distils the similarity of images to images of earlier batches (CompRess)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from kipax.config import check_share
from kipax.errors import UsageError, check_choice
from kipax.kd.projectors import apply_linear, draw_rows, init_linear, unit
from kipax.training import Objective

__all__ = ["ANCHOR_MODES", "Anchors", "enqueue"]

ANCHOR_MODES = ("1q", "2q")


@dataclasses.dataclass(frozen=True)
class Anchors(Objective):
    """Teaches a student to rank anchor images by similarity as its teacher does, without labels.

    ``p_j = softmax_j(q a_j / tau)`` over anchors a, all of length 1, on either side; the loss is
    ``KL(p_teacher || p_student)``, the mean over images. Anchors are the embeddings of earlier
    batches, in queues where the oldest are replaced. A batch joins them after it is compared, so
    that no image is its own anchor; an earlier view of it may be one, if the queue still holds it.

    * ``2q``: each side has a queue of its own embeddings; the student's come from an averaged copy
      (`momentum` above 0), or from the student itself without a gradient (0);
    * ``1q``: both sides are compared with the teacher's queue, the student through a linear map
      that is discarded after training.

    Attributes:
        mode: ``1q`` or ``2q``.
        tau: the temperature.
        queue: number of anchors.
        momentum: of the averaged copy, for ``2q``.
        softmax: False compares the similarities themselves, by mean square (section 4.3).

    Raises:
        UsageError: an unknown mode, or a number out of range.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713: tau 0.04, 128,000 anchors, momentum 0.999.
    The linear map of ``1q`` is in the authors' code alone.
    """

    mode: str = "2q"
    tau: float = 0.04
    queue: int = 128_000
    momentum: float = 0.999
    softmax: bool = True

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, ANCHOR_MODES)
        if not self.tau > 0 or self.queue < 1:
            raise UsageError(f"tau and queue must be positive; got {self.tau} and {self.queue}.")
        check_share(self, "momentum")

    @property
    def averaging(self) -> float | None:
        """The momentum of the student's averaged copy; None for ``1q``, or if `momentum` is 0."""
        return self.momentum if self.mode == "2q" and self.momentum else None

    def init(self, key, student, teacher):
        """Draws the linear map of ``1q`` and random first anchors, as the authors' code does."""
        d_s, d_t = student.penultimate.shape[-1], teacher.penultimate.shape[-1]
        of_map, of_teacher, of_student = jax.random.split(key, 3)
        state = {"place": jnp.int32(0), "teacher": draw_rows(of_teacher, self.queue, d_t)}
        if self.mode == "1q":
            return init_linear(of_map, d_s, d_t), state
        return {}, state | {"student": draw_rows(of_student, self.queue, d_s)}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Compares the similarities of student and teacher, and adds the batch to the queues."""
        t, s = unit(teacher.penultimate), student.penultimate
        place = state["place"]
        after = {"teacher": enqueue(state["teacher"], t, place)}
        if self.mode == "1q":
            own = unit(apply_linear(aux, s))
            theirs = state["teacher"]
        else:
            own, theirs = unit(s), state["student"]
            key = own if averaged is None else unit(averaged.penultimate)
            after["student"] = enqueue(state["student"], jax.lax.stop_gradient(key), place)
        loss = self._distance(own @ theirs.T, t @ state["teacher"].T)
        return loss, {}, after | {"place": (place + len(t)) % self.queue}

    def _distance(self, student: jax.Array, teacher: jax.Array) -> jax.Array:
        """Returns the distance between the similarities ``(n, queue)`` of student and teacher."""
        if not self.softmax:
            return jnp.mean((student - teacher) ** 2)
        log_p = jax.nn.log_softmax(teacher / self.tau)
        log_q = jax.nn.log_softmax(student / self.tau)
        return jnp.mean(optax.losses.kl_divergence_with_log_targets(log_q, log_p))


def enqueue(queue: jax.Array, rows: jax.Array, place: jax.Array) -> jax.Array:
    """Replaces the oldest rows of a queue ``(n, d)``, from row `place` on and then from row 0.

    Of more rows than the queue holds, the last ones stay.

    Args:
        queue: the anchors.
        rows: the new rows ``(m, d)``.
        place: number of the oldest row.
    """
    size, count = len(queue), len(rows)
    if count > size:
        rows, place, count = rows[-size:], place + count - size, size
    return queue.at[(place + jnp.arange(count)) % size].set(rows)
