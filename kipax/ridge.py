"""Kernel ridge regression and Label Solve: arrays in, arrays out, float64 inside.

All algebra runs on the host in NumPy and SciPy in float64, independent of JAX's setting:
the condition number of a support kernel reaches 1e6 to 1e8, too much for float32. Kernels
may come in as float32. The notation of every function: ``k_ss`` ``(s, s)``, ``k_ts``
``(t, s)``, labels ``y`` ``(n, classes)``, and the ridge relative to the kernel's scale,
``k_reg = k_ss + ridge * tr(k_ss) / s * I`` (Nguyen et al. 2021, appendix A).
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.special

from kipax.errors import FailedRunError, UsageError, check_choice
from kipax.pixels import as_array

__all__ = [
    "LOSSES",
    "Loss",
    "RidgeSolution",
    "accuracy",
    "cross_entropy",
    "label_solve",
    "loss_by_name",
    "mean_square_error",
    "one_hot",
    "predict",
    "solve",
]

# Below this reciprocal condition number a float64 solution has no correct digits left.
_SMALLEST_RCOND = 1e-14
_ROUNDING = 1e-3  # of the largest eigenvalue: far above the float32 rounding of a zero one


def one_hot(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns mean-centred one-hot labels ``onehot - 1 / classes``, float64 ``(n, num_classes)``.

    Args:
        classes: integers ``(n,)`` from 0.
        num_classes: number of classes.

    Raises:
        UsageError: the classes are not integers from 0 to `num_classes` - 1.

    Example:
        >>> one_hot(np.array([1]), 2)
        array([[-0.5,  0.5]])

    Source: Nguyen et al. 2021, appendix A (datasets).
    """
    classes = _check_classes(classes)
    if not isinstance(num_classes, numbers.Integral) or num_classes < 1:
        raise UsageError(f"num_classes is a whole number from 1; got {num_classes!r}.")
    if len(classes) and (classes.min() < 0 or classes.max() >= num_classes):
        raise UsageError(
            f"classes run from 0 to {num_classes - 1}; got {classes.min()} to {classes.max()}."
        )
    return np.eye(num_classes)[classes] - 1.0 / num_classes


def _check_classes(classes: np.ndarray) -> np.ndarray:
    """Returns classes as int64 ``(n,)``; raises a `UsageError` for anything else."""
    array = as_array(classes, "classes")
    if array.size == 0 and array.ndim == 1:
        return array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(
            f"classes are integers, one an image; got {array.dtype} of shape {array.shape}."
        )
    if array.max(initial=0) > np.iinfo(np.int64).max:
        raise UsageError(f"classes are integers from 0; got {array.max()}.")
    return array.astype(np.int64)


def _check_matrix(a: np.ndarray, what: str, rows: int | None = None) -> np.ndarray:
    """Returns a float64 matrix with `rows` rows; raises a `UsageError` for anything else."""
    array = as_array(a, what)
    bad_rows = rows is not None and array.shape[:1] != (rows,)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or bad_rows:
        needed = f"({rows}, n)" if rows is not None else "(m, n)"
        raise UsageError(
            f"{what} must be numbers of shape {needed}; got {array.dtype} of {array.shape}."
        )
    return array.astype(np.float64)


@dataclasses.dataclass(frozen=True)
class RidgeSolution:
    """A factored support kernel and the weights of its predictions.

    Attributes:
        alpha: ``k_reg^-1 y_support``, ``(s, classes)``: predictions are ``k_ts alpha``.
        k_reg: the regularised kernel ``(s, s)``.
        ridge: the relative ridge.
        condition: estimated condition number of `k_reg` in the 1-norm.
    """

    alpha: np.ndarray
    k_reg: np.ndarray
    ridge: float
    condition: float
    _factor: tuple[np.ndarray, bool]

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Solves for ``k_reg^-1 b`` with ``b`` of ``(s, n)``; a `UsageError` for another shape."""
        right = _check_matrix(b, "b", len(self.k_reg))
        return scipy.linalg.cho_solve(self._factor, right, check_finite=False)

    def pull_back(self, d_alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pulls a cotangent of `alpha` back to cotangents ``(d_k_ss, d_y_support)``.

        With ``d_y = k_reg^-1 d_alpha`` and ``d_reg = -sym(d_y alpha^T)``:
        ``d_k_ss = d_reg + ridge / s * tr(d_reg) * I``, the second term through the trace in
        the ridge.
        """
        d_y = self.solve(d_alpha)
        d_reg = -0.5 * (d_y @ self.alpha.T + self.alpha @ d_y.T)
        size = len(d_reg)
        return d_reg + np.eye(size) * (self.ridge / size * np.trace(d_reg)), d_y


def solve(k_ss: np.ndarray, y_support: np.ndarray, *, ridge: float) -> RidgeSolution:
    """Solves for ``alpha = (k_ss + ridge * tr(k_ss) / s * I)^-1 y_support``.

    Args:
        k_ss: kernel of the support set, ``(s, s)``; its symmetric part is used.
        y_support: labels ``(s, classes)``.
        ridge: relative ridge, positive; 1e-6 in the paper.

    Returns:
        A `RidgeSolution`.

    Raises:
        UsageError: ridge is not positive, or a matrix has another shape.
        FailedRunError: the kernel is not finite, or too ill-conditioned for float64; the
            message names the condition number and what to try.

    Cost: s^3 / 3 operations, 8 s^2 bytes.

    Example:
        >>> solution = solve(np.eye(2) * 4, np.array([[1.0], [2.0]]), ridge=1.0)
        >>> solution.alpha.ravel().round(6).tolist()
        [0.125, 0.25]

    Source: Nguyen et al. 2021, equation 1 and appendix A.
    """
    ridge = _check_ridge(ridge)
    k_ss = _check_support_kernel(k_ss)
    size = len(k_ss)
    y_support = _check_matrix(y_support, "labels", size)
    k_reg = 0.5 * (k_ss + k_ss.T) + np.eye(size) * (ridge * np.trace(k_ss) / size)
    try:
        factor = scipy.linalg.cho_factor(k_reg, lower=True)
    except np.linalg.LinAlgError:
        values = scipy.linalg.eigvalsh(0.5 * (k_ss + k_ss.T))
        if values[0] < -_ROUNDING * abs(values[-1]):
            raise FailedRunError(
                f"a kernel has no negative eigenvalues; this one's run from {values[0]:.1e} to "
                f"{values[-1]:.1e}: give the kernel of the support images with themselves."
            ) from None
        raise _ill_conditioned(float(np.linalg.cond(k_reg)), ridge) from None
    norm = np.abs(k_reg).sum(axis=0).max()
    rcond, _ = scipy.linalg.lapack.dpocon(factor[0], norm, uplo="L")
    if rcond < _SMALLEST_RCOND:
        raise _ill_conditioned(1.0 / max(rcond, 1e-300), ridge)
    if not np.all(np.isfinite(y_support)):
        raise UsageError("labels must be finite; some are NaN or infinite.")
    alpha = scipy.linalg.cho_solve(factor, y_support)
    return RidgeSolution(alpha, k_reg, ridge, float(1.0 / rcond), factor)


def _check_ridge(ridge: float) -> float:
    if isinstance(ridge, np.ndarray) and ridge.ndim == 0:
        ridge = ridge.item()
    if isinstance(ridge, bool) or not isinstance(ridge, numbers.Real) or not 0 < ridge < math.inf:
        raise UsageError(f"the ridge must be positive and finite; got {ridge}; 1e-6 is usual.")
    return ridge


def _check_support_kernel(k_ss: np.ndarray) -> np.ndarray:
    k_ss = _check_matrix(k_ss, "the support kernel")
    size = len(k_ss)
    if k_ss.shape != (size, size) or not size:
        raise UsageError(f"a support kernel is square and not empty; got {k_ss.shape}.")
    if not np.all(np.isfinite(k_ss)):
        raise FailedRunError(
            "the support kernel is not finite: images have diverged; try a smaller learning rate."
        )
    return k_ss


def _ill_conditioned(condition: float, ridge: float) -> FailedRunError:
    return FailedRunError(
        f"the support kernel is too ill-conditioned to solve (condition {condition:.1e}) with "
        f"ridge {ridge:g}: try ridge {max(10 * ridge, 1e-6):g}, or remove duplicated images."
    )


def predict(k_ts: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns scores ``k_ts alpha``, float64 ``(t, classes)``; a `UsageError` for other shapes."""
    k_ts = _check_matrix(k_ts, "k_ts")
    return k_ts @ _check_matrix(alpha, "alpha", k_ts.shape[1])


def accuracy(scores: np.ndarray, classes: np.ndarray) -> float:
    """Returns the fraction of rows of `scores` whose largest entry stands at ``classes[row]``.

    Raises:
        UsageError: there are no rows, shapes or classes do not fit, or scores are not finite.

    Example:
        >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
        0.5
    """
    classes = _check_classes(classes)
    scores = _check_matrix(scores, "scores", len(classes))
    if not scores.size:
        raise UsageError(f"an accuracy needs at least one image and class; got {scores.shape}.")
    if classes.min() < 0 or classes.max() >= scores.shape[1]:
        raise UsageError(
            f"scores have {scores.shape[1]} classes from 0; got {classes.min()} to {classes.max()}."
        )
    bad = np.count_nonzero(~np.isfinite(scores).all(axis=1))
    if bad:
        raise UsageError(
            f"scores must be finite; {bad} of {len(scores)} rows hold NaN or infinity."
        )
    return float(np.mean(np.argmax(scores, axis=1) == classes))


# A loss maps scores and labels, both (t, classes), and the count of the whole batch to the loss
# of this part and its gradient with respect to the scores, so that parts add up.
Loss = Callable[[np.ndarray, np.ndarray, int], tuple[float, np.ndarray]]


def mean_square_error(
    scores: np.ndarray, labels: np.ndarray, count: int
) -> tuple[float, np.ndarray]:
    """Returns ``1/2 * mean`` over targets and classes of ``(scores - labels)^2``, and its gradient.

    Args:
        scores: predictions of a part of the targets ``(t, classes)``.
        labels: labels of the same targets ``(t, classes)``.
        count: number of targets of the whole batch, so that losses and gradients of parts add up.

    Returns:
        ``(loss, d_scores)``.

    Raises:
        UsageError: scores and labels of different shapes, or a count below 1.

    Example:
        >>> mean_square_error(np.array([[2.0]]), np.array([[1.0]]), 1)
        (0.5, array([[1.]]))

    Source: Nguyen et al. 2021, equation 1 (as a sum there; the authors' code takes the mean).
    """
    scores, labels = _check_part(scores, labels, count)
    residual = scores - labels
    scale = 1.0 / (count * labels.shape[1])
    return float(0.5 * scale * np.sum(residual**2)), residual * scale


def cross_entropy(scores: np.ndarray, labels: np.ndarray, count: int) -> tuple[float, np.ndarray]:
    """Returns the mean over targets of ``-sum_c p_c log softmax(scores)_c``, and its gradient.

    ``p = labels + 1 / classes`` are the shares of the classes that `one_hot` has centred.

    Args:
        scores: logits of a part of the targets ``(t, classes)``: predictions over a temperature.
        labels: labels of the same targets ``(t, classes)``.
        count: number of targets of the whole batch, as for `mean_square_error`.

    Returns:
        ``(loss, d_scores)``.

    Raises:
        UsageError: scores and labels of different shapes, or a count below 1.

    Example:
        >>> loss, d_scores = cross_entropy(np.zeros((1, 2)), one_hot(np.array([0]), 2), 1)
        >>> round(loss, 4), d_scores
        (0.6931, array([[-0.5,  0.5]]))

    Source: Loo et al. 2022, Efficient Dataset Distillation Using Random Feature Approximation.
    """
    scores, labels = _check_part(scores, labels, count)
    shares = labels + 1.0 / labels.shape[1]
    log_shares = scipy.special.log_softmax(scores, axis=1)
    total = shares.sum(axis=1, keepdims=True)
    loss = -float(np.sum(shares * log_shares)) / count
    return loss, (total * np.exp(log_shares) - shares) / count


def _check_part(
    scores: np.ndarray, labels: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores and labels as float64 of one shape; raises a `UsageError` otherwise."""
    scores, labels = _check_matrix(scores, "scores"), _check_matrix(labels, "labels")
    if scores.shape != labels.shape or not isinstance(count, numbers.Integral) or count < 1:
        raise UsageError(
            "scores and labels have one shape (t, classes), count is a whole number from 1; got "
            f"{scores.shape}, {labels.shape} and {count!r}."
        )
    return scores, labels


LOSSES: dict[str, Loss] = {"mse": mean_square_error, "xent": cross_entropy}


def loss_by_name(name: str) -> Loss:
    """Returns the loss called `name`; raises a `UsageError` that lists the choices."""
    check_choice("loss", name, LOSSES)
    return LOSSES[name]


def label_solve(
    k_ss: np.ndarray, gram: np.ndarray, cross: np.ndarray, *, ridge: float
) -> np.ndarray:
    """Returns the labels that minimise the KRR loss in closed form, of least norm.

    ``y* = (k_ts k_reg^-1)^+ y_t``, from sums over targets alone: with ``b = k_ts k_reg^-1``,
    ``b^T b = k_reg^-1 gram k_reg^-1`` and ``b^T y_t = k_reg^-1 cross``, so that ``k_ts`` of
    all targets need never exist at once. Directions in which ``b^T b`` is below ``1e-13`` of
    its largest eigenvalue are left out of the pseudo-inverse: they consist of rounding errors.

    Args:
        k_ss: kernel of the support set ``(s, s)``.
        gram: ``k_ts^T k_ts`` summed over all targets ``(s, s)``.
        cross: ``k_ts^T y_t`` summed over all targets ``(s, classes)``.
        ridge: relative ridge, as in `solve`.

    Returns:
        Labels ``(s, classes)``.

    Raises:
        UsageError: as `solve`, or sums of another shape.
        FailedRunError: as `solve`, or sums that are not finite.

    Cost: about 12 s^3 operations.

    Example:
        >>> k = np.eye(2)
        >>> label_solve(k, k.T @ k, k.T @ np.array([[1.0], [2.0]]), ridge=1e-9).round(6).ravel()
        array([1., 2.])

    Source: Nguyen et al. 2021, equation 2.
    """
    cross = _check_matrix(cross, "cross")
    gram = _check_matrix(gram, "gram", len(cross))
    if gram.shape != (len(cross), len(cross)):
        raise UsageError(f"gram is square, with the rows of cross; got {gram.shape}.")
    if not (np.all(np.isfinite(gram)) and np.all(np.isfinite(cross))):
        raise FailedRunError("the target kernel is not finite: check the images for NaN.")
    solution = solve(k_ss, cross, ridge=ridge)
    normal = solution.solve(solution.solve(gram).T)
    values, vectors = scipy.linalg.eigh(0.5 * (normal + normal.T))
    keep = values > 1e-13 * values[-1]
    projected = vectors[:, keep].T @ solution.alpha
    return vectors[:, keep] @ (projected / values[keep, None])
