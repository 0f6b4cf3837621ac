"""The critical learning rate of a network and its training images."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kipax.errors import check_choice
from kipax.students import init_variables, largest_eigenvalue
from kipax.training.recipes import LOSSES

__all__ = ["critical_learning_rate"]

_CRITICAL_POINTS = 64  # Nguyen et al. 2021, appendix A


def critical_learning_rate(
    network: nn.Module, x: np.ndarray, classes: int, *, loss: str = "mse", seed: int
) -> float:
    """Returns the learning rate beyond which gradient descent on the linearised network diverges.

    ``2 N C / lambda_max`` for half the mean square over N images and C classes, with
    `lambda_max` the largest eigenvalue of the empirical NTK of ``sum_k f_k / sqrt(C)`` at
    initialisation, on N = min(64, n) points. Cross-entropy is a mean over images alone; its
    rate is ``2 N / lambda_max`` (our reading: the paper gives one formula, for a sum; with
    C times more, most of its grid diverges).

    Args:
        network: a student.
        x: preprocessed training images ``(n, H, W, C)``; 64 of them are drawn.
        classes: C, the number of outputs.
        loss: ``mse`` or ``xent``.
        seed: seed of the network's initial parameters and of the points.

    Returns:
        The rate; NaN for a network whose outputs are not finite.

    Source: Nguyen et al. 2021, appendix A; the authors' notebook for the mean square error.
    """
    check_choice("loss", loss, LOSSES)
    variables = init_variables(network, jax.random.key(seed), x.shape[1:])
    count = min(_CRITICAL_POINTS, len(x))
    chosen = np.sort(np.random.default_rng(seed).choice(len(x), count, replace=False))
    largest = largest_eigenvalue(network, variables, jnp.asarray(x[chosen]))
    return 2.0 * count * (classes if loss == "mse" else 1) / largest
