"""Objectives that compare the embeddings (penultimate outputs) of student and teacher."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import UsageError
from kipax.kd.projectors import (
    apply_linear,
    check_projection,
    init_linear,
    init_sides,
    project,
    standardise,
)
from kipax.training import Objective

__all__ = ["SRRL", "AlignUniform", "Regression", "RegressionBN"]


@dataclasses.dataclass(frozen=True)
class AlignUniform(Objective):
    """Aligns projected embeddings of the student with the teacher's, and spreads both evenly.

    With projections z of length 1 from a projector on either side, both trained:
    ``w_a mean_i |s_i - t_i|^alpha + w_u (u(s) + u(t)) / 2``, and
    ``u(z) = log mean_{i<j} exp(-t |z_i - z_j|^2)``.

    Attributes:
        features: length of a projection.
        alpha: exponent of the distance.
        t: factor in the exponent of uniformity.
        alignment: w_a.
        uniformity: w_u.
        projector: one of `kipax.kd.projectors.PROJECTORS`.

    Raises:
        UsageError: an unknown projector, or a number that is not positive.

    Source: Farhat & Chen 2023 (DAPT), equation 2, with the logarithm and the mean of both sides of
    the authors' code, which the equation as printed lacks.
    """

    features: int = 128
    alpha: float = 2.0
    t: float = 2.0
    alignment: float = 1.0
    uniformity: float = 1.0
    projector: str = "mocov2"

    def __post_init__(self) -> None:
        check_projection(self.projector, self.features)
        for name in ("alpha", "t"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive; got {getattr(self, name)}.")

    def init(self, key, student, teacher):
        """Draws the first parameters of the student's and the teacher's projector."""
        return init_sides(self.projector, key, student, teacher, self.features), {}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the weighted sum of alignment and uniformity, and both as metrics."""
        s = project(aux["student"], student.penultimate)
        t = project(aux["teacher"], teacher.penultimate)
        square = jnp.sum((s - t) ** 2, axis=1)
        align = jnp.mean(square ** (self.alpha / 2))
        uniform = (self._uniformity(s) + self._uniformity(t)) / 2
        loss = self.alignment * align + self.uniformity * uniform
        return loss, {"alignment": align, "uniformity": uniform}, state

    def _uniformity(self, z: jax.Array) -> jax.Array:
        """Returns ``log mean_{i<j} exp(-t |z_i - z_j|^2)`` of projections ``(n, d)``."""
        pairs = np.triu(np.ones((len(z), len(z)), bool), 1)
        square = 2 - 2 * z @ z.T  # of rows of length 1; to gather pairs takes far longer
        total = jax.nn.logsumexp(-self.t * square, where=pairs)
        return total - np.log(max(pairs.sum(), 1))


@dataclasses.dataclass(frozen=True, eq=False)
class SRRL(Objective):
    """Predicts the teacher's embedding, and through the teacher's classifier also its logits.

    With a connector c (two layers, relu between, ``(d_s + d_t) / 2`` wide):
    ``mean (c(s) - t)^2 + w mean (W_t c(s) + b_t - logits_t)^2``.

    Attributes:
        classifier: weights W_t ``(d_t, classes)`` and bias b_t ``(classes,)`` of the teacher's last
            layer; None compares embeddings alone.
        weight: w.

    Pass the same object each time: an equal one is compiled again.

    Source: Yang et al. 2021, as in Farhat & Chen 2023 and the authors' code.
    """

    classifier: tuple[np.ndarray, np.ndarray] | None = None
    weight: float = 1.0

    def init(self, key, student, teacher):
        """Draws the first parameters of the connector."""
        of_first, of_second = jax.random.split(key)
        d_s, d_t = student.penultimate.shape[-1], teacher.penultimate.shape[-1]
        middle = (d_s + d_t) // 2
        return {
            "first": init_linear(of_first, d_s, middle),
            "second": init_linear(of_second, middle, d_t),
        }, {}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the squared error of the embedding plus the weighted one of the logits."""
        hidden = jax.nn.relu(apply_linear(aux["first"], student.penultimate))
        made = apply_linear(aux["second"], hidden)
        loss = jnp.mean((made - teacher.penultimate) ** 2)
        if self.classifier is not None:
            weights, bias = self.classifier
            loss += self.weight * jnp.mean((made @ weights + bias - teacher.logits) ** 2)
        return loss, {}, state


@dataclasses.dataclass(frozen=True)
class Regression(Objective):
    """Predicts the teacher's embedding by a linear map of the student's, in the mean square.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, baseline "Reg".
    """

    def init(self, key, student, teacher):
        """Draws the first linear map from the student's to the teacher's embedding."""
        d_s, d_t = student.penultimate.shape[-1], teacher.penultimate.shape[-1]
        return init_linear(key, d_s, d_t), {}

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the mean squared error of the predicted embedding."""
        made = apply_linear(aux, student.penultimate)
        return jnp.mean((made - teacher.penultimate) ** 2), {}, state


@dataclasses.dataclass(frozen=True)
class RegressionBN(Regression):
    """Predicts the teacher's embedding as `Regression` does, with both standardised over a batch.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, baseline "Reg-BN".
    """

    def __call__(self, aux, state, student, teacher, batch, averaged=None):
        """Returns the mean squared error between the standardised embeddings."""
        made = apply_linear(aux, student.penultimate)
        gap = standardise(made) - standardise(teacher.penultimate)
        return jnp.mean(gap**2), {}, state
