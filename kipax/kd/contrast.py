"""Contrastive distillation: an image's two embeddings against those of other images."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import UsageError
from kipax.kd.anchors import enqueue
from kipax.kd.projectors import check_projection, draw_rows, init_sides, project, unit
from kipax.students import Outputs
from kipax.training import Objective

__all__ = ["CRD", "LEAST_TEMPERATURE", "QueuedCRD"]

_EPSILON = 1e-7
_UNKNOWN = -1.0
LEAST_TEMPERATURE = 0.0125  # exp(1 / 0.0125) is the largest that float32 holds


@dataclasses.dataclass(frozen=True, eq=False)
class _Contrast(Objective):
    """The base of both contrasts: their projectors, and the loss of one side."""

    features: int = 128
    temperature: float = 0.07
    projector: str = "mocov2"

    def __post_init__(self) -> None:
        check_projection(self.projector, self.features)
        if not self.temperature >= LEAST_TEMPERATURE:
            raise UsageError(
                f"temperature is at least {LEAST_TEMPERATURE:g}, below which exponentials "
                f"overflow; got {self.temperature:g}."
            )

    def init(self, key, student, teacher):
        """Draws the first parameters of both projectors, and marks the normalisers as not set."""
        aux = init_sides(self.projector, key, student, teacher, self.features)
        return aux, {"z": {side: jnp.float32(_UNKNOWN) for side in aux}}

    def _compare(
        self, products: jax.Array, z: jax.Array, count: int
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the loss of one side, and its normaliser.

        Args:
            products: products of each image's projection with projections of the other side
                ``(n, 1 + k)``: first with that of the same image, then with those of k negatives.
            z: the normaliser; below 0 until the first batch sets it.
            count: number of images that negatives are drawn from.
        """
        ratio = jnp.exp(products / self.temperature)
        z = jax.lax.stop_gradient(jnp.where(z < 0, jnp.mean(ratio) * count, z))
        p = ratio / z
        noise = (products.shape[1] - 1) / count  # of k negatives, each of probability 1 / count
        right = jnp.log(p[:, 0] / (p[:, 0] + noise + _EPSILON))
        wrong = jnp.sum(jnp.log(noise / (p[:, 1:] + noise + _EPSILON)), axis=1)
        return -jnp.mean(right + wrong), z


def _project(aux: dict, student: Outputs, teacher: Outputs) -> dict[str, jax.Array]:
    return {
        "student": project(aux["student"], student.penultimate),
        "teacher": project(aux["teacher"], teacher.penultimate),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class CRD(_Contrast):
    """Trains each network to recognise an image's embedding by the other network among others.

    Embeddings of other images are drawn from memories, which hold one of each network for every
    image. With projections s and t of length 1 the loss is, for the student,
    ``-log D(s, t_i) - sum_j log(1 - D(s, t_j))`` over negatives j drawn from the teacher's memory,
    where ``D = p / (p + k / m)`` and ``p = exp(s t / tau) / Z``; the same for the teacher's
    projection against the student's memory; the mean over images of the sum of both. Z is set by
    the first batch. A memory row moves to the mean of itself and the projection, of length 1.

    With the projector ``linear`` this is CRD, with ``mocov2`` CRD++.

    Attributes:
        features: length of a projection.
        temperature: tau.
        projector: one of `kipax.kd.projectors.PROJECTORS`.
        images: n, the number of images; a batch tells which they are by its `index`.
        classes: their classes ``(n,)``, so that negatives are of other classes; None draws them
            from all other images.
        trained: positions of the images that are trained on ``(m,)``, from which negatives are
            drawn; None for all.
        negatives: k.
        momentum: share of a memory row that stays.

    Pass the same object each time: an equal one is compiled again.

    Cost: two memories of n rows; ``2 k d`` products an image.

    Raises:
        UsageError: a number out of range, an unknown projector, or there are no images of other
            classes.

    Source: Tian et al. 2020, arXiv:1910.10699, and the authors' code; with a projector as in
    Farhat & Chen 2023 (DAPT): tau 0.07, momentum 0.5, 4,096 negatives of other classes.
    """

    images: int = 0
    classes: np.ndarray | None = None
    trained: np.ndarray | None = None
    negatives: int = 4096
    momentum: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 2 or self.negatives < 1 or not 0 <= self.momentum < 1:
            raise UsageError(
                "a contrast takes two images or more, one negative or more and a momentum from 0 "
                f"to below 1; got {self.images}, {self.negatives} and {self.momentum}."
            )
        if self.classes is not None and len(self.classes) != self.images:
            raise UsageError(
                f"classes are of all {self.images} images; got {len(self.classes)} of them."
            )
        if self.classes is not None and len(np.unique(self.classes[self._trained])) < 2:
            raise UsageError("negatives are of other classes; all images are of one class.")

    @property
    def _trained(self) -> np.ndarray:
        return np.arange(self.images) if self.trained is None else np.asarray(self.trained)

    def init(self, key, student, teacher):
        """Draws projectors and first memories, and sorts the images by class."""
        of_projectors, of_student, of_teacher, of_draws = jax.random.split(key, 4)
        aux, state = super().init(of_projectors, student, teacher)
        trained = self._trained
        classes = trained if self.classes is None else np.asarray(self.classes)[trained]
        _, group, sizes = np.unique(classes, return_inverse=True, return_counts=True)
        # Of each image: where its class begins in the order, and how many images it has there.
        place = np.zeros((2, self.images), np.int32)
        place[:, trained] = (np.cumsum(sizes) - sizes)[group], sizes[group]
        return aux, state | {
            "step": jnp.int32(0),
            "draws": jax.random.key_data(of_draws),
            "student": draw_rows(of_student, self.images, self.features),
            "teacher": draw_rows(of_teacher, self.images, self.features),
            "order": jnp.asarray(trained[np.argsort(group, kind="stable")], jnp.int32),
            "start": jnp.asarray(place[0]),
            "size": jnp.asarray(place[1]),
        }

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the loss of both networks, and the memories with the batch's rows moved."""
        own = _project(aux, student, teacher)
        index = jnp.asarray(batch.index)
        rows = jnp.concatenate([index[:, None], self._draw(state, index)], axis=1)
        loss, after, z = jnp.zeros(()), dict(state, step=state["step"] + 1), {}
        for side, other in (("student", "teacher"), ("teacher", "student")):
            products = jnp.einsum("nd,nkd->nk", own[side], state[other][rows])
            term, z[side] = self._compare(products, state["z"][side], len(state["order"]))
            loss += term
            before, moved = state[side][index], jax.lax.stop_gradient(own[side])
            moved = unit(self.momentum * before + (1 - self.momentum) * moved)
            after[side] = state[side].at[index].set(moved)
        return loss, {}, after | {"z": z}

    def _draw(self, state: dict, index: jax.Array) -> jax.Array:
        """Draws images ``(n, k)`` of other classes for each image of a batch."""
        key = jax.random.fold_in(jax.random.wrap_key_data(state["draws"]), state["step"])
        start, size = state["start"][index][:, None], state["size"][index][:, None]
        shape = (len(index), self.negatives)
        place = jax.random.randint(key, shape, 0, len(state["order"]) - size)
        return state["order"][jnp.where(place >= start, place + size, place)]


@dataclasses.dataclass(frozen=True, eq=False)
class QueuedCRD(_Contrast):
    """Does what `CRD` does, but its negatives come from a queue of earlier batches.

    It serves data that are too many for a memory of all images, or that have no index. The other
    network's embedding of the same image is the one of this batch.

    Attributes:
        features: length of a projection.
        temperature: tau.
        projector: one of `kipax.kd.projectors.PROJECTORS`.
        queue: number of negatives, k = n.

    Pass the same object each time: an equal one is compiled again.

    Raises:
        UsageError: a number out of range, or an unknown projector.
    """

    queue: int = 16_384

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queue < 1:
            raise UsageError(f"a queue holds one image or more; got {self.queue}.")

    def init(self, key, student, teacher):
        """Draws projectors and the first rows of both queues."""
        of_projectors, of_student, of_teacher = jax.random.split(key, 3)
        aux, state = super().init(of_projectors, student, teacher)
        return aux, state | {
            "place": jnp.int32(0),
            "student": draw_rows(of_student, self.queue, self.features),
            "teacher": draw_rows(of_teacher, self.queue, self.features),
        }

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the loss of both networks, and the queues with the batch added."""
        own = _project(aux, student, teacher)
        fixed = jax.lax.stop_gradient(own)
        loss, z, place = jnp.zeros(()), {}, state["place"]
        after = {"place": (place + len(own["student"])) % self.queue}
        for side, other in (("student", "teacher"), ("teacher", "student")):
            same = jnp.sum(own[side] * fixed[other], axis=1, keepdims=True)
            products = jnp.concatenate([same, own[side] @ state[other].T], axis=1)
            term, z[side] = self._compare(products, state["z"][side], self.queue)
            loss += term
            after[side] = enqueue(state[side], fixed[side], place)
        return loss, {}, after | {"z": z}
