"""Kernel ridge regression and Label Solve against direct NumPy answers."""

import jax
import numpy as np
import pytest

from kipax import ridge
from kipax.errors import FailedRunError, UsageError


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 12))
    k = features @ features.T
    return {
        "k_ss": k[:6, :6],
        "k_ts": k[6:, :6],
        "y_s": rng.normal(size=(6, 3)),
        "y_t": rng.normal(size=(34, 3)),
    }


def _loss(k_ss, y_s, k_ts, y_t, scale):
    solution = ridge.solve(k_ss, y_s, ridge=scale)
    return ridge.mean_square_error(ridge.predict(k_ts, solution.alpha), y_t, len(y_t))[0]


def test_solution_is_the_formula(problem):
    k, y = problem["k_ss"], problem["y_s"]
    expected = np.linalg.solve(k + 0.1 * np.trace(k) / 6 * np.eye(6), y)
    np.testing.assert_allclose(ridge.solve(k, y, ridge=0.1).alpha, expected, rtol=1e-12)


def test_float64_whatever_jax_says(problem):
    assert not jax.config.jax_enable_x64
    single = ridge.solve(problem["k_ss"].astype(np.float32), problem["y_s"], ridge=1e-6)
    assert single.alpha.dtype == np.float64
    expected = np.linalg.solve(single.k_reg, problem["y_s"])
    np.testing.assert_allclose(single.alpha, expected, rtol=1e-10)


def test_pull_back_is_the_derivative(problem):
    k_ss, y_s, k_ts, y_t = (problem[k] for k in ("k_ss", "y_s", "k_ts", "y_t"))
    scale, step = 0.05, 1e-6
    solution = ridge.solve(k_ss, y_s, ridge=scale)
    _, d_scores = ridge.mean_square_error(k_ts @ solution.alpha, y_t, len(y_t))
    d_k_ss, d_y = solution.pull_back(k_ts.T @ d_scores)
    rng = np.random.default_rng(1)
    direction_k, direction_y = rng.normal(size=k_ss.shape), rng.normal(size=y_s.shape)
    direction_k += direction_k.T
    numeric = (
        _loss(k_ss + step * direction_k, y_s + step * direction_y, k_ts, y_t, scale)
        - _loss(k_ss - step * direction_k, y_s - step * direction_y, k_ts, y_t, scale)
    ) / (2 * step)
    analytic = np.sum(d_k_ss * direction_k) + np.sum(d_y * direction_y)
    assert analytic == pytest.approx(numeric, rel=1e-7)


@pytest.mark.parametrize("loss", ridge.LOSSES.values())
def test_parts_of_a_loss_add_up(problem, loss):
    scores, labels = problem["k_ts"] @ problem["y_s"], problem["y_t"]
    whole, gradient = loss(scores, labels, 34)
    parts = [loss(scores[s], labels[s], 34) for s in (slice(9), slice(9, 34))]
    assert sum(p[0] for p in parts) == pytest.approx(whole)
    np.testing.assert_allclose(np.concatenate([p[1] for p in parts]), gradient)


def test_losses_are_their_formulae(problem):
    scores, classes = problem["k_ts"] @ problem["y_s"], np.arange(34) % 3
    labels = ridge.one_hot(classes, 3)
    square, _ = ridge.mean_square_error(scores, labels, 34)
    assert square == pytest.approx(0.5 * np.mean((scores - labels) ** 2))
    entropy, _ = ridge.cross_entropy(scores, labels, 34)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert entropy == pytest.approx(-np.mean(np.log(shares[np.arange(34), classes])))


@pytest.mark.parametrize("loss", ridge.LOSSES.values())
def test_gradients_of_losses_are_their_derivatives(problem, loss):
    scores, direction = np.random.default_rng(1).normal(size=(2, 34, 3))
    labels = problem["y_t"]
    above, below = (loss(scores + s * direction, labels, 34)[0] for s in (1e-6, -1e-6))
    gradient = loss(scores, labels, 34)[1]
    assert np.sum(gradient * direction) == pytest.approx((above - below) / 2e-6, rel=1e-6)


def test_cross_entropy_of_large_scores_is_finite():
    loss, gradient = ridge.cross_entropy(np.array([[1e5, 0.0]]), np.array([[-0.5, 0.5]]), 1)
    assert loss == 1e5
    np.testing.assert_array_equal(gradient, [[1.0, -1.0]])


@pytest.mark.parametrize("scale", [1e-6, 1e-2])
def test_label_solve_minimises_the_loss(problem, scale):
    k_ss, k_ts, y_t = problem["k_ss"], problem["k_ts"], problem["y_t"]
    labels = ridge.label_solve(k_ss, k_ts.T @ k_ts, k_ts.T @ y_t, ridge=scale)
    b = k_ts @ np.linalg.inv(ridge.solve(k_ss, labels, ridge=scale).k_reg)
    np.testing.assert_allclose(labels, np.linalg.pinv(b) @ y_t, rtol=1e-8)


def test_label_solve_of_least_norm():
    """Twin targets' rows: rank 2 of 3; the pseudo-inverse leaves the unseen direction out."""
    k_ss, k_ts = np.eye(3), np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    y_t = np.array([[1.0], [2.0], [4.0]])
    labels = ridge.label_solve(k_ss, k_ts.T @ k_ts, k_ts.T @ y_t, ridge=1e-9)
    np.testing.assert_allclose(labels, [[1.0], [3.0], [0.0]], atol=1e-6)


def test_labels_are_centred():
    np.testing.assert_allclose(ridge.one_hot(np.array([0, 2]), 4).sum(axis=1), 0, atol=1e-15)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_bad_ridge(scale):
    with pytest.raises(UsageError, match="ridge must be positive"):
        ridge.solve(np.eye(2), np.ones((2, 1)), ridge=scale)


def test_ill_conditioned_and_not_finite():
    twins = np.ones((3, 3))
    with pytest.raises(FailedRunError, match=r"condition .*try ridge"):
        ridge.solve(twins, np.ones((3, 1)), ridge=1e-16)
    with pytest.raises(FailedRunError, match="not finite"):
        ridge.solve(twins * np.nan, np.ones((3, 1)), ridge=1e-6)
    with pytest.raises(FailedRunError, match="target kernel is not finite"):
        ridge.label_solve(np.eye(3), twins * np.nan, np.ones((3, 1)), ridge=1e-6)


# -- arrays that do not fit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes", [[-1], [2], [0.0], [[0]], ["a"], None, [True], [2**40], np.array([0, np.nan])]
)
def test_one_hot_takes_classes_from_0_alone(classes):
    with pytest.raises(UsageError, match="classes"):
        ridge.one_hot(classes, 2)


@pytest.mark.parametrize(
    ("scores", "classes", "message"),
    [
        ([[np.nan, 1.0], [0.0, 1.0]], [0, 1], "1 of 2 rows hold NaN"),
        ([[0.0, 1.0]], [0, 1], "scores must be numbers of shape"),
        ([0.0, 1.0], [0, 1], "scores must be numbers of shape"),
        ([[0.0, 1.0]], [[1]], "one an image"),
        (np.zeros((0, 2)), [], "at least one image"),
        ([["a", "b"]], [0], "scores must be numbers"),
        ([[0.0, 1.0]], [0.5], "classes are integers"),
    ],
)
def test_accuracy_of_what_has_none(scores, classes, message):
    with pytest.raises(UsageError, match=message):
        ridge.accuracy(scores, classes)


@pytest.mark.parametrize(
    ("scores", "labels", "count"),
    [((4, 3), (1, 3), 4), ((4, 3), (4, 1), 4), ((4,), (4,), 4), ((4, 3), (4, 3), 0)],
)
def test_a_loss_does_not_broadcast(scores, labels, count):
    with pytest.raises(UsageError, match=r"one shape|must be numbers of shape"):
        ridge.mean_square_error(np.zeros(scores), np.zeros(labels), count)


@pytest.mark.parametrize(
    ("k_ss", "labels", "scale", "message"),
    [
        (np.eye(3), np.zeros((2, 1)), 1e-6, r"labels must be numbers of shape \(3, n\)"),
        (np.eye(3), np.zeros(3), 1e-6, "labels must be numbers of shape"),
        (np.ones((3, 2)), np.zeros((3, 1)), 1e-6, "square"),
        (np.ones(3), np.zeros((3, 1)), 1e-6, "the support kernel must be numbers"),
        (np.zeros((0, 0)), np.zeros((0, 1)), 1e-6, "not empty"),
        (np.eye(3).astype(str), np.zeros((3, 1)), 1e-6, "must be numbers"),
        (np.eye(3), np.full((3, 1), np.nan), 1e-6, "labels must be finite"),
        (np.eye(3), np.zeros((3, 1)), "small", "the ridge must be positive"),
        (np.eye(3), np.zeros((3, 1)), None, "the ridge must be positive"),
        (None, np.zeros((3, 1)), 1e-6, "the support kernel must be numbers"),
    ],
)
def test_solve_takes_what_fits_alone(k_ss, labels, scale, message):
    with pytest.raises(UsageError, match=message):
        ridge.solve(k_ss, labels, ridge=scale)


def test_sums_and_kernels_that_do_not_fit():
    with pytest.raises(UsageError, match="gram is square"):
        ridge.label_solve(np.eye(3), np.zeros((3, 2)), np.zeros((3, 1)), ridge=1e-6)
    with pytest.raises(UsageError, match="gram must be numbers"):
        ridge.label_solve(np.eye(3), np.zeros((2, 2)), np.zeros((3, 1)), ridge=1e-6)
    with pytest.raises(UsageError, match=r"alpha must be numbers of shape \(3, n\)"):
        ridge.predict(np.zeros((4, 3)), np.zeros((4, 1)))
