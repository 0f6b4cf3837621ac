"""Contrasts, clusters and known labels against NumPy, finite differences and plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kipax.errors import UsageError
from kipax.kd.clusters import ClusterLabels
from kipax.kd.contrast import CRD, QueuedCRD
from kipax.kd.objectives import KnownLabels
from tests.kd.embedded import (
    BATCH,
    STUDENT,
    TEACHER,
    N,
    begin,
    check_gradients,
    layers,
    unit,
)

IMAGES = 20
CLASSES = np.arange(IMAGES) % 4
INDEX = np.array([3, 7, 8, 0, 19, 12])
SEEN = BATCH._replace(index=INDEX)


def _projections(aux):
    outputs = {"student": STUDENT, "teacher": TEACHER}
    return {side: unit(layers(aux[side], out.penultimate)) for side, out in outputs.items()}


def _plain(own, positive, negatives, tau, count, z):
    """The loss of one image's side, term by term."""
    k = len(negatives)
    p = np.exp(own @ positive / tau) / z
    loss = -np.log(p / (p + k / count + 1e-7))
    for other in negatives:
        p = np.exp(own @ other / tau) / z
        loss -= np.log((k / count) / (p + k / count + 1e-7))
    return loss


@pytest.mark.parametrize("classes", [pytest.param(None, marks=pytest.mark.slow), CLASSES])
def test_crd_compares_with_the_other_sides_memory(x64, classes):
    objective = CRD(4, 0.4, "simclr_plain", images=IMAGES, classes=classes, negatives=5)
    aux, state = begin(objective)
    own = _projections(aux)
    loss, _, after = objective(aux, state, STUDENT, TEACHER, SEEN)
    drawn = np.asarray(objective._draw(state, jnp.asarray(INDEX)))
    expected = 0.0
    for side, other in (("student", "teacher"), ("teacher", "student")):
        memory = np.asarray(state[other])
        rows = np.concatenate([INDEX[:, None], drawn], axis=1)
        z = np.mean(np.exp(np.einsum("nd,nkd->nk", own[side], memory[rows]) / 0.4)) * IMAGES
        assert after["z"][side] == pytest.approx(z)
        each = [
            _plain(own[side][i], memory[INDEX[i]], memory[drawn[i]], 0.4, IMAGES, z)
            for i in range(N)
        ]
        expected += np.mean(each)
        moved = np.asarray(state[side]).copy()
        moved[INDEX] = unit(0.5 * moved[INDEX] + 0.5 * own[side])
        np.testing.assert_allclose(after[side], moved)
    assert loss == pytest.approx(expected)
    again, _, _ = objective(aux, after, STUDENT, TEACHER, SEEN)
    assert again != loss  # other negatives, and memories that have moved


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_negatives_are_of_other_classes_and_all_equally_likely(classes):
    objective = CRD(images=IMAGES, classes=classes, negatives=4000)
    _, state = begin(objective)
    drawn = np.asarray(objective._draw(state, jnp.asarray(INDEX)))
    for image, others in zip(INDEX, drawn, strict=True):
        same = [image] if classes is None else np.flatnonzero(CLASSES[image] == CLASSES)
        counts = np.bincount(others, minlength=IMAGES)
        assert not counts[same].any()
        rest = np.delete(counts, same)
        assert rest.min() > 0.75 * rest.mean()


def test_a_queued_contrast_compares_with_earlier_batches(x64):
    objective = QueuedCRD(4, 0.4, "simclr_plain", queue=9)
    aux, state = begin(objective)
    own = _projections(aux)
    loss, _, after = objective(aux, state, STUDENT, TEACHER, BATCH)
    expected = 0.0
    for side, other in (("student", "teacher"), ("teacher", "student")):
        queue = np.asarray(state[other])
        products = [np.sum(own[side] * own[other], axis=1)[:, None], own[side] @ queue.T]
        z = np.mean(np.exp(np.concatenate(products, axis=1) / 0.4)) * 9
        each = [_plain(own[side][i], own[other][i], queue, 0.4, 9, z) for i in range(N)]
        expected += np.mean(each)
        np.testing.assert_allclose(after[side][:N], own[side])
        np.testing.assert_array_equal(after[side][N:], state[side][N:])
    assert loss == pytest.approx(expected)
    assert after["place"] == N


def test_clusters_are_classes_of_the_embedding(x64):
    clusters = np.arange(IMAGES) % 3
    objective = ClusterLabels(clusters)
    aux, state = begin(objective)
    loss, metrics, _ = objective(aux, state, STUDENT, TEACHER, SEEN)
    logits = layers({"layer0": aux}, STUDENT.penultimate)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert loss == pytest.approx(-np.mean(np.log(p[np.arange(N), clusters[INDEX]])))
    right = np.mean(np.argmax(logits, axis=1) == clusters[INDEX])
    assert metrics["clusters_right"] == pytest.approx(right)


def test_images_without_a_label_are_left_out(x64):
    y = np.array(BATCH.y)
    y[[0, 3]] = 0
    loss = KnownLabels()({}, {}, STUDENT, None, BATCH._replace(y=y))[0]
    p = np.exp(STUDENT.logits) / np.exp(STUDENT.logits).sum(axis=1, keepdims=True)
    known = [1, 2, 4, 5]
    expected = -np.mean(np.log(p[known, np.arange(N)[known] % 3]))
    assert loss == pytest.approx(expected)
    none = KnownLabels()({}, {}, STUDENT, None, BATCH._replace(y=0 * y))[0]
    assert none == 0


@pytest.mark.parametrize(
    "objective",
    [
        CRD(4, 0.4, images=IMAGES, classes=CLASSES, negatives=5),
        ClusterLabels(np.arange(IMAGES) % 3),
        KnownLabels(),
    ],
    ids=lambda o: type(o).__name__,
)
def test_gradients_are_finite_differences(x64, objective):
    aux, state = begin(objective)
    state = objective(aux, state, STUDENT, TEACHER, SEEN)[2]  # the normalisers are set
    check_gradients(objective, aux, state, SEEN)


def test_a_queued_contrasts_gradient_is_a_finite_difference(x64):
    """The other side's projection is a constant: then nothing but the student's side moves."""
    objective = QueuedCRD(4, 0.4, "linear", queue=9)
    aux, state = begin(objective)
    state = objective(aux, state, STUDENT, TEACHER, BATCH)[2]

    def loss(embedding):
        z = embedding @ aux["student"]["layer0"]["kernel"] + aux["student"]["layer0"]["bias"]
        z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
        teacher = _projections(aux)["teacher"]
        same = jnp.sum(z * teacher, axis=1, keepdims=True)
        products = jnp.concatenate([same, z @ state["teacher"].T], axis=1)
        return objective._compare(products, state["z"]["student"], 9)[0]

    def whole(embedding):
        student = STUDENT._replace(penultimate=embedding)
        return objective(aux, state, student, TEACHER, BATCH)[0]

    found = jax.grad(whole)(STUDENT.penultimate)
    np.testing.assert_allclose(found, jax.grad(loss)(STUDENT.penultimate), atol=1e-12)
    check_grads(loss, (STUDENT.penultimate,), order=1, modes=["rev"], atol=1e-4, rtol=1e-4)


def test_wrong_contrasts_are_refused():
    with pytest.raises(UsageError, match="two images or more"):
        CRD(images=1)
    with pytest.raises(UsageError, match=r"classes are of all 20 images; got 3"):
        CRD(images=IMAGES, classes=np.arange(3))
    with pytest.raises(UsageError, match="all images are of one class"):
        CRD(images=IMAGES, classes=np.zeros(IMAGES, int))
    with pytest.raises(UsageError, match="unknown projector"):
        CRD(projector="deep", images=IMAGES)
    with pytest.raises(UsageError, match=r"temperature is at least 0\.0125"):
        QueuedCRD(temperature=0.0)
    with pytest.raises(UsageError, match="one image or more; got 0"):
        QueuedCRD(queue=0)
    with pytest.raises(UsageError, match="all images are in one"):
        ClusterLabels(np.zeros(4, int))
