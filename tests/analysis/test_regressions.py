"""Spectral bands and subsampling against plain NumPy, and what they refuse."""

import numpy as np
import pytest

from kipax import analysis
from kipax.errors import UsageError


def _problem(s=12, t=80, classes=3, d=30, seed=0):
    """Kernels, labels and test classes of a linear problem."""
    rng = np.random.default_rng(seed)
    centres = 2 * np.random.default_rng(9).normal(size=(classes, d))
    y = np.arange(s) % classes
    x = centres[y] + rng.normal(size=(s, d))
    z = rng.integers(0, classes, t)
    x_test = centres[z] + 2 * rng.normal(size=(t, d))
    labels = np.eye(classes)[y] - 1 / classes + 0.1 * rng.normal(size=(s, classes))
    return x @ x.T, x_test @ x.T, labels, z


@pytest.mark.parametrize("bands", [1, 2, 3, 5, 12])
def test_bands_are_the_inverse_composed_with_a_projection(bands):
    k_ss, k_ts, labels, z = _problem()
    values, vectors = np.linalg.eigh(k_ss)
    order = np.argsort(-values)
    expected = []
    for band in np.array_split(order, bands):
        projection = sum(np.outer(vectors[:, i], vectors[:, i]) for i in band)
        scores = k_ts @ np.linalg.inv(k_ss) @ projection @ labels
        expected.append(np.mean(np.argmax(scores, axis=1) == z))
    found = analysis.spectral_bands(k_ss, k_ts, labels, z, bands=bands)
    assert found.accuracies == pytest.approx(expected)
    whole = np.argmax(k_ts @ np.linalg.solve(k_ss, labels), axis=1)
    assert found.whole == pytest.approx(np.mean(whole == z))
    assert found.rank == 12
    assert found.whole > 0.5  # chance is a third


def test_the_bands_of_a_kernel_that_is_known():
    """Diagonal: each band is one image, which answers for its own class alone."""
    k = np.diag([9.0, 4.0, 1.0])
    labels = np.eye(3) - 0.5
    test = np.array([[0, 1.0, 0], [0, 0, 1.0], [1.0, 0, 0]])
    found = analysis.spectral_bands(k, test, labels, np.array([1, 2, 0]), bands=3)
    # An image that knows nothing of a test image leaves its scores at zero: class 0.
    assert found.accuracies == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert found.whole == 1.0


def test_bands_share_the_eigenvalues_above_rounding():
    k_ss, k_ts, labels, z = _problem(s=12, d=6)
    assert analysis.spectral_bands(k_ss, k_ts, labels, z).rank == 6
    single = analysis.spectral_bands(k_ss.astype(np.float32), k_ts, labels, z)
    assert single.rank == 6
    with pytest.raises(UsageError, match="12 images has the rank 6, below 7 bands: take at most 6"):
        analysis.spectral_bands(k_ss, k_ts, labels, z, bands=7)


def test_duplicated_images_lower_the_rank():
    k_ss, k_ts, labels, z = _problem(s=6)
    twice = np.r_[0:6, 0:6]
    found = analysis.spectral_bands(k_ss[np.ix_(twice, twice)], k_ts[:, twice], labels[twice], z)
    assert found.rank == 6
    once = analysis.spectral_bands(k_ss, k_ts, labels, z)
    assert found.whole == pytest.approx(once.whole)


def test_subsampling_is_regression_on_the_part():
    k_ss, k_ts, labels, z = _problem()
    parts = analysis.random_parts(12, 0.5, draws=7, seed=3)
    found = analysis.subsampling(k_ss, k_ts, labels, z, parts=parts, ridge=0.1)
    expected = []
    for part in parts:
        k = k_ss[part][:, part]
        k = k + 0.1 * np.trace(k) / len(part) * np.eye(len(part))
        scores = k_ts[:, part] @ np.linalg.inv(k) @ labels[part]
        expected.append(np.mean(np.argmax(scores, axis=1) == z))
    np.testing.assert_allclose(found, expected)
    assert found.std() > 0
    whole = analysis.random_parts(12, 1.0, draws=2)
    both = analysis.subsampling(k_ss, k_ts, labels, z, parts=whole, ridge=1e-6)
    assert both[0] == both[1]
    assert found.mean() < both[0]


def test_parts_are_drawn_without_repeats_and_again_alike():
    parts = analysis.random_parts(10, 0.4, draws=50, seed=1)
    assert all(len(set(part)) == 4 and list(part) == sorted(part) for part in parts)
    counts = np.bincount(np.concatenate(parts), minlength=10)
    assert counts.min() > 5  # 20 on average
    again = analysis.random_parts(10, 0.4, draws=50, seed=1)
    assert np.array_equal(parts, again)
    assert not np.array_equal(parts, analysis.random_parts(10, 0.4, draws=50, seed=2))
    assert [len(p) for p in analysis.random_parts(10, 0.001, draws=1)] == [1]


def _bands(**changed):
    k_ss, k_ts, labels, z = _problem()
    given = {"k_ss": k_ss, "k_ts": k_ts, "labels": labels, "classes": z} | changed
    return analysis.spectral_bands(**given)


def _parts(**changed):
    k_ss, k_ts, labels, z = _problem()
    given = {"k_ss": k_ss, "k_ts": k_ts, "labels": labels, "classes": z}
    return analysis.subsampling(**given | {"parts": [[0, 1]], "ridge": 1e-6} | changed)


@pytest.mark.parametrize("analyse", [_bands, _parts])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k_ss": np.ones((3, 4))}, "must be square"),
        ({"k_ss": np.full((12, 12), np.nan)}, "must be finite"),
        ({"k_ss": np.arange(144.0).reshape(12, 12)}, "must be symmetric"),
        ({"labels": np.zeros((11, 3))}, r"labels have the shape \(12, classes\)"),
        ({"labels": np.zeros(12)}, "the labels must be numbers"),
        ({"k_ts": np.zeros((80, 11))}, "k_ts has a column for each|shape"),
        ({"classes": np.zeros(79, int)}, "79"),
        ({"classes": np.full(80, 3)}, "scores have 3 classes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(analyse, changed, message):
    with pytest.raises(UsageError, match=message):
        analyse(**changed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _bands(bands=0), "bands is a whole number from 1; got 0"),
        (lambda: _bands(bands=2.0), "bands is a whole number from 1; got 2.0"),
        (lambda: _bands(k_ss=-_problem()[0]), "no negative eigenvalues"),
        (lambda: _parts(parts=[]), "at least one part"),
        (lambda: _parts(parts=[[]]), "a part holds positions of images"),
        (lambda: _parts(parts=[[0.5]]), "a part holds positions of images"),
        (lambda: _parts(parts=[[0, 12]]), "positions from 0 to 11; got 0 to 12"),
        (lambda: _parts(ridge=0.0), "ridge must be positive"),
        (lambda: analysis.random_parts(0, 0.5, draws=1), "size is a whole number from 1"),
        (lambda: analysis.random_parts(5, 0.5, draws=0), "draws is a whole number from 1"),
        (lambda: analysis.random_parts(5, 0.0, draws=1), "share runs from above 0 to 1"),
        (lambda: analysis.random_parts(5, 0.5, draws=1, seed=-1), "seed must lie between"),
    ],
)
def test_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
