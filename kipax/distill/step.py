"""One KIP step: loss and gradient through an executor, then an update."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kipax import ridge
from kipax.blocks import BlockExecutor, TargetRows
from kipax.distill.state import DistillState
from kipax.errors import FailedRunError
from kipax.kernels import KernelSpec

__all__ = ["Gradient", "apply_update", "compute_gradient"]

# A finite loss of more than 100 times that of predicting zero for every target is divergence: the
# support set is then far worse than none, so that the run stops before its loss overflows.
_DIVERGED = 100.0


@dataclasses.dataclass(frozen=True, eq=False)
class Gradient:
    """A step's loss and its gradient.

    Attributes:
        loss: ``1/2 * mean`` squared error over targets and classes.
        accuracy: accuracy on the batch.
        d_images, d_labels: gradients with respect to support images and labels, float64.
        condition: estimated condition number of the regularised support kernel.
    """

    loss: float
    accuracy: float
    d_images: np.ndarray
    d_labels: np.ndarray
    condition: float


def compute_gradient(
    state: DistillState,
    rows: TargetRows,
    executor: BlockExecutor,
    *,
    kernel: KernelSpec,
    ridge_scale: float,
) -> Gradient:
    """Returns the KIP loss of a state on a batch of targets, and its whole gradient, in one pass.

    With ``alpha = k_reg^-1 y_s`` fixed, each block of targets gives its part of the loss, of
    its gradient through ``k_ts`` and of ``d alpha``; the last is pulled back through the
    solve to ``y_s`` and ``k_ss``, and ``k_ss`` to the images.

    Args:
        state: the support images and labels.
        rows: which training images are the targets.
        executor: computes the blocks; its support set becomes the state's.
        kernel: the kernel of this step.
        ridge_scale: the relative ridge.

    Raises:
        FailedRunError: the kernel is ill-conditioned, the result is not finite, or the loss has
            diverged.

    Source: Nguyen et al. 2021, equation 1 and section 2.1.
    """
    labels = np.asarray(state.labels, np.float64)
    executor.set_support(np.asarray(state.images), version=state.step)
    solution = ridge.solve(executor.support_kernel(kernel=kernel), labels, ridge=ridge_scale)
    result = executor.target_pass(rows, solution.alpha, kernel=kernel, loss="mse", count=len(rows))
    d_k_ss, d_labels = solution.pull_back(result.d_alpha)
    d_images = result.d_x_support + executor.support_vjp(d_k_ss, kernel=kernel)
    gradient = Gradient(
        result.loss, result.correct / len(rows), d_images, d_labels, solution.condition
    )
    _check(gradient, labels.shape[1])
    return gradient


def _check(gradient: Gradient, num_classes: int) -> None:
    nothing = 0.5 * (1 - 1 / num_classes) / num_classes  # the loss of scores that are all zero
    finite = np.isfinite(gradient.loss) and all(
        np.all(np.isfinite(d)) for d in (gradient.d_images, gradient.d_labels)
    )
    if finite and gradient.loss <= _DIVERGED * nothing:
        return
    what = (
        f"the loss has diverged to {gradient.loss:.3g} ({gradient.loss / nothing:.0f} times that "
        "of predicting nothing)"
        if finite
        else "the loss or its gradient is not finite"
    )
    raise FailedRunError(
        f"{what}; condition of k_ss {gradient.condition:.1e}: try a larger ridge or a smaller "
        "learning rate."
    )


def apply_update(
    state: DistillState,
    gradient: Gradient,
    optimizer: optax.GradientTransformation,
    *,
    learn_labels: bool,
) -> DistillState:
    """Returns the next state: updates the images and, with `learn_labels`, the labels."""
    d_images = jnp.asarray(gradient.d_images, jnp.float32)
    d_labels = jnp.asarray(gradient.d_labels, jnp.float32)
    if not learn_labels:
        d_labels = jnp.zeros_like(d_labels)
    parameters = (state.images, state.labels)
    updates, opt_state = optimizer.update((d_images, d_labels), state.opt_state, parameters)
    images, labels = jax.tree.map(jnp.add, parameters, updates)
    return DistillState(state.step + 1, images, labels, opt_state)
