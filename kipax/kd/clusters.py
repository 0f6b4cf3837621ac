"""`ClusterLabels`: teaches a student to which cluster of the teacher an image belongs."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kipax.errors import UsageError
from kipax.kd.projectors import apply_linear, init_linear
from kipax.training import Objective

__all__ = ["ClusterLabels"]


@dataclasses.dataclass(frozen=True, eq=False)
class ClusterLabels(Objective):
    """Softmax cross-entropy with the cluster of each image among the teacher's embeddings.

    The loss is the mean over images. A linear map of the student's embedding classifies the
    clusters; it is trained along and not kept.

    Attributes:
        clusters: the cluster of each image ``(n,)``, numbered from 0, of k-means on the teacher's
            embeddings of length 1; a batch tells its images by `index`.

    Pass the same object each time: an equal one is compiled again.

    Raises:
        UsageError: there are fewer than two clusters.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, baseline "CC".
    """

    clusters: np.ndarray

    def __post_init__(self) -> None:
        if len(np.unique(self.clusters)) < 2:
            raise UsageError("clusters must be two or more; all images are in one.")

    def init(self, key, student, teacher):
        """Draws the first classifier of clusters."""
        count = int(np.max(self.clusters)) + 1
        aux = init_linear(key, student.penultimate.shape[-1], count)
        return aux, {"clusters": jnp.asarray(self.clusters, jnp.int32)}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the cross-entropy with the clusters, and the share that is right."""
        logits = apply_linear(aux, student.penultimate)
        wanted = state["clusters"][jnp.asarray(batch.index)]
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, wanted))
        right = jnp.mean(jnp.argmax(logits, axis=1) == wanted)
        return loss, {"clusters_right": jax.lax.stop_gradient(right)}, state
