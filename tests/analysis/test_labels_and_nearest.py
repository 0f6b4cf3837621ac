"""What labels say, and the nearest real images, against plain loops."""

import numpy as np
import pytest
from scipy.stats import entropy

from kipax import analysis, ridge
from kipax.errors import UsageError


def test_fixed_labels_speak_of_one_class():
    labels = ridge.one_hot(np.arange(10), 10)
    np.testing.assert_allclose(analysis.label_shares(labels), np.eye(10), atol=1e-12)
    assert np.all(analysis.label_entropy(labels) == 0)
    assert np.all(analysis.shared_classes(labels) == -1)
    single = labels.astype(np.float32)  # as support sets hold them
    assert np.all(analysis.label_entropy(single) == 0)
    assert np.all(analysis.shared_classes(single) == -1)


def test_entropy_is_that_of_the_shares():
    labels = np.random.default_rng(0).normal(size=(20, 5)) * 0.3
    for row, bits, other in zip(
        labels, analysis.label_entropy(labels), analysis.shared_classes(labels), strict=True
    ):
        shares = np.clip(row - row.mean() + 0.2, 0, None)
        assert bits == pytest.approx(entropy(shares, base=2))
        second = int(np.argsort(-row)[1])
        assert other == (second if np.sort(shares)[-2] > 0 else -1)
    assert np.all(analysis.label_entropy(labels) <= np.log2(5))


def test_labels_of_two_and_of_all_classes():
    half = np.array([[0.5, 0.5, 0.0, 0.0], [0.25] * 4])
    np.testing.assert_allclose(analysis.label_entropy(half), [1, 2])
    np.testing.assert_allclose(analysis.label_entropy(half - 0.25), [1, 2])  # centred or not
    assert analysis.shared_classes(half)[0] == 1


def test_nearest_images_are_those_of_a_plain_loop(monkeypatch):
    monkeypatch.setattr("kipax.analysis.nearest._ROWS", 7)  # in parts
    rng = np.random.default_rng(0)
    images, real = rng.normal(size=(6, 4, 4, 2)), rng.normal(size=(45, 4, 4, 2))
    images[2], images[4] = real[13], real[44]
    found = analysis.nearest_images(images, real)
    for i, one in enumerate(images):
        distances = [np.sqrt(np.sum((one - other) ** 2)) for other in real]
        assert found.indices[i] == np.argmin(distances)
        assert found.distances[i] == pytest.approx(min(distances))
    assert found.distances[[2, 4]].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rows", [2, 4])
def test_of_equally_near_images_the_first_is_named(monkeypatch, rows):
    monkeypatch.setattr("kipax.analysis.nearest._ROWS", rows)
    real = np.array([[5.0], [1.0], [-1.0], [1.0]])
    assert analysis.nearest_images(np.array([[0.0]]), real).indices.tolist() == [1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: analysis.nearest_images(np.ones((2, 3)), np.ones((2, 4))), "are of one shape"),
        (lambda: analysis.nearest_images(np.ones((2, 3)), np.ones((0, 3))), "at least one"),
        (lambda: analysis.nearest_images(np.ones((0, 3)), np.ones((2, 3))), "the images must be"),
        (
            lambda: analysis.nearest_images(np.ones((1, 3)), np.full((1, 3), np.nan)),
            "the real images must be finite",
        ),
        (lambda: analysis.label_entropy(np.zeros(3)), "the labels must be numbers"),
        (
            lambda: analysis.label_entropy(np.zeros((3, 2, 2))),
            r"labels have the shape \(n, classes",
        ),
        (lambda: analysis.shared_classes(np.full((3, 2), np.inf)), "the labels must be finite"),
    ],
)
def test_wrong_arrays_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
