"""Probes against NumPy, known geometry and scikit-learn; what they refuse."""

import dataclasses
import importlib.util

import jax
import numpy as np
import pytest

from kipax import load_dataset, probes
from kipax.errors import FileError, UsageError
from kipax.probes import ProbeConfig, align_clusters, probe
from kipax.probes.table import PROBES
from kipax.students import StudentSpec, init_variables
from tests.kd.cases import Listener


def _blobs(n=300, classes=5, d=8, spread=0.3, seed=0):
    """Features around a direction for each class, and their classes."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, d))
    labels = rng.integers(0, classes, n)
    lengths = rng.uniform(0.1, 10, (n, 1))  # cosine similarity ignores them
    return lengths * (centres[labels] + spread * rng.normal(size=(n, d))), labels


@pytest.mark.parametrize("k", [1, 3, 8])
def test_neighbours_are_those_of_a_plain_loop(k):
    (train, y), (test, z) = _blobs(spread=1.5), _blobs(n=50, spread=1.5, seed=1)
    right, ties = 0, 0
    for row, label in zip(test, z, strict=True):
        cosine = train @ row / np.linalg.norm(train, axis=1) / np.linalg.norm(row)
        near = y[np.argsort(-cosine, kind="stable")[:k]]
        votes = np.bincount(near)
        best = np.flatnonzero(votes == votes.max())
        ties += len(best) > 1
        right += next(c for c in near if c in best) == label
    found = probes.knn_accuracy(train, y, test, z, k=k)
    assert found == pytest.approx((right / 50, ties / 50))
    assert found.accuracy > 0.3


def test_recall_leaves_the_image_itself_out():
    x, y = _blobs(n=60, spread=2.0)
    x[1] = x[0]  # equal images: either may come first in the search
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1)
    expected = {k: np.mean([(y[order[i, :k]] == y[i]).any() for i in range(60)]) for k in (1, 2, 8)}
    assert probes.recall(x, y, ks=(1, 2, 8)) == pytest.approx(expected, abs=1 / 60)
    assert probes.recall(np.eye(4), np.arange(4), ks=(1, 3)) == {1: 0.0, 3: 0.0}


def test_linear_probes_find_what_is_linear():
    (train, y), (test, z) = _blobs(spread=0.4), _blobs(n=200, spread=0.4, seed=1)
    by_descent = probes.linear_probe(train, y, test, z)
    in_closed_form = probes.ridge_probe(train, y, test, z)
    assert by_descent > 0.9
    assert abs(by_descent - in_closed_form) < 0.08
    shuffled = np.random.default_rng(0).permutation(y)
    assert probes.ridge_probe(train, shuffled, test, z) < 0.5


def test_the_ridge_is_the_one_of_least_leave_one_out_error():
    """Against refitting without each image."""
    (train, y), (test, z) = _blobs(n=40, d=6, spread=1.0), _blobs(n=100, d=6, spread=1.0, seed=1)
    x, x_test = (np.c_[part, np.ones(len(part))] for part in probes.standardise(train, test))
    target = np.eye(5)[y] - 0.2
    best = (np.inf, 0.0)
    for share in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        ridge = share * np.trace(x.T @ x) / x.shape[1] * np.eye(x.shape[1])
        error = 0.0
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            w = np.linalg.solve(x[rest].T @ x[rest] + ridge, x[rest].T @ target[rest])
            error += np.sum((target[i] - x[i] @ w) ** 2)
        w = np.linalg.solve(x.T @ x + ridge, x.T @ target)
        accuracy = np.mean(np.argmax(x_test @ w, axis=1) == z)
        best = min(best, (error, accuracy))
    assert probes.ridge_probe(train, y, test, z) == pytest.approx(best[1])


def test_clusters_of_classes_are_named_after_them():
    pytest.importorskip("sklearn", reason="the extra analysis is not installed")
    (train, y), (test, z) = _blobs(spread=0.1), _blobs(n=100, spread=0.1, seed=1)
    assert probes.cluster_alignment(train, y, test, z) == 1.0
    renamed = np.array([3, 0, 4, 1, 2])
    assert probes.cluster_alignment(train, renamed[y], test, renamed[z]) == 1.0
    noise = np.random.default_rng(0).normal(size=(300, 8))
    assert probes.cluster_alignment(noise, y, noise, y) < 0.45


@pytest.mark.pictures
def test_clusters_are_drawn_where_a_folder_is_named(tmp_path):
    pytest.importorskip("sklearn")
    digits = load_dataset("digits")
    config = ProbeConfig(probes="cluster_alignment", pictures=str(tmp_path / "new" / "pictures"))
    found = probe(None, digits, config)
    assert set(found) == {"cluster_alignment"}
    for name in ("clusters.png", "cluster_accuracy.png"):
        assert (tmp_path / "new" / "pictures" / name).stat().st_size > 5000
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="could not make"):
        probe(None, digits, ProbeConfig(pictures=str(tmp_path / "file" / "below")))
    with pytest.raises(UsageError, match="pictures show the probe cluster_alignment; got knn"):
        ProbeConfig(probes="knn", pictures="here")


def test_an_alignment_says_which_cluster_is_which_class():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8))
    classes = np.arange(90) % 3
    x = centres[classes] + 0.05 * rng.normal(size=(90, 8))
    found = align_clusters(x[:60], classes[:60], x[60:], classes[60:])
    assert found.accuracy == 1.0
    np.testing.assert_array_equal(found.names[found.clusters], classes[60:])


def test_few_labels_are_drawn_from_each_class():
    x, y = _blobs(spread=0.2)
    part = probes.labelled_part(y, per_class=2, seed=3)
    assert np.bincount(y[part]).tolist() == [2] * 5
    tenth = probes.labelled_part(y, share=0.1)
    assert np.bincount(y[tenth]).tolist() == [round(0.1 * n) for n in np.bincount(y)]
    few = probes.few_shot(x, y, x, y, per_class=1, draws=10)
    assert 0.7 < few.accuracy <= 1
    assert few.deviation is not None
    assert probes.few_shot(x, y, x, y, share=1.0).accuracy == 1.0


def test_cost_counts_a_network():
    network = StudentSpec(name="fc1", width=8).build(3, (4, 4, 1))
    variables = init_variables(network, jax.random.key(0), (4, 4, 1))
    found = probes.cost(network, variables, (4, 4, 1))
    assert found.parameters == 16 * 8 + 8 + 8 * 3 + 3
    assert found.flops is None or 2 * (16 * 8 + 8 * 3) <= found.flops < 4 * (16 * 8 + 8 * 3)
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("train", "y", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "a probe needs features"),
        (np.zeros((4, 3, 1)), np.zeros(4, int), "a probe needs features"),
        (np.zeros((4, 3)), np.zeros(5, int), "a class for each image"),
        (np.zeros((4, 3)), np.zeros(4), "whole numbers from 0 on"),
        (np.zeros((4, 3)), np.full(4, -1), "whole numbers from 0 on"),
        (np.full((4, 3), np.nan), np.zeros(4, int), "must be finite"),
        (np.zeros((4, 2)), np.zeros(4, int), "of one length; got 2 and 3"),
    ],
)
@pytest.mark.parametrize(
    "probe",
    [probes.knn_accuracy, probes.linear_probe, probes.ridge_probe, probes.cluster_alignment],
)
def test_wrong_features_are_refused(probe, train, y, message):
    with pytest.raises(UsageError, match=message):
        probe(train, y, np.zeros((4, 3)), np.zeros(4, int))


def test_wrong_numbers_are_refused():
    x, y = _blobs(n=10)
    for k in (0, 11):
        with pytest.raises(UsageError, match="k runs from 1 to the 10 training images"):
            probes.knn_accuracy(x, y, x, y, k=k)
    with pytest.raises(UsageError, match="k runs from 1 to the 9 other images"):
        probes.recall(x, y, ks=(1, 10))
    with pytest.raises(UsageError, match="epochs and learning_rate must be positive"):
        probes.linear_probe(x, y, x, y, epochs=0)
    with pytest.raises(UsageError, match="either per_class or share"):
        probes.labelled_part(y)
    with pytest.raises(UsageError, match="share runs from above 0 to 1"):
        probes.few_shot(x, y, x, y, share=1.5)
    with pytest.raises(UsageError, match="draws must be positive"):
        probes.few_shot(x, y, x, y, per_class=1, draws=0)


def test_clusters_are_left_out_where_scikit_learn_is_missing(monkeypatch):
    """A default choice goes on without them; a request for them is refused at once."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "sklearn" else find(name, *a)
    )
    listener, data = Listener(), load_dataset("digits")
    config = ProbeConfig(train_examples=60, eval_examples=60)
    results = probe(None, data, config, reporter=listener)
    assert set(results) == {*PROBES} - {"cluster_alignment"}
    assert any("cluster_alignment is left out: clusters need scikit-l" in s for s in listener.said)
    asked = dataclasses.replace(config, probes="knn,cluster_alignment")
    with pytest.raises(ImportError, match=r"pip install 'kipax\[analysis\]'"):
        probe(None, data, asked, reporter=listener)
