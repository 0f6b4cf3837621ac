"""Dimensions of known manifolds, against plain formulae, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kipax import analysis, make_kernel_fn
from kipax.errors import UsageError

RNG = np.random.default_rng


def _embedded(points, d, seed=1):
    """Points in d dimensions, turned by a random rotation."""
    q, _ = np.linalg.qr(RNG(seed).normal(size=(d, d)))
    return points @ q[: points.shape[1]]


def _sphere(n, d):
    x = RNG(0).normal(size=(n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _swiss_roll(n):
    """Uniform in area: the angle is drawn by the arc's length."""
    rng = RNG(0)
    t = np.linspace(1.5 * np.pi, 4.5 * np.pi, 10_000)
    length = np.cumsum(np.sqrt(1 + t**2))
    angle = np.interp(rng.random(n) * length[-1], length, t)
    return np.c_[angle * np.cos(angle), 20 * rng.random(n), angle * np.sin(angle)]


@pytest.mark.parametrize(
    ("points", "dimension"),
    [
        (_embedded(RNG(0).random((1500, 1)), 40), 1),
        (_embedded(RNG(0).random((1500, 2)), 40), 2),
        (_embedded(RNG(0).random((1500, 4)), 40), 4),
        (_sphere(1500, 1), 1),
        (_sphere(1500, 2), 2),
        (_sphere(1500, 5), 5),
        (_swiss_roll(1500), 2),
    ],
    ids=["line", "plane", "cube4", "circle", "sphere", "sphere5", "swiss roll"],
)
def test_known_manifolds(points, dimension):
    assert analysis.intrinsic_dimension(points) == pytest.approx(dimension, rel=0.12)


def _plain_two_nn(x):
    """The estimator as Ansuini et al. write it, point by point, with a general least squares."""
    ratios = []
    for i, one in enumerate(x):
        near = sorted(np.linalg.norm(one - other) for j, other in enumerate(x) if j != i)
        ratios.append(near[1] / near[0])
    ratios, n = np.sort(ratios), len(x)
    keep = min(int(np.floor(0.9 * n)), n - 2)
    share = np.array([(i + 1) / n for i in range(keep)])
    return np.linalg.lstsq(np.log(ratios[:keep, None]), -np.log(1 - share), rcond=None)[0][0]


@pytest.mark.parametrize("n", [3, 4, 10, 19, 20, 57, 200])
def test_two_nn_is_the_plain_formula(n):
    x = RNG(n).normal(size=(n, 6))
    assert analysis.intrinsic_dimension(x) == pytest.approx(_plain_two_nn(x), rel=1e-9)


def test_the_fit_agrees_with_the_likelihood():
    """n / sum(log mu), the maximum of the likelihood, is another estimator of the same number."""
    squared = analysis.squared_distances(RNG(3).random((3000, 3)))
    np.fill_diagonal(squared, np.inf)
    near = np.sort(squared, axis=1)
    likeliest = len(near) / np.sum(0.5 * np.log(near[:, 1] / near[:, 0]))
    np.fill_diagonal(squared, 0)
    found = analysis.intrinsic_dimension_of_distances(squared)
    assert found == pytest.approx(likeliest, rel=0.04)


def test_shape_and_unit_do_not_matter():
    images = RNG(0).random((50, 4, 4, 3))
    dimension = analysis.intrinsic_dimension(images)
    moved = 255 * images[::-1].reshape(50, -1) + 7
    assert analysis.intrinsic_dimension(moved) == pytest.approx(dimension, rel=1e-6)
    assert analysis.intrinsic_dimension(images.astype(np.float32)) == pytest.approx(
        dimension, rel=1e-3
    )


def test_duplicates_are_left_out_and_counted():
    x = RNG(0).normal(size=(40, 5))
    twice = np.concatenate([x[:3], x, x[:1]])
    with pytest.warns(UserWarning, match="4 of 44 points repeat earlier ones and were left out"):
        found = analysis.intrinsic_dimension(twice)
    assert found == pytest.approx(analysis.intrinsic_dimension(x), rel=1e-12)
    assert analysis.two_nn(analysis.squared_distances(twice))[1:] == (40, 4, 0)
    with pytest.warns(UserWarning, match="4 of 44"):
        analysis.intrinsic_dimension_of_distances(analysis.squared_distances(twice))


def test_points_with_equally_near_neighbours_are_counted():
    line = np.array([[0.0], [1.0], [2.0], [10.0], [11.5], [14.0], [20.0]])
    found = analysis.two_nn(analysis.squared_distances(line))
    assert (found.distinct, found.tied) == (7, 1)  # the point 1, between 0 and 2


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((5, 3)), "at least three distinct points; got 1 of 5: give more"),
        (np.array([[0.0], [1.0], [1.0]]), "at least three distinct points; got 2 of 3"),
        (np.eye(8), "two nearest neighbours differ in distance; got 0 of 8, as on a grid"),
        (np.zeros((0, 3)), r"must be numbers of shape \(n, ...\)"),
        (np.zeros(3), r"must be numbers of shape \(n, ...\)"),
        (np.array([["a"], ["b"]]), "must be numbers"),
        (np.array([[0.0], [np.nan], [1.0]]), "must be finite"),
    ],
)
def test_points_that_have_no_dimension(x, message):
    with pytest.raises(UsageError, match=message) as error:
        analysis.intrinsic_dimension(x)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("squared", "message"),
    [
        (np.ones((3, 4)), "with themselves must be square"),
        (np.triu(np.ones((4, 4)), 1), "must be symmetric; opposite entries differ by up to 1"),
        (np.eye(4) + 1, r"zero from a point to itself; .* give gradient_distances\(k\)"),
        (np.eye(4) - 1, "squared distances are not negative"),
    ],
)
def test_arrays_that_are_no_distances(squared, message):
    with pytest.raises(UsageError, match=message):
        analysis.intrinsic_dimension_of_distances(squared)


# -- gradients ------------------------------------------------------------------------------------


def test_gradient_distances_are_those_of_a_wide_network():
    """Against the Jacobian of a network of one hidden layer, equations 4 and 5."""
    x = RNG(0).normal(size=(6, 4)).astype(np.float32)
    width = 40_000

    def network(parameters, one):
        w, v = parameters
        # As kipax's fc1: weights of variance 2 / inputs, then 1 / width; no biases.
        hidden = jax.nn.relu(w @ one * np.sqrt(2 / len(one)))
        return v @ hidden / np.sqrt(width)

    keys = jax.random.split(jax.random.key(0))
    parameters = jax.random.normal(keys[0], (width, 4)), jax.random.normal(keys[1], (width,))
    jacobian = [jax.grad(network)(parameters, one) for one in jnp.asarray(x)]
    flat = np.array([np.concatenate([np.ravel(p) for p in one]) for one in jacobian])
    expected = np.array([[np.sum((a - b) ** 2) for b in flat] for a in flat])
    found = analysis.gradient_distances(
        np.asarray(make_kernel_fn("fc1", kind="ntk")(x.reshape(6, 2, 2, 1)))
    )
    # Scales of weights differ by a constant; the geometry is what the analyses use.
    found, expected = found / found.max(), expected / expected.max()
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert np.all(np.diag(found) == 0)


def test_gradients_of_equal_images_are_equal():
    x = RNG(0).normal(size=(5, 4, 4, 1)).astype(np.float32)
    x[3] = x[1]
    squared = analysis.gradient_distances(np.asarray(make_kernel_fn("convnet1")(x)))
    assert analysis.distinct_points(squared).tolist() == [0, 1, 2, 4]


def test_rounding_is_no_distance():
    """A kernel of equal points whose float32 entries differ in the last places."""
    k = np.full((3, 3), 1000.0, np.float32)
    k[0, 1] = k[1, 0] = np.nextafter(np.float32(1000), np.float32(0))
    assert not analysis.gradient_distances(k).any()
    assert analysis.gradient_distances(k.astype(np.float64))[0, 1] > 0


# -- principal components -------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("shape", [(30, 7), (8, 40)])
def test_linear_dimension_counts_eigenvalues_of_the_covariance(shape, share):
    x = RNG(0).normal(size=shape) * np.arange(1, shape[1] + 1) + 100
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    expected, reached = 0, 0.0
    while reached < share * values.sum() - 1e-9 * values.sum():
        reached += values[expected]
        expected += 1
    assert analysis.linear_dimension(x, share) == expected
    assert analysis.linear_dimension_of_kernel(x @ x.T, share) == expected


def test_linear_dimension_of_known_directions():
    x = RNG(0).normal(size=(400, 10)) * np.array([10.0] * 3 + [0.01] * 7)
    assert analysis.linear_dimension(_embedded(x, 60).reshape(400, 4, 5, 3)) == 3
    assert analysis.linear_dimension(np.array([[0.0, 0.0], [1.0, 1.0]])) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: analysis.linear_dimension(np.eye(3), 0), "share runs from above 0 to 1; got 0"),
        (lambda: analysis.linear_dimension(np.eye(3), 1.1), "share runs from above 0 to 1"),
        (lambda: analysis.linear_dimension(np.eye(3), True), "share runs from above 0 to 1"),
        (lambda: analysis.linear_dimension(np.full((4, 3), 0.1)), "points that differ; all 4"),
        (
            lambda: analysis.linear_dimension_of_kernel(np.full((4, 4), 0.1, np.float32)),
            "points that differ; all 4",
        ),
        (lambda: analysis.linear_dimension_of_kernel(-np.eye(4)), "points that differ|negative"),
        (
            lambda: analysis.linear_dimension_of_kernel(np.diag([5.0, 5.0, -3.0])),
            "a kernel has no negative eigenvalues",
        ),
        (lambda: analysis.gradient_distances(np.ones((2, 3))), "must be square"),
        (lambda: analysis.gradient_distances(np.array([[1.0, 2.0], [3.0, 1.0]])), "symmetric"),
        (lambda: analysis.gradient_distances(np.full((2, 2), np.inf)), "must be finite"),
    ],
)
def test_wrong_kernels_and_shares_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
