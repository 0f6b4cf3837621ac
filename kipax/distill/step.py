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

__all__ = ["Gradient", "apply_update", "compute_gradient", "image_norms"]

# A finite loss of more than 100 times that of predicting zero for every target is divergence: the
# support set is then far worse than none, so that the run stops before its loss overflows.
_DIVERGED = 100.0


@dataclasses.dataclass(frozen=True, eq=False)
class Gradient:
    """A step's loss and its gradient.

    Attributes:
        loss: the loss of the batch, in the unit of the loss function that was named.
        accuracy: accuracy on the batch.
        d_images, d_labels: gradients with respect to support images and labels, float64.
        condition: estimated condition number of the regularised support kernel.
        d_log_temperature: gradient with respect to the logarithm of the temperature, if any.
    """

    loss: float
    accuracy: float
    d_images: np.ndarray
    d_labels: np.ndarray
    condition: float
    d_log_temperature: float | None = None

    @property
    def leaves(self) -> tuple[np.ndarray, ...]:
        """The gradients with respect to `DistillState.parameters`, in the same order."""
        last = () if self.d_log_temperature is None else (np.asarray(self.d_log_temperature),)
        return self.d_images, self.d_labels, *last


def compute_gradient(
    state: DistillState,
    rows: TargetRows,
    executor: BlockExecutor,
    *,
    kernel: KernelSpec,
    ridge_scale: float,
    loss: str = "mse",
) -> Gradient:
    """Returns the KIP loss of a state on a batch of targets, and its whole gradient, in one pass.

    With ``alpha = k_reg^-1 y_s`` fixed, each block of targets gives its part of the loss, of
    its gradient through ``k_ts`` and of ``d alpha``; the last is pulled back through the
    solve to ``y_s`` and ``k_ss``, and ``k_ss`` to the images.

    A temperature T divides the predictions, which are linear in ``alpha``: the executor has
    ``a = alpha / T`` in its place, and the gradient on ``log T`` is ``-sum(a * d a)``.

    Args:
        state: the support images and labels.
        rows: which training images are the targets.
        executor: computes the blocks; its support set becomes the state's.
        kernel: the kernel of this step.
        ridge_scale: the relative ridge.
        loss: name of a loss of `kipax.ridge.LOSSES`.

    Raises:
        FailedRunError: the kernel is ill-conditioned, the result is not finite, or the loss has
            diverged.

    Source: Nguyen et al. 2021, equation 1 and section 2.1.
    """
    labels = np.asarray(state.labels, np.float64)
    executor.set_support(np.asarray(state.images), version=state.step)
    solution = ridge.solve(executor.support_kernel(kernel=kernel), labels, ridge=ridge_scale)
    temperature = 1.0 if state.temperature is None else state.temperature
    weights = solution.alpha / temperature
    result = executor.target_pass(rows, weights, kernel=kernel, loss=loss, count=len(rows))
    d_k_ss, d_labels = solution.pull_back(result.d_alpha / temperature)
    gradient = Gradient(
        result.loss,
        result.correct / len(rows),
        result.d_x_support + executor.support_vjp(d_k_ss, kernel=kernel),
        d_labels,
        solution.condition,
        None if state.temperature is None else -float(np.sum(weights * result.d_alpha)),
    )
    _check(gradient, _loss_of_nothing(loss, labels.shape[1]))
    return gradient


def _loss_of_nothing(loss: str, num_classes: int) -> float:
    """Returns the loss of a prediction that is zero for every class."""
    labels = ridge.one_hot(np.zeros(1, np.int64), num_classes)
    return ridge.loss_by_name(loss)(np.zeros_like(labels), labels, 1)[0]


def _check(gradient: Gradient, nothing: float) -> None:
    finite = np.isfinite(gradient.loss) and all(np.all(np.isfinite(d)) for d in gradient.leaves)
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


def image_norms(images: jax.Array) -> jax.Array:
    """Returns the Euclidean norm of each image ``(H, W, C)`` of a batch, as an array ``(n,)``."""
    return jnp.sqrt(jnp.sum(images**2, axis=(1, 2, 3)))


def apply_update(
    state: DistillState,
    gradient: Gradient,
    optimizer: optax.GradientTransformation,
    *,
    learn_labels: bool,
    norms: jax.Array | None = None,
) -> DistillState:
    """Returns the next state, with every parameter updated.

    Args:
        state: the present state.
        gradient: its gradient.
        optimizer: the optimiser of `state`.
        learn_labels: False leaves the labels as they are.
        norms: norms ``(s,)`` to which the new images are scaled; None leaves them free. Kernel
            ridge regression depends little on the length of an image, so that its gradient is
            nearly orthogonal to the image, and many steps of Adam make a free image long. An
            image whose norm is 0 stays zero.
    """
    d_images, d_labels, *rest = (jnp.asarray(d, jnp.float32) for d in gradient.leaves)
    if not learn_labels:
        d_labels = jnp.zeros_like(d_labels)
    parameters, gradients = state.parameters, (d_images, d_labels, *rest)
    updates, opt_state = optimizer.update(gradients, state.opt_state, parameters)
    images, labels, *logarithm = jax.tree.map(jnp.add, parameters, updates)
    if norms is not None:
        present = image_norms(images)
        factors = jnp.where(present > 0, norms / present, 1.0)
        images = images * factors[:, None, None, None]
    return DistillState(state.step + 1, images, labels, opt_state, *logarithm)
